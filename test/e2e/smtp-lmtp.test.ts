import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { startDovecot } from "../support/dovecot.ts";
import { message, sha256 } from "../support/mail.ts";
import { freePort } from "../support/ports.ts";
import { startScriptedSmtp } from "../support/scripted-smtp.ts";
import { openSmtpDoor, talk } from "../support/smtp-door.ts";

const USERS = { "bob@north.example": "b", "carol@north.example": "c" };

test("mail for Dovecot's users goes to its LMTP, each recipient in a transaction of its own", async () => {
  const authority = await certificateAuthority();
  const port = await freePort();
  await using dovecot = await startDovecot({
    tls: "none",
    users: USERS,
    settings: `protocols = $protocols lmtp
service lmtp {
  inet_listener lmtp {
    port = ${port}
  }
}`,
  });
  await using door = await openSmtpDoor({
    authority,
    backends: { dovecot: { host: dovecot.host, port, tls: "none" } },
    speaks: ["lmtp"],
    domains: { dovecot: "north.example" },
  });
  const sent = message("by LMTP", "..\r\n.dot\r\n\xc3\xbc\r\n");
  const stuffed = sent.replaceAll("\r\n.", "\r\n..");
  await using client = await door.fromServer();
  await talk(
    client,
    ["MAIL FROM:<a@far.example>", "250 "],
    ["RCPT TO:<bob@north.example>", "250 "],
    // LMTP answers for each recipient behind the data, which one reply cannot say.
    ["RCPT TO:<carol@north.example>", "452 4.5.3 "],
    ["DATA", "354 "],
  );
  await client.sendRaw(`${stuffed}.\r\n`);
  await client.expect("250 ");
  await talk(
    client,
    ["MAIL FROM:<a@far.example>", "250 "],
    ["RCPT TO:<carol@north.example>", "250 "],
    ["DATA", "354 "],
  );
  await client.sendRaw(`${stuffed}.\r\n`);
  await client.expect("250 ");
  await talk(client, ["MAIL FROM:<>", "250 "], ["RCPT TO:<carol@north.example>", "250 "]);
  await client.sendRaw(`BDAT ${sent.length} LAST\r\n${sent}`);
  await client.expect("250 ");
  await talk(client, ["QUIT", "221 "]);
  for (const [user, count] of [
    ["bob@north.example", 1],
    ["carol@north.example", 2],
  ] as const) {
    const stored = await dovecot.messages(user);
    assert.equal(stored.length, count);
    for (const each of stored)
      assert.equal(
        sha256(each.subarray(-sent.length)),
        sha256(Buffer.from(sent, "latin1")),
        each.toString("latin1"),
      );
  }
});

test("a refusal at LMTP, before and behind the data, is the client's, and the next recipient has its turn", async () => {
  const authority = await certificateAuthority();
  await using backend = await startScriptedSmtp({
    lmtp: true,
    acts: {
      rcpt: (line) => (line.includes("nobody") ? { say: "550 5.1.1 no such user\r\n" } : undefined),
      end: { say: "452 4.2.2 mailbox full\r\n" },
    },
  });
  await using door = await openSmtpDoor({
    authority,
    backends: { backend },
    speaks: ["lmtp"],
    domains: { backend: "north.example" },
  });
  await using client = await door.fromServer();
  await talk(
    client,
    ["MAIL FROM:<a@far.example>", "250 "],
    ["RCPT TO:<nobody@north.example>", "550 5.1.1 "],
    ["RCPT TO:<full@north.example>", "250 "],
    ["RCPT TO:<other@north.example>", "452 4.5.3 "],
    ["DATA", "354 "],
    ["x\r\n.", "452 4.2.2 mailbox full"],
    ["NOOP", "250 2.0.0 nothing"],
  );
  assert.ok(
    backend.lines().every((line) => !line.startsWith("EHLO")),
    backend.transcript(),
  );
});
