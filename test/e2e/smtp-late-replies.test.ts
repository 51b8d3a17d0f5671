import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { type Act, type ScriptedSmtpOptions, startScriptedSmtp } from "../support/scripted-smtp.ts";
import { openSmtpDoor, talk } from "../support/smtp-door.ts";

const USER = "alice@example.org";
const PASSWORD = "right";

/** A backend that has no nobody, and takes no mail from the bad; its replies come when the client is long past them. */
const ACTS: NonNullable<ScriptedSmtpOptions["acts"]> = {
  mail: (line): Act | undefined => (line.includes("<bad@") ? { say: "550 5.1.8 bad sender\r\n" } : undefined),
  rcpt: (line): Act | undefined =>
    line.includes("<nobody@") ? { say: "550 5.1.1 no such user\r\n" } : undefined,
};

async function open(options: ScriptedSmtpOptions = {}, config: Readonly<Record<string, unknown>> = {}) {
  const backend = await startScriptedSmtp({ auth: true, acts: ACTS, ...options });
  const door = await openSmtpDoor({
    authority: await certificateAuthority(),
    users: { [USER]: PASSWORD },
    backends: { backend },
    ...(options.lmtp
      ? {
          speaks: ["lmtp"] as const,
          config: { routes: [{ match: { recipientDomain: "x.example" }, to: "backend" }] },
        }
      : { config }),
  });
  return {
    backend,
    door,
    async [Symbol.asyncDispose]() {
      await door[Symbol.asyncDispose]();
      await backend[Symbol.asyncDispose]();
    },
  };
}

const GROUPS: Readonly<Record<string, string>> = {
  "a recipient of the transaction before":
    "MAIL FROM:<>\r\nRCPT TO:<nobody@x.example>\r\nRSET\r\nMAIL FROM:<>\r\n",
  "the MAIL before": "MAIL FROM:<bad@x.example>\r\nRSET\r\nMAIL FROM:<>\r\n",
  "a recipient outside of any": "RCPT TO:<nobody@x.example>\r\nMAIL FROM:<>\r\n",
};

for (const [what, group] of Object.entries(GROUPS)) {
  test(`a no to ${what} takes nothing from the one that is open when it comes`, async () => {
    await using place = await open();
    await using client = await place.door.signedIn(USER, PASSWORD);
    await client.sendRaw(`${group}RCPT TO:<a@x.example>\r\nNOOP\r\n`);
    await client.expectUntil("250 2.0.0 nothing");
    await client.sendRaw("BDAT 6 LAST\r\nx: y\r\n");
    await client.expect("250 2.0.0 taken");
    assert.deepEqual(place.backend.taken[0]?.rcpts, ["RCPT TO:<a@x.example>"]);
  });
}

test("recipients that are refused late make no room for more than there may be", async () => {
  await using place = await open({}, { submission: { maxRecipients: 2 } });
  const { backend, door } = place;
  await using client = await door.signedIn(USER, PASSWORD);
  await client.sendRaw(
    `MAIL FROM:<>\r\n${"RCPT TO:<nobody@x.example>\r\n".repeat(2)}RSET\r\nMAIL FROM:<>\r\nNOOP\r\n`,
  );
  await client.expectUntil("250 2.0.0 nothing");
  const to = "RCPT TO:<a@x.example>";
  await talk(client, [to, "250 "], [to, "250 "], [to, "452 4.5.3 "]);
  assert.equal(backend.lines().filter((line) => line === to).length, 2);
});

test("an LMTP transaction never has two recipients: one reply would be taken for both", async () => {
  const end: Act = { say: "250 2.0.0 the first has it\r\n452 4.2.2 the second is full\r\n" };
  await using place = await open({ lmtp: true, auth: false, acts: { ...ACTS, end } });
  const { backend, door } = place;
  await using client = await door.fromServer();
  await talk(client, ["MAIL FROM:<>", "250 "], ["RCPT TO:<a@x.example>", "250 "], ["RSET", "250 "]);
  backend.forget();
  await client.sendRaw(
    "MAIL FROM:<>\r\nRCPT TO:<nobody@x.example>\r\nRSET\r\nMAIL FROM:<>\r\nRCPT TO:<a@x.example>\r\nNOOP\r\n",
  );
  await client.expectUntil("250 2.0.0 nothing");
  await talk(client, ["RCPT TO:<b@x.example>", "452 4.5.3 "]);
  assert.ok(!backend.lines().includes("RCPT TO:<b@x.example>"), backend.transcript());
});

test("behind a 421 nothing more is waited for, though the backend stays", async () => {
  await using place = await open({
    acts: {
      rcpt: (line): Act | undefined =>
        line.includes("<second@") ? { say: "421 4.3.2 going down\r\n" } : undefined,
      noop: "silence",
    },
  });
  await using client = await place.door.signedIn(USER, PASSWORD);
  await client.sendRaw(
    "MAIL FROM:<>\r\nRCPT TO:<first@x.example>\r\nRCPT TO:<second@x.example>\r\nNOOP\r\nNOOP\r\n",
  );
  for (const reply of ["250 ", "250 ", "421 4.3.2 ", "451 4.4.1 ", "451 4.4.1 "]) await client.expect(reply);
});

test("item 12: what comes behind DATA and before its reply ends the session, whatever the reply is", async (t) => {
  for (const reply of ["354 go ahead", "554 5.5.1 no valid recipients"]) {
    await t.test(reply, async () => {
      const held = Promise.withResolvers<Act>();
      await using place = await open({ acts: { data: () => held.promise } });
      const { backend, door } = place;
      await using client = await door.signedIn(USER, PASSWORD);
      await talk(client, ["MAIL FROM:<>", "250 "], ["RCPT TO:<a@x.example>", "250 "]);
      await client.send("DATA");
      await backend.hears("DATA");
      backend.forget();
      const early = "RSET\r\nMAIL FROM:<evil@x.example>\r\n";
      await client.sendRaw(early);
      // It has arrived when the gateway says so to somebody else who spoke later.
      await using other = await door.greeted();
      await talk(other, ["NOOP", "250 "]);
      held.resolve({ say: `${reply}\r\n` });
      const heard = (await client.readToClose()).map((line) => line.slice(0, 9));
      assert.deepEqual(heard, [reply.slice(0, 9), "554 5.5.0"]);
      assert.ok(!backend.received().includes("evil"), backend.transcript());
    });
  }
});

test("a header cut between two chunks passes where senders are only observed", async () => {
  await using place = await open({}, { submission: { senders: { enforce: "observe" } } });
  await using client = await place.door.signedIn(USER, PASSWORD);
  await talk(client, [`MAIL FROM:<${USER}>`, "250 "], ["RCPT TO:<a@x.example>", "250 "]);
  const [first, second] = ["From: alice@exam", "ple.org\r\n\r\nhello\r\n"];
  await client.sendRaw(`BDAT ${first?.length}\r\n${first}BDAT ${second?.length} LAST\r\n${second}`);
  await client.expect("250 2.0.0 chunk");
  await client.expect("250 2.0.0 taken");
  assert.equal(place.backend.taken[0]?.raw.toString(), `${first}${second}`);
});
