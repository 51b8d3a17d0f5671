import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { startPostfix, withoutPostfix } from "../support/postfix.ts";
import { startScriptedSmtp } from "../support/scripted-smtp.ts";
import { openSmtpDoor, talk } from "../support/smtp-door.ts";

/** Ours, each with the way to another place in its local part. */
const LEADING_ON = [
  "far.example!victim@north.example",
  '"victim@far.example"@north.example',
  '"far.example!victim"@north.example',
  '"victim\\@far.example"@north.example',
  "victim%far.example@north.example",
  '"victim%far.example"@north.example',
];

/** As an operator sets it up: its own domain, and everything for whoever connects from its own network. */
const TRUSTING = `mydestination = north.example
virtual_mailbox_domains =
smtpd_recipient_restrictions =
smtpd_relay_restrictions = permit_mynetworks, defer_unauth_destination
`;

test("item 32: a Postfix that trusts the gateway relays nothing for strangers", {
  skip: withoutPostfix,
}, async (t) => {
  await using backend = await startPostfix({
    domains: ["north.example"],
    tls: "none",
    hold: true,
    settings: TRUSTING,
  });
  await using door = await openSmtpDoor({
    authority: await certificateAuthority(),
    backends: { backend },
    speaks: ["smtp"],
    domains: { backend: "north.example" },
  });
  for (const to of LEADING_ON) {
    await t.test(to, async () => {
      await using client = await door.fromServer();
      await talk(client, ["MAIL FROM:<a@far.example>", "250 "], [`RCPT TO:<${to}>`, "501 5.5.4 "]);
      // Nor behind a recipient that is one.
      await talk(client, ["RCPT TO:<bob@north.example>", "250 "], [`RCPT TO:<${to}>`, "501 5.5.4 "]);
    });
  }
  assert.doesNotMatch(backend.log(), /far\.example[!"]|victim/);
});

test("a sender may have such a local part: nothing is sent on by it", async () => {
  await using backend = await startScriptedSmtp();
  await using door = await openSmtpDoor({
    authority: await certificateAuthority(),
    backends: { backend },
    speaks: ["smtp"],
    domains: { backend: "north.example" },
  });
  await using client = await door.fromServer();
  await talk(client, ["MAIL FROM:<far!list@far.example>", "250 "], ["RCPT TO:<bob@north.example>", "250 "]);
});
