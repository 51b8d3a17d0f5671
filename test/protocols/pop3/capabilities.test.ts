import assert from "node:assert/strict";
import { test } from "node:test";
import { capabilitiesBeforeLogin } from "../../../src/protocols/pop3/capabilities.ts";

const DOVECOT = [
  "CAPA",
  "TOP",
  "UIDL",
  "RESP-CODES",
  "PIPELINING",
  "AUTH-RESP-CODE",
  "STLS",
  "USER",
  "SASL PLAIN",
];

test("what the backends have, and our own SASL and TLS instead of theirs", () => {
  const offered = capabilitiesBeforeLogin(DOVECOT, { canStartTls: false, mechanisms: ["PLAIN", "LOGIN"] });
  assert.deepEqual(
    new Set(offered),
    new Set([
      ...["CAPA", "TOP", "UIDL", "PIPELINING", "RESP-CODES", "AUTH-RESP-CODE", "USER"],
      ...["SASL PLAIN LOGIN", "IMPLEMENTATION Postern"],
    ]),
  );
  assert.equal(new Set(offered).size, offered.length, "each once");
});

test("where a password would be refused, no way to tell one is named", () => {
  const offered = capabilitiesBeforeLogin(DOVECOT, { canStartTls: true, mechanisms: [] });
  assert.ok(offered.includes("STLS"));
  assert.ok(!offered.some((line) => /^(SASL|USER)\b/.test(line)));
});

test("what cannot be kept before login, or is not a client's to say, is taken out", () => {
  for (const theirs of ["UTF8 USER", "LANG", "XCLIENT ADDR PORT", "XOIP", "APOP", "IMPLEMENTATION Other"]) {
    const offered = capabilitiesBeforeLogin([theirs], { canStartTls: false, mechanisms: ["PLAIN"] });
    assert.ok(!offered.includes(theirs), theirs);
  }
});

test("parameters of the backends' own are theirs", () => {
  const offered = capabilitiesBeforeLogin(["EXPIRE 60", "LOGIN-DELAY 900 USER"], {
    canStartTls: false,
    mechanisms: [],
  });
  assert.ok(offered.includes("EXPIRE 60") && offered.includes("LOGIN-DELAY 900 USER"));
  assert.ok(!offered.includes("PIPELINING"), "nobody has promised it");
});
