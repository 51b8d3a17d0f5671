import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import type { Conversation } from "../support/conversation.ts";
import { sha256 } from "../support/mail.ts";
import { startScriptedSmtp } from "../support/scripted-smtp.ts";
import { openSmtpDoor, talk } from "../support/smtp-door.ts";

const USER = "alice@example.org";
const PASSWORD = "right";
const BARE = /\r(?!\n)|(?<!\r)\n/;
const END = "\r\n.\r\n";

async function open(bareNewlines: "reject" | "normalise", submission: object = {}) {
  const authority = await certificateAuthority();
  const backend = await startScriptedSmtp({ auth: true });
  const door = await openSmtpDoor({
    authority,
    users: { [USER]: PASSWORD },
    backends: { backend },
    domains: { backend: "example.net" },
    config: { submission: { bareNewlines, ...submission } },
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

/** Up to 354. */
async function begin(client: Conversation): Promise<void> {
  await talk(
    client,
    ["MAIL FROM:<alice@example.org>", "250 "],
    ["RCPT TO:<bob@example.net>", "250 "],
    ["DATA", "354 "],
  );
}

const SMUGGLING: readonly [form: string, canonical: string][] = [
  ["\n.\n", "\r\n..\r\n"],
  ["\n.\r\n", "\r\n..\r\n"],
  ["\r\n.\n", "\r\n..\r\n"],
  ["\r.\r", "\r\n..\r\n"],
  ["\r.\n", "\r\n..\r\n"],
  ["\n.\r", "\r\n..\r\n"],
  ["\r.\r\n", "\r\n..\r\n"],
  ["\r\n.\r", "\r\n..\r\n"],
  ["\r\n\0.\r\n", "\r\n\0.\r\n"],
  ["\r\n.\0\r\n", "\r\n.\0\r\n"],
  ["\r\n.\r\r\n", "\r\n..\r\n\r\n"],
  ["\r\r\n.\r\r\n", "\r\n\r\n..\r\n\r\n"],
];
const BEFORE = "Subject: one\r\n\r\nbody";
const BEHIND =
  "MAIL FROM:<evil@example.org>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\nSubject: two\r\n\r\nsmuggled";

for (const mode of ["reject", "normalise"] as const) {
  for (const wire of ["TCP", "TLS"] as const) {
    test(`items 1, 2: no end but CRLF.CRLF, where bare ones are to ${mode}, byte by byte over ${wire}`, async (t) => {
      await using place = await open(mode);
      const { backend, door } = place;
      for (const bytewise of [false, true]) {
        for (const [form, canonical] of SMUGGLING) {
          await t.test(`${JSON.stringify(form)}${bytewise ? ", byte by byte" : ""}`, async () => {
            // Passwords in clear are not taken, so the clear way is port 25.
            await using client =
              wire === "TLS"
                ? await door.signedIn(USER, PASSWORD, { bytewise })
                : await door.fromServer({ bytewise });
            backend.forget();
            await begin(client);
            await client.sendRaw(`${BEFORE}${form}${BEHIND}${END}`);
            const nul = form.includes("\0");
            await client.expect(mode === "normalise" || nul ? "250 " : "550 5.5.2 ");
            // Nothing of the content was a command, and no reply is left over.
            await client.send("NOOP");
            // The backend's connection is given up with the message; another server's session has a new one to come.
            const refused = wire === "TLS" ? "421 " : "250 2.0.0 Nothing done";
            await client.expect(mode === "normalise" || nul ? "250 2.0.0 nothing" : refused);
            assert.deepEqual(
              backend.taken.map(({ raw }) => raw.toString("latin1")),
              mode === "normalise" || nul ? [`${BEFORE}${canonical}${BEHIND}${END}`] : [],
            );
            assert.doesNotMatch(backend.received(), BARE);
            assert.deepEqual(
              backend.lines().filter((line) => /^(MAIL|RCPT|DATA)/.test(line)),
              ["MAIL FROM:<alice@example.org>", "RCPT TO:<bob@example.net>", "DATA"],
            );
          });
        }
      }
    });
  }
}

test("item 14: what looks odd and is a message arrives as it was", async (t) => {
  await using place = await open("reject");
  const { backend, door } = place;
  const bodies: Readonly<Record<string, string>> = {
    "nothing at all": "",
    "an empty line": "\r\n",
    "a line of 900": `Subject: x\r\n\r\n${"y".repeat(900)}\r\n`,
    "a megabyte in one line": `Subject: x\r\n\r\n${"z".repeat(1_048_576)}\r\n`,
    "dots, stuffed": "..\r\n...\r\n....\r\na.b\r\n..x\r\n",
    "dots, not stuffed": ".x\r\n..y\r\n",
    "8-bit and NUL": "\x80\xff\0\x01\r\n\xc3\xbc\r\n",
    "__proto__: 1\r\nconstructor: 2\r\ntoString: 3":
      "__proto__: 1\r\nconstructor: 2\r\ntoString: 3\r\n\r\nx\r\n",
  };
  await using client = await door.signedIn(USER, PASSWORD);
  for (const [what, body] of Object.entries(bodies)) {
    await t.test(what, async () => {
      backend.forget();
      await begin(client);
      await client.sendRaw(`${body}.\r\n`);
      await client.expect("250 ");
      assert.equal(backend.taken.length, 1);
      assert.equal(sha256(backend.taken[0]?.raw ?? ""), sha256(Buffer.from(`${body}.\r\n`, "latin1")));
    });
  }
});

test("item 37: half a million header lines pass, and the gateway answers others meanwhile", async () => {
  await using place = await open("reject");
  const { backend, door } = place;
  await using client = await door.signedIn(USER, PASSWORD);
  await begin(client);
  const headers = "constructor: x\r\n".repeat(500_000);
  const sending = client.sendRaw(`${headers}\r\nbody\r\n.\r\n`).then(() => client.expect("250 "));
  let slowest = 0;
  let done = false;
  void sending.finally(() => {
    done = true;
  });
  while (!done) {
    const before = performance.now();
    await using other = await door.greeted();
    await talk(other, ["NOOP", "250 "]);
    slowest = Math.max(slowest, performance.now() - before);
  }
  await sending;
  assert.equal(backend.taken[0]?.raw.length, headers.length + "\r\nbody\r\n.\r\n".length);
  assert.ok(slowest < 1_000, `another session waited ${slowest} ms`);
});

test("item 35: a message too big is refused at MAIL, or after its end, and nothing is stored", async (t) => {
  await using place = await open("reject", { maxMessageSize: "10KiB" });
  const { backend, door } = place;

  await t.test("EHLO says the smaller of the two limits", async () => {
    await using client = await door.greetedInTls();
    await client.send("EHLO x");
    const lines = await client.expectUntil("250 ");
    assert.ok(lines.includes("250-SIZE 10240") || lines.includes("250 SIZE 10240"), lines.join("\n"));
  });

  await t.test("at MAIL", async () => {
    await using client = await door.signedIn(USER, PASSWORD);
    backend.forget();
    await talk(
      client,
      ["MAIL FROM:<alice@example.org> SIZE=10241", "552 5.3.4 "],
      ["MAIL FROM:<alice@example.org> SIZE=1e9", "501 "],
      ["MAIL FROM:<alice@example.org> SIZE=-1", "501 "],
      ["MAIL FROM:<alice@example.org> SIZE=18446744073709551616", "501 "],
      ["MAIL FROM:<alice@example.org> SIZE", "501 "],
      ["MAIL FROM:<alice@example.org> SIZE=10240", "250 "],
    );
    assert.deepEqual(backend.lines(), ["MAIL FROM:<alice@example.org> SIZE=10240"]);
  });

  const line = `${"x".repeat(62)}\r\n`;
  await t.test("a message of exactly the limit is taken, its dots not counted", async () => {
    await using client = await door.signedIn(USER, PASSWORD);
    backend.forget();
    await begin(client);
    await client.sendRaw(`${line.repeat(159)}..${"x".repeat(61)}\r\n.\r\n`);
    await client.expect("250 ");
    assert.equal(backend.taken.length, 1);
  });
  for (const [what, body] of [
    ["one byte more", `${line.repeat(160)}x\r\n`],
    ["a megabyte more", line.repeat(16_384)],
  ] as const) {
    await t.test(what, async () => {
      await using client = await door.signedIn(USER, PASSWORD);
      backend.forget();
      await begin(client);
      await client.sendRaw(`${body}.\r\n`);
      await client.expect("552 5.3.4 ");
      assert.deepEqual(backend.taken, []);
      await client.send("QUIT");
      await client.expect("221 ");
      await client.expectClosed();
    });
  }
});

test("a limit of the backend's own counts as ours", async () => {
  const authority = await certificateAuthority();
  await using backend = await startScriptedSmtp({ auth: true, extensions: ["SIZE 1000"] });
  await using door = await openSmtpDoor({ authority, users: { [USER]: PASSWORD }, backends: { backend } });
  await using client = await door.signedIn(USER, PASSWORD);
  await talk(client, ["MAIL FROM:<> SIZE=1001", "552 5.3.4 "], ["MAIL FROM:<> SIZE=1000", "250 "]);
});

test("BDAT: chunks arrive as they were, in whatever pieces", async (t) => {
  await using place = await open("reject");
  const { backend, door } = place;
  const body = "Subject: chunks\r\n\r\n.\r\n..\r\nBDAT 3 LAST\r\nno end\r\n.\r\nMAIL FROM:<x@y>\r\n";
  for (const bytewise of [false, true]) {
    await t.test(`three chunks${bytewise ? ", byte by byte" : ", in one segment"}`, async () => {
      await using client = await door.signedIn(USER, PASSWORD, { bytewise });
      backend.forget();
      const first = body.slice(0, 18);
      const second = body.slice(18);
      await client.sendRaw(
        `MAIL FROM:<alice@example.org> BODY=8BITMIME\r\nRCPT TO:<bob@example.net>\r\nBDAT ${first.length}\r\n${first}BDAT ${second.length}\r\n${second}BDAT 0 LAST\r\nNOOP\r\n`,
      );
      for (const expected of [
        "250 2.1.0",
        "250 2.1.5",
        "250 2.0.0 chunk",
        "250 2.0.0 chunk",
        "250 2.0.0 taken",
        "250 2.0.0 nothing",
      ])
        await client.expect(expected);
      assert.deepEqual(
        backend.taken.map(({ raw, by }) => [raw.toString("latin1"), by]),
        [[body, "bdat"]],
      );
    });
  }

  const refusals: readonly [what: string, chunks: string][] = [
    ["a bare LF", "BDAT 5 LAST\r\na\nb\r\n"],
    ["a bare CR", "BDAT 5 LAST\r\na\rb\r\n"],
    ["a CR at the very end", "BDAT 2 LAST\r\na\r"],
    ["a CR whose LF never comes", "BDAT 2\r\na\rBDAT 0 LAST\r\n"],
    ["a CR whose LF is in the next chunk's second byte", "BDAT 2\r\na\rBDAT 2 LAST\r\nb\n"],
  ];
  for (const [what, chunks] of refusals) {
    await t.test(`${what} is refused, and the message is not there`, async () => {
      await using client = await door.signedIn(USER, PASSWORD);
      backend.forget();
      await talk(client, ["MAIL FROM:<alice@example.org>", "250 "], ["RCPT TO:<bob@example.net>", "250 "]);
      await client.sendRaw(`${chunks}QUIT\r\n`);
      const replies = await client.readToClose();
      assert.ok(
        replies.some((reply) => reply.startsWith("550 5.5.2 ")),
        replies.join("\n"),
      );
      assert.equal(
        replies.filter((reply) => reply.startsWith("250 ")).length,
        chunks.split("BDAT").length - 2,
      );
      assert.deepEqual(backend.taken, []);
    });
  }

  await t.test("a CRLF cut between two chunks is one", async () => {
    await using client = await door.signedIn(USER, PASSWORD);
    backend.forget();
    await talk(client, ["MAIL FROM:<alice@example.org>", "250 "], ["RCPT TO:<bob@example.net>", "250 "]);
    await client.sendRaw("BDAT 2\r\na\rBDAT 2 LAST\r\n\nb");
    await client.expect("250 ");
    await client.expect("250 ");
    assert.equal(backend.taken[0]?.raw.toString(), "a\r\nb");
  });
});

test("item 7: BDAT without a recipient is one 503, and its octets are nobody's commands", async () => {
  await using place = await open("reject");
  const { backend, door } = place;
  await using client = await door.signedIn(USER, PASSWORD);
  backend.forget();
  await client.sendRaw("BDAT 12 LAST\r\nNOOP\r\nNOOP\r\nRSET\r\n");
  await client.expect("503 5.5.1 ");
  await client.expect("250 2.0.0 reset");
  // Behind a failed BDAT in a transaction everything but RSET is 503.
  await talk(client, ["MAIL FROM:<alice@example.org>", "250 "]);
  await client.sendRaw(
    "BDAT 12 LAST\r\nNOOP\r\nNOOP\r\nRCPT TO:<bob@example.net>\r\nDATA\r\nMAIL FROM:<>\r\nRSET\r\n",
  );
  for (const expected of ["503 ", "503 ", "503 ", "503 ", "250 2.0.0 reset"]) await client.expect(expected);
  await begin(client);
  await client.sendRaw("x\r\n.\r\n");
  await client.expect("250 ");
  assert.equal(backend.taken.length, 1);
  assert.ok(!backend.received().includes("NOOP"), backend.transcript());
  // The same before anybody has signed in, and from another server.
  for (const other of [await door.greetedInTls(), await door.fromServer()]) {
    await using early = other;
    await early.sendRaw("BDAT 12 LAST\r\nNOOP\r\nNOOP\r\nNOOP\r\n");
    await early.expect("503 5.5.1 ");
    await early.expect("250 ");
  }
});

test("item 8: BDAT with what is no count ends the session", async (t) => {
  await using place = await open("reject");
  const { backend, door } = place;
  for (const count of ["1e3", "12abc", "-1", "0x10", "99999999999999999999", ""]) {
    await t.test(JSON.stringify(count), async () => {
      await using early = await door.greetedInTls();
      await early.sendRaw(`BDAT ${count}\r\nNOOP\r\n`);
      assert.match((await early.readToClose()).join("\n"), /^501 5\.5\.4 [^\n]*$/);

      await using client = await door.signedIn(USER, PASSWORD);
      await talk(client, ["MAIL FROM:<alice@example.org>", "250 "], ["RCPT TO:<bob@example.net>", "250 "]);
      backend.forget();
      await client.sendRaw(`BDAT ${count}\r\nNOOP\r\n`);
      assert.match((await client.readToClose()).join("\n"), /^501 5\.5\.4 [^\n]*$/);
      assert.ok(!backend.received().includes("NOOP"), backend.transcript());
      assert.deepEqual(backend.taken, []);
    });
  }
});

test("item 9: DATA behind BDAT, and BDAT where nobody offered it", async () => {
  await using place = await open("reject");
  const { door } = place;
  await using client = await door.signedIn(USER, PASSWORD);
  await talk(client, ["MAIL FROM:<alice@example.org>", "250 "], ["RCPT TO:<bob@example.net>", "250 "]);
  await client.sendRaw("BDAT 3\r\na\r\nDATA\r\n");
  await client.expect("250 ");
  await client.expect("503 5.5.1 ");

  const authority = await certificateAuthority();
  await using old = await startScriptedSmtp({ auth: true, extensions: ["PIPELINING"] });
  await using oldDoor = await openSmtpDoor({ authority, users: { [USER]: PASSWORD }, backends: { old } });
  await using other = await oldDoor.greetedInTls();
  await other.send("EHLO x");
  assert.ok(!(await other.expectUntil("250 ")).some((line) => line.includes("CHUNKING")));
  await using inside = await oldDoor.signedIn(USER, PASSWORD);
  await talk(inside, ["MAIL FROM:<alice@example.org>", "250 "], ["RCPT TO:<bob@example.net>", "250 "]);
  old.forget();
  await inside.sendRaw("BDAT 6 LAST\r\nNOOP\r\nRSET\r\n");
  await inside.expect("503 ");
  await inside.expect("250 2.0.0 reset");
  assert.deepEqual(old.lines(), ["RSET"]);
});

test("item 12: content before 354 ends the session", async () => {
  await using place = await open("reject");
  const { backend, door } = place;
  await using client = await door.signedIn(USER, PASSWORD);
  backend.forget();
  await client.sendRaw(
    "MAIL FROM:<alice@example.org>\r\nRCPT TO:<bob@example.net>\r\nDATA\r\nSubject: early\r\n\r\nx\r\n.\r\n",
  );
  const replies = await client.readToClose();
  assert.deepEqual(
    replies.map((reply) => reply.slice(0, 9)),
    ["250 2.1.0", "250 2.1.5", "554 5.5.0"],
    replies.join("\n"),
  );
  assert.deepEqual(backend.taken, []);
});
