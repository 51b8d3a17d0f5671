import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";
import { certificateAuthority } from "../support/certificates.ts";
import type { Conversation } from "../support/conversation.ts";
import {
  type Act,
  type Point,
  type ScriptedSmtpOptions,
  startScriptedSmtp,
} from "../support/scripted-smtp.ts";
import { openSmtpDoor, plain, type SmtpDoor, talk } from "../support/smtp-door.ts";
import { eventually } from "../support/waiting.ts";

const USER = "alice@example.org";
const PASSWORD = "s3cret-right";
const BODY = "Subject: x\r\n\r\nhello\r\n.";

const POINTS = ["greeting", "ehlo", "auth", "mail", "rcpt", "data", "body", "end", "bdat"] as const;

/** A door and its backend, whose faults the test may change as it goes. */
async function open(options: ScriptedSmtpOptions = {}, config: Readonly<Record<string, unknown>> = {}) {
  const authority = await certificateAuthority();
  const faults: Partial<Record<Point, Act>> = {};
  const acts = Object.fromEntries(POINTS.map((point) => [point, () => faults[point]]));
  const backend = await startScriptedSmtp({ auth: true, ...options, acts: { ...acts, ...options.acts } });
  const door = await openSmtpDoor({
    authority,
    users: { [USER]: PASSWORD },
    backends: { backend },
    domains: { backend: "example.net" },
    config: { timeouts: { connect: "2s" }, ...config },
  });
  backend.forget();
  return {
    backend,
    door,
    faults,
    async [Symbol.asyncDispose]() {
      await door[Symbol.asyncDispose]();
      await backend[Symbol.asyncDispose]();
    },
  };
}

/** Sends one message as far as it goes; gives the last reply, or "closed". */
async function send(client: Conversation, ...behind: string[]): Promise<string> {
  let last = "";
  for (const [said, good] of [
    ["MAIL FROM:<alice@example.org>", "250 "],
    ["RCPT TO:<bob@example.net>", "250 "],
    ["DATA", "354 "],
    [BODY, "250 "],
    ...behind.map((line) => [line, "250 "] as const),
  ] as const) {
    await client.send(said);
    last = (await client.expectUntil(/^\d{3} /)).at(-1) ?? "";
    if (!last.startsWith(good)) return last;
  }
  return last;
}

const ENDS: readonly Act[] = ["close", "reset", { say: "not SMTP at all\r\n", next: "close" }];

test("item 42: a backend that dies before anybody is in is an outage, never a wrong password", async (t) => {
  await using place = await open();
  const { door, faults } = place;
  for (const point of ["greeting", "ehlo", "auth"] as const) {
    const acts: Act[] = [...ENDS, { say: "421 4.3.2 too busy\r\n", next: "close" }];
    if (point === "greeting") acts.push({ say: "554 5.0.0 go away\r\n", next: "close" });
    if (point === "auth") acts.push({ say: "454 4.7.0 no directory\r\n" });
    for (const act of acts) {
      await t.test(`${point}: ${inspect(act)}`, async () => {
        faults[point] = act;
        await using client = await door.greetedInTls();
        await talk(client, [`AUTH PLAIN ${plain(USER, PASSWORD)}`, "454 4.7.0 "]);
        if (point !== "auth") {
          await using server = await door.fromServer();
          await talk(server, ["MAIL FROM:<>", "250 "], ["RCPT TO:<bob@example.net>", "451 4.4.1 "]);
        }
        delete faults[point];
        await talk(client, [`AUTH PLAIN ${plain(USER, PASSWORD)}`, "235 "]);
      });
    }
  }
  await t.test("silence ends in time", async () => {
    faults.greeting = "silence";
    await using client = await door.greetedInTls();
    await talk(client, [`AUTH PLAIN ${plain(USER, PASSWORD)}`, "454 4.7.0 "]);
    delete faults.greeting;
  });
  await t.test("the backend's own 535 is the client's", async () => {
    faults.auth = { say: "535 5.7.8 no\r\n" };
    await using client = await door.greetedInTls();
    await talk(client, [`AUTH PLAIN ${plain(USER, PASSWORD)}`, "535 5.7.8 "]);
  });
});

test("items 40, 41: a backend that dies in a transaction costs that message, and is never acknowledged for", async (t) => {
  await using place = await open();
  const { backend, door, faults } = place;
  for (const point of ["mail", "rcpt", "data", "body", "end"] as const) {
    for (const act of ENDS) {
      await t.test(`${point}: ${inspect(act)}`, async () => {
        await using client = await door.signedIn(USER, PASSWORD);
        backend.forget();
        faults[point] = act;
        assert.match(await send(client), /^(451 4\.4\.1|421 4\.4\.1) /);
        await talk(client, ["NOOP", "421 4.4.1 "]);
        await client.expectClosed();
        assert.deepEqual(backend.taken, []);
        delete faults[point];
      });
    }
  }
  await t.test("mid-body, of which only the beginning has come: the rest is read to its end", async () => {
    await using client = await door.signedIn(USER, PASSWORD);
    faults.body = "reset";
    await talk(client, ["MAIL FROM:<>", "250 "], ["RCPT TO:<bob@example.net>", "250 "], ["DATA", "354 "]);
    const line = `${"x".repeat(78)}\r\n`;
    for (let n = 0; n < 100; n++) await client.sendRaw(line.repeat(1_000));
    await client.sendRaw(".\r\n");
    await client.expect("451 4.4.1 ");
    await talk(client, ["QUIT", "221 "]);
    await client.expectClosed();
  });
});

test("item 43: what the backend says to the end of data is what the client hears, and the session goes on", async (t) => {
  const replies = [
    "452 4.3.1 disk full",
    "554 5.7.1 spam",
    "550-5.7.1 first\r\n550 5.7.1 second",
    "552 5.2.2 a\ttab",
    "250 2.0.0 queued as \xc3\xbc",
  ];
  await using place = await open();
  const { door, faults } = place;
  for (const words of replies) {
    await t.test(words, async () => {
      faults.end = { say: `${words}\r\n` };
      await using client = await door.signedIn(USER, PASSWORD);
      await talk(client, ["MAIL FROM:<>", "250 "], ["RCPT TO:<bob@example.net>", "250 "], ["DATA", "354 "]);
      await client.sendRaw(`${BODY}\r\n`);
      for (const line of words.split("\r\n")) assert.equal(await client.expect(/^\d{3}/), line);
      delete faults.end;
      assert.match(await send(client), /^250 2\.0\.0 taken/);
    });
  }
});

test("item 44: a backend that says 421 while nobody speaks ends the session at the next command", async () => {
  await using place = await open();
  const { backend, door } = place;
  for (const command of ["NOOP", "MAIL FROM:<>", "RSET", "BDAT 4 LAST\r\nabcd"]) {
    await using client = await door.signedIn(USER, PASSWORD);
    backend.say("421 4.4.2 idle too long\r\n");
    await eventually("the gateway to let go of the backend", () => backend.open === 0);
    await client.sendRaw(`${command}\r\n`);
    await client.expect("421 4.4.1 ");
    await client.expectClosed();
  }
});

test("a reply that nobody asked for is not handed to the next command", async () => {
  await using place = await open();
  const { backend, door } = place;
  await using client = await door.signedIn(USER, PASSWORD);
  backend.say("250 2.0.0 by the way\r\n");
  await eventually("the gateway to let go of the backend", () => backend.open === 0);
  await talk(client, ["MAIL FROM:<>", "421 4.4.1 "]);
  await client.expectClosed();
});

test("a 421 in a group of commands is the answer to its own, and the others hear of the loss", async () => {
  await using place = await open({
    acts: {
      rcpt: (line): Act | undefined =>
        line.includes("second") ? { say: "421 4.3.2 going down\r\n", next: "close" } : undefined,
    },
  });
  await using client = await place.door.signedIn(USER, PASSWORD);
  await client.sendRaw(
    "MAIL FROM:<>\r\nRCPT TO:<first@example.net>\r\nRCPT TO:<second@example.net>\r\nRCPT TO:<third@example.net>\r\nQUIT\r\n",
  );
  const replies = (await client.readToClose()).map((reply) => reply.slice(0, 3));
  assert.deepEqual(replies.slice(0, 3), ["250", "250", "421"]);
  assert.ok(
    replies.slice(3).every((code) => ["451", "421", "221"].includes(code)),
    replies.join(),
  );
});

test("item 46: replies that are none end in an outage, and nothing of them reaches the client", async (t) => {
  const evil: Readonly<Record<string, string>> = {
    "codes that change": "250-a\r\n550 b\r\n",
    "no last line": `${"250-more\r\n".repeat(200)}`,
    "10 MB in one line": `250 ${"x".repeat(10_000_000)}\r\n`,
    "10 MB of lines": `${"250-y\r\n".repeat(1_500_000)}250 z\r\n`,
    "a bare CR": "250 a\r550 injected\r\n",
    "a NUL": "250 a\0b\r\n",
    "an escape": "250 \x1b[31m\r\n",
    "a bare LF": "250 a\n999 injected\r\n",
  };
  await using place = await open();
  const { door, faults } = place;
  for (const [what, words] of Object.entries(evil)) {
    await t.test(`at the end of data: ${what}`, async () => {
      await using client = await door.signedIn(USER, PASSWORD);
      faults.end = { say: words };
      const heard = await send(client);
      assert.match(heard, what === "a bare LF" ? /^(451 4\.|250 a$)/ : /^451 4\.(3\.0|4\.1) [ -~]*$/);
      assert.match(await talk(client, ["NOOP", /^[245]\d\d /]), /^421 4\.4\.1 /);
      assert.ok(!client.transcript().includes("injected"));
      delete faults.end;
    });
    await t.test(`to EHLO: ${what}`, async () => {
      faults.ehlo = { say: words };
      await using client = await door.greetedInTls();
      await talk(client, [`AUTH PLAIN ${plain(USER, PASSWORD)}`, "454 4.7.0 "]);
      delete faults.ehlo;
    });
  }
  await t.test("a line of spaces in EHLO's reply is nothing", async () => {
    const odd = { say: "250-backend\r\n250-   \r\n250-PIPELINING\r\n250 AUTH PLAIN\r\n" };
    faults.ehlo = odd;
    await using client = await door.signedIn(USER, PASSWORD);
    assert.match(await send(client), /^250 2\.0\.0 taken/);
  });
});

test("item 48: a backend without the TLS that is asked of it gets no password", async (t) => {
  const authority = await certificateAuthority();
  const right = await authority.issue(["backend.example.net"]);
  const cases: Readonly<Record<string, ScriptedSmtpOptions>> = {
    "STARTTLS is not offered": {
      tls: "starttls",
      certificate: right,
      acts: { ehlo: { say: "250-x\r\n250 AUTH PLAIN\r\n" } },
    },
    "STARTTLS is refused": {
      tls: "starttls",
      certificate: right,
      acts: { starttls: { say: "454 4.7.0 no\r\n" } },
    },
    "bytes behind its 220": {
      tls: "starttls",
      certificate: right,
      acts: { starttls: { say: "220 go\r\n250 evil\r\n", next: "handshake" } },
    },
    "another name": { tls: "starttls", certificate: await authority.issue(["other.example.net"]) },
    "an old certificate": {
      tls: "implicit",
      certificate: await authority.issue(["backend.example.net"], { expired: true }),
    },
    "its own authority": {
      tls: "implicit",
      certificate: await authority.issue(["backend.example.net"], { selfSigned: true }),
    },
  };
  for (const [what, options] of Object.entries(cases)) {
    await t.test(what, async () => {
      await using backend = await startScriptedSmtp({ auth: true, ...options });
      await using door = await openSmtpDoor({
        authority,
        users: { [USER]: PASSWORD },
        backends: { backend },
      });
      await using client = await door.greetedInTls();
      await talk(client, [`AUTH PLAIN ${plain(USER, PASSWORD)}`, "454 4.7.0 "]);
      assert.ok(!backend.heard(PASSWORD), backend.transcript());
    });
  }
  for (const tls of ["starttls", "implicit"] as const) {
    await t.test(`and with it, by ${tls}, all goes well`, async () => {
      await using backend = await startScriptedSmtp({ auth: true, tls, certificate: right });
      await using door = await openSmtpDoor({
        authority,
        users: { [USER]: PASSWORD },
        backends: { backend },
      });
      await using client = await door.signedIn(USER, PASSWORD);
      assert.match(await send(client), /^250 2\.0\.0 taken/);
      assert.ok(backend.heard(PASSWORD));
    });
  }
});

test("item 49: a client that vanishes behind its message leaves the message to the backend", async () => {
  const held = Promise.withResolvers<Act | undefined>();
  await using place = await open({ acts: { end: () => held.promise } });
  const { backend, door } = place;
  await using client = await door.signedIn(USER, PASSWORD);
  await talk(client, ["MAIL FROM:<>", "250 "], ["RCPT TO:<bob@example.net>", "250 "], ["DATA", "354 "]);
  await client.send(BODY);
  await eventually("the whole message at the backend", () => backend.received().endsWith("\r\n.\r\n"));
  client.vanish();
  await door.gateway.metricIs("postern_sessions_open", 1);
  assert.equal(backend.open, 1);
  held.resolve(undefined);
  await door.gateway.account(({ reason }) => reason !== undefined);
  assert.equal(backend.taken.length, 1);
});

test("a client that vanishes in the middle of a message sends nothing", async () => {
  await using place = await open();
  const { backend, door } = place;
  await using client = await door.signedIn(USER, PASSWORD);
  await talk(client, ["MAIL FROM:<>", "250 "], ["RCPT TO:<bob@example.net>", "250 "], ["DATA", "354 "]);
  await client.sendRaw("Subject: half\r\n\r\nhello\r\n.");
  await eventually("the half message at the backend", () => backend.received().includes("hello"));
  client.vanish();
  await eventually("the gateway to let go of the backend", () => backend.open === 0);
  assert.deepEqual(backend.taken, []);
  assert.ok(!backend.received().includes("\r\n.\r\n"));
});

test("item 50: while the backend thinks about a message nobody is idle", async () => {
  const held = Promise.withResolvers<Act | undefined>();
  await using place = await open(
    { acts: { end: () => held.promise } },
    { timeouts: { smtpIdle: "500ms", drain: "20s" } },
  );
  const { door } = place;
  await using client = await door.signedIn(USER, PASSWORD);
  await talk(client, ["MAIL FROM:<>", "250 "], ["RCPT TO:<bob@example.net>", "250 "], ["DATA", "354 "]);
  await client.send(BODY);
  setTimeout(() => held.resolve(undefined), 2_000);
  await client.expect("250 2.0.0 taken");
  // And then the client is.
  await client.expect("421 4.4.2 ");
  await client.expectClosed();
});

test("item 50: a stop waits for the message that is on its way, and then says 421", async () => {
  const held = Promise.withResolvers<Act | undefined>();
  await using place = await open({ acts: { end: () => held.promise } }, { timeouts: { drain: "20s" } });
  const { backend, door } = place;
  await using waiting = await door.signedIn(USER, PASSWORD);
  await using writing = await door.signedIn(USER, PASSWORD);
  await using idle = await door.signedIn(USER, PASSWORD);
  for (const client of [waiting, writing])
    await talk(client, ["MAIL FROM:<>", "250 "], ["RCPT TO:<bob@example.net>", "250 "], ["DATA", "354 "]);
  await waiting.send(BODY);
  await writing.sendRaw("Subject: slow\r\n\r\nfirst");
  await eventually("the whole message at the backend", () => backend.received().includes("\r\n.\r\n"));
  door.gateway.signal("SIGTERM");
  await idle.expect("421 4.3.2 ");
  await idle.expectClosed();
  await writing.sendRaw("second\r\n");
  setTimeout(() => held.resolve(undefined), 1_500);
  await waiting.expect("250 2.0.0 taken");
  await waiting.expect("421 4.3.2 ");
  await writing.send(".");
  await writing.expect("250 2.0.0 taken");
  await writing.expect("421 4.3.2 ");
  assert.equal(backend.taken.length, 2);
});

test("the last words wait for the answers before them", async () => {
  const held = Promise.withResolvers<Act | undefined>();
  await using place = await open({ acts: { end: () => held.promise } });
  const { backend, door } = place;
  await using client = await door.signedIn(USER, PASSWORD);
  await talk(client, ["MAIL FROM:<>", "250 "], ["RCPT TO:<bob@example.net>", "250 "], ["DATA", "354 "]);
  await client.sendRaw(`${BODY}\r\n${"JUNK\r\n".repeat(15)}`);
  await eventually("the whole message at the backend", () => backend.received().endsWith("\r\n.\r\n"));
  held.resolve(undefined);
  await client.expect("250 2.0.0 taken");
  assert.match((await client.readToClose()).at(-1) ?? "", /^421 4\.7\.0 /);
});

test("idle clients are sent away, in every state", async () => {
  await using place = await open(undefined, { timeouts: { smtpIdle: "700ms", login: "3s" } });
  const { door } = place;
  const states: ((door: SmtpDoor) => Promise<Conversation>)[] = [
    (at) => at.greeted(),
    (at) => at.fromServer(),
    (at) => at.signedIn(USER, PASSWORD),
    async (at) => {
      const client = await at.signedIn(USER, PASSWORD);
      await talk(client, ["MAIL FROM:<>", "250 "], ["RCPT TO:<bob@example.net>", "250 "], ["DATA", "354 "]);
      await client.sendRaw("half a li");
      return client;
    },
    async (at) => {
      const client = await at.signedIn(USER, PASSWORD);
      await client.sendRaw("BDAT 1000000000\r\nfew");
      return client;
    },
    async (at) => {
      const client = await at.signedIn(USER, PASSWORD);
      await talk(client, ["MAIL FROM:<>", "250 "], ["RCPT TO:<bob@example.net>", "250 "]);
      await client.sendRaw("BDAT 1000\r\nfew");
      return client;
    },
  ];
  await Promise.all(
    states.map(async (begin) => {
      await using client = await begin(door);
      assert.match((await client.readToClose()).at(-1) ?? "", /^421 4\.4\.2 /);
    }),
  );
});
