import assert from "node:assert/strict";
import { test } from "node:test";
import { capabilitiesAfterLogin, capabilitiesBeforeLogin } from "../../../src/protocols/imap/capabilities.ts";

const DOVECOT =
  "IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE LITERAL+ STARTTLS LOGINDISABLED AUTH=PLAIN AUTH=GSSAPI";

test("before login: what the backends have, and our own SASL and TLS instead of theirs", () => {
  const offered = capabilitiesBeforeLogin(DOVECOT.split(" "), {
    canStartTls: true,
    mechanisms: ["PLAIN", "LOGIN"],
  });
  assert.deepEqual(
    new Set(offered),
    new Set("IMAP4rev1 ENABLE IDLE LITERAL+ SASL-IR ID STARTTLS AUTH=PLAIN AUTH=LOGIN".split(" ")),
  );
  assert.equal(new Set(offered).size, offered.length, "each once");
});

test("where LOGIN would be refused, no mechanism is named and LOGINDISABLED is", () => {
  const offered = capabilitiesBeforeLogin(DOVECOT.split(" "), { canStartTls: true, mechanisms: [] });
  assert.ok(offered.includes("LOGINDISABLED"));
  assert.ok(!offered.some((capability) => capability.startsWith("AUTH=")));
});

test("STARTTLS is offered only where it can begin", () => {
  assert.ok(
    !capabilitiesBeforeLogin(["STARTTLS"], { canStartTls: false, mechanisms: [] }).includes("STARTTLS"),
  );
});

test("with no backend heard there is still a revision to speak", () => {
  assert.equal(capabilitiesBeforeLogin([], { canStartTls: false, mechanisms: ["PLAIN"] })[0], "IMAP4rev1");
  const newer = capabilitiesBeforeLogin(["IMAP4rev2"], { canStartTls: false, mechanisms: [] });
  assert.deepEqual(
    newer.filter((capability) => capability.startsWith("IMAP4")),
    ["IMAP4rev2"],
  );
});

test("capabilities that lead past this door are taken out, in any case of letters", () => {
  for (const leading of ["LOGIN-REFERRALS", "unauthenticate", "StartTLS", "auth=gssapi"]) {
    const offered = capabilitiesBeforeLogin(["IMAP4rev1", leading], {
      canStartTls: false,
      mechanisms: ["PLAIN"],
    });
    assert.ok(!offered.includes(leading), leading);
  }
  assert.deepEqual(
    capabilitiesAfterLogin("IMAP4rev1 MOVE Unauthenticate STARTTLS LOGINDISABLED".split(" ")),
    ["IMAP4rev1", "MOVE"],
  );
});
