import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";
import { certificateAuthority } from "../support/certificates.ts";
import { type Conversation, connect } from "../support/conversation.ts";
import { type Act, type Point, startScriptedSmtp } from "../support/scripted-smtp.ts";
import { openSmtpDoor, talk } from "../support/smtp-door.ts";
import { eventually } from "../support/waiting.ts";

const USER = "alice@example.org";
const PASSWORD = "right";
const BARE = /\r(?!\n)|(?<!\r)\n/;

async function open(submission: object = {}) {
  const faults: Partial<Record<Point, Act>> = {};
  const acts = { bdat: () => faults.bdat };
  const backend = await startScriptedSmtp({ auth: true, acts });
  const door = await openSmtpDoor({
    authority: await certificateAuthority(),
    users: { [USER]: PASSWORD },
    backends: { backend },
    domains: { backend: "example.net" },
    config: { submission },
  });
  return {
    backend,
    door,
    faults,
    enter: (place: "port 25" | "port 465", bytewise = false) =>
      place === "port 25" ? door.fromServer({ bytewise }) : door.signedIn(USER, PASSWORD, { bytewise }),
    async [Symbol.asyncDispose]() {
      await door[Symbol.asyncDispose]();
      await backend[Symbol.asyncDispose]();
    },
  };
}

const PLACES = ["port 25", "port 465"] as const;

/** Up to the first chunk. */
async function begin(client: Conversation): Promise<void> {
  await talk(client, ["MAIL FROM:<alice@example.org>", "250 "], ["RCPT TO:<bob@example.net>", "250 "]);
}

const FORMS = [
  "\n.\n",
  "\n.\r\n",
  "\r\n.\n",
  "\r.\r",
  "\r.\n",
  "\n.\r",
  "\r.\r\n",
  "\r\n.\r",
  "\r\n\0.\r\n",
  "\r\n.\0\r\n",
  "\r\n.\r\r\n",
  "\r\r\n.\r\r\n",
  "\r\n.\r\n",
];
const BEHIND =
  "MAIL FROM:<evil@example.org>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\nSubject: two\r\n\r\nsmuggled\r\n.\r\n";

for (const bareNewlines of ["reject", "normalise"]) {
  for (const place of PLACES) {
    test(`items 1, 2: a chunk ends where its count says, at ${place}, where bare ones are to ${bareNewlines}`, async (t) => {
      await using at = await open({ bareNewlines });
      const { backend } = at;
      for (const bytewise of [false, true]) {
        for (const form of FORMS) {
          await t.test(`${JSON.stringify(form)}${bytewise ? ", byte by byte" : ""}`, async () => {
            await using client = await at.enter(place, bytewise);
            backend.forget();
            await begin(client);
            const message = `Subject: one\r\n\r\nbody${form}${BEHIND}`;
            await client.sendRaw(`BDAT ${message.length} LAST\r\n${message}`);
            // A chunk has its length: nothing can be put in its place, so a bare one is refused in both modes.
            const whole = !BARE.test(message);
            await client.expect(whole ? "250 2.0.0 taken" : "550 5.5.2 ");
            await client.send("NOOP");
            await client.expect(whole ? "250 2.0.0 nothing" : "421 ");
            assert.deepEqual(
              backend.taken.map(({ raw }) => raw.toString("latin1")),
              whole ? [message] : [],
            );
            const commands = backend.lines().filter((line) => /^(MAIL|RCPT|DATA)/.test(line));
            assert.deepEqual(commands, ["MAIL FROM:<alice@example.org>", "RCPT TO:<bob@example.net>"]);
          });
        }
      }
    });
  }
}

test("item 35: chunks that are too big together are refused, and nothing is stored", async (t) => {
  await using at = await open({ maxMessageSize: "10KiB" });
  const { backend } = at;
  const cases: Readonly<Record<string, readonly [sizes: readonly number[], replies: readonly string[]]>> = {
    "exactly as much": [
      [10_000, 240],
      ["250 2.0.0 chunk", "250 2.0.0 taken"],
    ],
    "one byte more": [
      [10_000, 241],
      ["250 2.0.0 chunk", "552 5.3.4 "],
    ],
    "all at once": [[10_241], ["552 5.3.4 "]],
    "a megabyte": [[1_000_000], ["552 5.3.4 "]],
  };
  for (const place of PLACES) {
    for (const [what, [sizes, replies]] of Object.entries(cases)) {
      await t.test(`${what}, at ${place}`, async () => {
        await using client = await at.enter(place);
        backend.forget();
        await begin(client);
        for (const [index, size] of sizes.entries()) {
          const last = index === sizes.length - 1 ? " LAST" : "";
          await client.sendRaw(`BDAT ${size}${last}\r\n${"x".repeat(size)}`);
          await client.expect(replies[index] ?? "");
        }
        assert.equal(backend.taken.length, replies.at(-1)?.startsWith("250") ? 1 : 0);
        await talk(client, ["QUIT", "221 "]);
      });
    }
  }
});

test("item 8: BDAT with what is no count ends the session at port 25 too", async (t) => {
  await using at = await open();
  const { backend } = at;
  for (const count of [
    "1e3",
    "12abc",
    "-1",
    "0x10",
    "99999999999999999999",
    "",
    "+5",
    "5  LAST",
    "5 LAST x",
  ]) {
    for (const inside of [false, true]) {
      await t.test(`${JSON.stringify(count)}${inside ? ", behind a recipient" : ""}`, async () => {
        await using client = await at.enter("port 25");
        if (inside) await begin(client);
        backend.forget();
        await client.sendRaw(`BDAT ${count}\r\nNOOP\r\n`);
        assert.match((await client.readToClose()).join("\n"), /^501 5\.5\.4 [^\n]*$/);
        assert.ok(!/NOOP|BDAT/.test(backend.received()), backend.transcript());
      });
    }
  }
});

const ENDS: readonly Act[] = [
  "close",
  "reset",
  { say: "not SMTP at all\r\n", next: "close" },
  { say: "250-half of a reply\r\n", next: "close" },
];

test("items 40, 41: a backend that dies with a chunk in its hands has not taken the message", async (t) => {
  await using at = await open();
  const { backend, faults } = at;
  for (const place of PLACES) {
    for (const last of ["", " LAST"]) {
      for (const act of ENDS) {
        await t.test(`BDAT${last}, ${inspect(act)}, at ${place}`, async () => {
          await using client = await at.enter(place);
          await begin(client);
          backend.forget();
          faults.bdat = act;
          await client.sendRaw(`BDAT 6${last}\r\nx: y\r\n`);
          await client.expect("451 4.4.1 ");
          delete faults.bdat;
          await talk(client, ["NOOP", "421 4.4.1 "]);
          await client.expectClosed();
          assert.deepEqual(backend.taken, []);
        });
      }
    }
    await t.test(`in the middle of one, which is read to its end, at ${place}`, async () => {
      await using client = await at.enter(place);
      await begin(client);
      backend.forget();
      await client.sendRaw("BDAT 1000000 LAST\r\nSubject: x\r\n");
      await eventually("the beginning at the backend", () => backend.received().includes("Subject"));
      backend.resetAll();
      await client.sendRaw("NOOP\r\n".repeat(166_665).slice(0, 1_000_000 - 12));
      await client.expect("451 4.4.1 ");
      await talk(client, ["QUIT", "221 "]);
    });
  }
});

test("item 43: what the backend says to the last chunk is what the client hears", async () => {
  await using at = await open();
  for (const words of ["452 4.3.1 disk full", "550-5.7.1 first\r\n550 5.7.1 second"]) {
    await using client = await at.enter("port 465");
    await begin(client);
    at.faults.bdat = { say: `${words}\r\n` };
    await client.sendRaw("BDAT 6 LAST\r\nx: y\r\n");
    for (const line of words.split("\r\n")) assert.equal(await client.expect(/^\d{3}/), line);
    delete at.faults.bdat;
    await talk(client, ["NOOP", "250 2.0.0 nothing"]);
  }
});

test("item 30: a TLS handshake where SMTP is spoken is no command, and is not given back", async () => {
  await using at = await open();
  for (const port of [at.door.ports.mx, at.door.ports.starttls]) {
    await using client = await connect({ port });
    await client.expect("220 ");
    const hello = Buffer.from(`16030100c8010000c40303${"ff".repeat(195)}0d0a`, "hex");
    for (let n = 0; n < 12; n += 1) await client.sendRaw(hello);
    const replies = await client.readToClose();
    assert.match(replies.at(-1) ?? "", /^(421|554) /);
    assert.ok(
      replies.every((line) => /^[45]\d\d [ -~]*$/.test(line)),
      replies.join("\n"),
    );
  }
});
