import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { startScriptedSmtp } from "../support/scripted-smtp.ts";
import { openSmtpDoor, talk } from "../support/smtp-door.ts";

test("a parameter for trusted peers goes with no recipient, the first included", async () => {
  await using backend = await startScriptedSmtp({
    lmtp: true,
    extensions: ["PIPELINING", "XCLIENT ADDR PORT", "XRCPTFORWARD"],
  });
  await using door = await openSmtpDoor({
    authority: await certificateAuthority(),
    backends: { backend },
    speaks: ["lmtp"],
    domains: { backend: "north.example" },
  });
  await using client = await door.fromServer();
  await talk(
    client,
    ["MAIL FROM:<a@far.example>", "250 "],
    ["RCPT TO:<bob@north.example> XRCPTFORWARD=Zm9v", "555 5.5.4 "],
    ["RCPT TO:<bob@north.example> NOTIFY=NEVER", "555 5.5.4 "],
    // The transaction is still open.
    ["RCPT TO:<bob@north.example>", "250 2.1.5 "],
    ["DATA", "354 "],
    ["x\r\n.", "250 2.0.0 taken"],
  );
  assert.deepEqual(backend.taken[0]?.rcpts, ["RCPT TO:<bob@north.example>"]);
  assert.ok(!backend.received().includes("XRCPTFORWARD"));
});

test("MAIL's AUTH names nobody but the user himself, and at port 25 nobody at all", async () => {
  await using backend = await startScriptedSmtp({ auth: true });
  await using door = await openSmtpDoor({
    authority: await certificateAuthority(),
    users: { "alice+x@example.org": "pw" },
    backends: { backend },
    domains: { backend: "north.example" },
  });
  backend.forget();
  await using server = await door.fromServer();
  await talk(
    server,
    ["MAIL FROM:<a@far.example> AUTH=boss@north.example", "555 5.5.4 "],
    ["MAIL FROM:<a@far.example> AUTH=<>", "555 5.5.4 "],
    ["MAIL FROM:<a@far.example>", "250 "],
    ["RCPT TO:<bob@north.example>", "250 "],
    ["RSET", "250 "],
    ["MAIL FROM:<a@far.example> AUTH=boss@north.example", "555 5.5.4 "],
  );
  await using client = await door.signedIn("alice+x@example.org", "pw");
  await talk(
    client,
    ["MAIL FROM:<a@b.example> AUTH=boss@example.org", "550 5.7.1 "],
    ["MAIL FROM:<a@b.example> AUTH", "550 5.7.1 "],
    ["MAIL FROM:<a@b.example> AUTH=<>", "250 "],
    ["RSET", "250 "],
    ["MAIL FROM:<a@b.example> AUTH=alice+2Bx@example.org", "250 "],
  );
  assert.ok(!backend.received().includes("boss"), backend.transcript());
});
