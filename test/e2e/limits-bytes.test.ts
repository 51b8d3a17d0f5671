import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { openDoor } from "../support/door.ts";
import { startDovecot } from "../support/dovecot.ts";
import { startScriptedSmtp } from "../support/scripted-smtp.ts";
import { openSmtpDoor } from "../support/smtp-door.ts";
import { eventually } from "../support/waiting.ts";

const USER = "alice@example.org";
const USERS = { [USER]: "right", "bob@example.org": "right" };
const KIB = 1024;

/** Loopback is exempt unless the configuration says otherwise. */
const policy = (...limits: object[]) => ({ exempt: [], limits });

async function imapDoor(limit: object) {
  const authority = await certificateAuthority();
  const store = await startDovecot({ tls: "none", users: USERS });
  const door = await openDoor({
    authority,
    backends: { store },
    users: USERS,
    config: { policy: policy(limit), routes: [{ to: "store" }] },
  });
  return {
    door,
    async [Symbol.asyncDispose]() {
      await door[Symbol.asyncDispose]();
      await store[Symbol.asyncDispose]();
    },
  };
}

const append = (tag: string, size: number): string =>
  `${tag} APPEND INBOX {${size}+}\r\nSubject: x\r\n\r\n${"x".repeat(size - 14)}\r\n`;

test("a session that has moved more than its limit hears goodbye, and the next one has to wait", async () => {
  await using place = await imapDoor({ name: "upload", count: "bytesIn", per: "user", limit: "64KiB/1d" });
  const { door } = place;
  await using client = await door.signedIn(USER, "right");
  await using bob = await door.signedIn("bob@example.org", "right");
  await client.sendRaw(append("a", 32 * KIB));
  await client.expectUntil("a OK ");
  await client.sendRaw(append("b", 40 * KIB));
  const said = await client.readToClose();
  assert.match(said.join("\n"), /^b OK [^\n]*\n\* BYE [^\n]*$/m, client.transcript());

  await using again = await door.greetedInTls();
  await again.send(`a LOGIN ${USER} right`);
  await again.expect("a NO [LIMIT] ");
  await bob.send("n NOOP");
  await bob.expect("n OK ");
  const refused = door.gateway.log().find((line) => line["msg"] === "refused");
  assert.match(
    String(refused?.["reason"]),
    /^limit upload: [0-9.]+KiB of 64KiB in 1d for user=alice@example\.org$/,
  );
  assert.ok((await door.gateway.metric("postern_limit_total", { limit: "upload", answer: "refused" })) >= 2);
});

test("a session that is slowed down gets everything, and later", async () => {
  await using place = await imapDoor({
    name: "download",
    count: "bytesOut",
    per: "user",
    limit: "64KiB/1d",
    then: { throttle: "256KiB" },
  });
  const { door } = place;
  await using client = await door.signedIn(USER, "right");
  await client.sendRaw(append("a", 512 * KIB));
  await client.expectUntil("a OK ");
  await client.send("s SELECT INBOX");
  await client.expectUntil("s OK ");
  const fetchAll = async (tag: string) => {
    const began = performance.now();
    await client.send(`${tag} FETCH 1 BODY[]`);
    const lines = await client.expectUntil(`${tag} OK `);
    assert.ok(lines.join("").length >= 500 * KIB);
    return performance.now() - began;
  };
  await fetchAll("f1");
  await eventually("the session to be slowed down", async () =>
    (await door.gateway.metrics()).includes(`postern_limit_total{limit="download",answer="throttled"}`),
  );
  const ms = await fetchAll("f2");
  assert.ok(ms > 1_000, `${Math.round(ms)} ms`);
});

test("a user who has sent too much is told so at his next message", async () => {
  const authority = await certificateAuthority();
  await using backend = await startScriptedSmtp({ auth: true });
  await using door = await openSmtpDoor({
    authority,
    users: USERS,
    backends: { backend },
    domains: { backend: "example.net" },
    config: { policy: policy({ name: "volume", count: "bytesIn", per: "user", limit: "16KiB/1h" }) },
  });
  await using client = await door.signedIn(USER, "right");
  for (const [line, reply] of [
    [`MAIL FROM:<${USER}>`, "250 "],
    ["RCPT TO:<a@example.net>", "250 "],
    ["DATA", "354 "],
    [`${`${"x".repeat(70)}\r\n`.repeat(400)}.`, "250 "],
    [`MAIL FROM:<${USER}>`, "450 4.7.1 "],
    ["NOOP", "250 "],
  ] as const) {
    await client.send(line);
    await client.expect(reply);
  }
  await using bob = await door.signedIn("bob@example.org", "right");
  await bob.send("MAIL FROM:<bob@example.org>");
  await bob.expect("250 ");
});
