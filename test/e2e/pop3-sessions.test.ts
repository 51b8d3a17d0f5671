import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { type Conversation, connect } from "../support/conversation.ts";
import { BACKEND_NAME } from "../support/door.ts";
import { startDovecot } from "../support/dovecot.ts";
import { message } from "../support/mail.ts";
import { openPop3Door, type Pop3Door, pop3Of } from "../support/pop3-door.ts";
import { freePort } from "../support/ports.ts";
import { type Pop3Act, startScriptedPop3 } from "../support/scripted-pop3.ts";
import { eventually } from "../support/waiting.ts";

const USER = "alice@example.org";
const PASSWORD = "open sesame";
const base64 = (text: string) => Buffer.from(text).toString("base64");
const PLAIN = base64(`\0${USER}\0${PASSWORD}`);

/** Ways to offer a name and a password; the reply is still to come. */
const WAYS: Record<string, (client: Conversation, user: string, password: string) => Promise<void>> = {
  async "USER and PASS"(client, user, password) {
    await client.send(`USER ${user}`);
    await client.expect("+OK ");
    await client.send(`PASS ${password}`);
  },
  async "AUTH PLAIN with its initial response"(client, user, password) {
    await client.send(`AUTH PLAIN ${base64(`\0${user}\0${password}`)}`);
  },
  async "AUTH PLAIN"(client, user, password) {
    await client.send("AUTH PLAIN");
    await client.expect("+ ");
    await client.send(base64(`\0${user}\0${password}`));
  },
  async "AUTH LOGIN"(client, user, password) {
    await client.send("auth login");
    await client.expect(`+ ${base64("Username:")}`);
    await client.send(base64(user));
    await client.expect(`+ ${base64("Password:")}`);
    await client.send(base64(password));
  },
  async "AUTH LOGIN with its initial response"(client, user, password) {
    await client.send(`AUTH LOGIN ${base64(user)}`);
    await client.expect("+ ");
    await client.send(base64(password));
  },
};

async function capabilities(client: Conversation): Promise<string[]> {
  await client.send("CAPA");
  await client.expect("+OK");
  return (await client.expectUntil(/^\.$/)).slice(0, -1);
}

async function leave(client: Conversation): Promise<void> {
  await client.send("QUIT");
  await client.expect("+OK");
  await client.expectClosed();
}

test("every way to sign in leads to the mailbox, and the wrong password reads alike everywhere", async (t) => {
  const authority = await certificateAuthority();
  const users = { [USER]: PASSWORD, "old@example.org": "old at home" };
  await using store = await startDovecot({
    pop3: true,
    tls: "starttls",
    certificate: await authority.issue([BACKEND_NAME]),
    users,
  });
  await store.deliver(USER, message("hello"));
  await using door = await openPop3Door({
    authority,
    backends: { store: pop3Of(store) },
    // The door's file and the backend disagree about the second one's password.
    users: {
      [USER]: PASSWORD,
      "old@example.org": "new here",
      "off@example.org": { password: "pw", disabled: true },
    },
  });
  const words = new Set<string>();
  for (const [way, offer] of Object.entries(WAYS)) {
    await t.test(way, async () => {
      await using client = await door.secured();
      for (const [user, password] of [
        [USER, "wrong"],
        ["nobody@example.org", PASSWORD],
        ["old@example.org", "new here"],
        ["off@example.org", "wrong"],
      ] as const) {
        await offer(client, user, password);
        words.add(await client.expect("-ERR [AUTH] "));
      }
      await offer(client, "off@example.org", "pw");
      assert.match(await client.expect("-ERR [AUTH] "), /may not/);
      await offer(client, USER, PASSWORD);
      await client.expect("+OK ");
      await client.send("STAT");
      await client.expect(/^\+OK 1 \d+$/);
      await leave(client);
    });
  }
  assert.equal(words.size, 1, [...words].join("\n"));
});

test("CAPA says what holds in the present state, and what all backends have", async (t) => {
  const authority = await certificateAuthority();
  await using first = await startScriptedPop3({
    tls: "none",
    capabilities: ["TOP", "UIDL", "USER", "SASL PLAIN CRAM-MD5", "EXPIRE 60", "LANG", "PIPELINING", "STLS"],
  });
  await using second = await startScriptedPop3({
    tls: "none",
    capabilities: [
      "top",
      "UIDL",
      "SASL PLAIN",
      "EXPIRE 60",
      "LOGIN-DELAY 900",
      "IMPLEMENTATION Other",
      "XCLIENT",
    ],
  });
  await using door = await openPop3Door({
    authority,
    backends: { first, second },
    users: { [USER]: PASSWORD },
  });
  const always = ["TOP", "UIDL", "EXPIRE 60", "RESP-CODES", "AUTH-RESP-CODE", "IMPLEMENTATION Postern"];
  await t.test("in clear text: STLS, and no way to tell a password", async () => {
    await using client = await door.greeted();
    assert.deepEqual(new Set(await capabilities(client)), new Set([...always, "STLS"]));
    await client.send("AUTH");
    await client.expect("+OK");
    await client.expect(/^\.$/);
  });
  await t.test("in TLS: the mechanisms, and no STLS", async () => {
    for (const enter of ["secured", "greetedInTls"] as const) {
      await using client = await door[enter]();
      assert.deepEqual(new Set(await capabilities(client)), new Set([...always, "USER", "SASL PLAIN LOGIN"]));
      await client.send("AUTH");
      assert.deepEqual(await client.expectUntil(/^\.$/), ["+OK Mechanisms follow", "PLAIN", "LOGIN", "."]);
    }
  });
  await t.test("after login: the backend's own words", async () => {
    await using client = await door.signedIn(USER, PASSWORD);
    assert.ok((await capabilities(client)).includes("SASL PLAIN CRAM-MD5"));
  });
});

test("a password before TLS is refused before any challenge, and not looked at", async (t) => {
  const authority = await certificateAuthority();
  await using backend = await startScriptedPop3({ tls: "none" });
  await using door = await openPop3Door({ authority, backends: { backend }, users: { [USER]: PASSWORD } });
  for (const line of [
    `USER ${USER}`,
    `PASS ${PASSWORD}`,
    "AUTH PLAIN",
    `AUTH PLAIN ${PLAIN}`,
    "AUTH LOGIN",
    `APOP ${USER} ${"0".repeat(32)}`,
  ]) {
    await t.test(line.slice(0, 12), async () => {
      await using client = await door.greeted();
      await client.send(line);
      assert.match(await client.expect("-ERR "), /TLS/);
      await leave(client);
    });
  }
  assert.equal(backend.heard(PASSWORD), false);
  assert.equal(backend.heard(USER), false);

  await t.test("where it is allowed, it is", async () => {
    await using open = await openPop3Door({
      authority,
      backends: { backend },
      users: { [USER]: PASSWORD },
      listenerKeys: { requireTls: false },
    });
    await using client = await open.greeted();
    await client.sendRaw(`USER ${USER}\r\nPASS ${PASSWORD}\r\n`);
    await client.expect("+OK ");
    await client.expect("+OK ");
  });
});

test("an outage is no wrong password", async (t) => {
  const authority = await certificateAuthority();
  const certificate = await authority.issue([BACKEND_NAME]);
  await t.test("a real server that is killed and comes back", async () => {
    await using store = await startDovecot({
      pop3: true,
      tls: "starttls",
      certificate,
      users: { [USER]: PASSWORD },
    });
    await using door = await openPop3Door({
      authority,
      backends: { store: pop3Of(store) },
      users: { [USER]: PASSWORD },
    });
    await store.kill();
    await using client = await door.greetedInTls();
    for (const offer of Object.values(WAYS)) {
      await offer(client, USER, PASSWORD);
      await client.expect("-ERR [SYS/TEMP] ");
    }
    await client.send(`AUTH PLAIN ${base64(`\0${USER}\0wrong`)}`);
    await client.expect("-ERR [AUTH] ");
    await store.restart();
    await client.send(`AUTH PLAIN ${PLAIN}`);
    await client.expect("+OK ");
    await leave(client);
  });

  await t.test("nobody at the port", async () => {
    const dead = { host: "127.0.0.1", port: await freePort(), tls: "none" } as const;
    await using door = await openPop3Door({ authority, backends: { dead }, users: { [USER]: PASSWORD } });
    await using client = await door.greetedInTls();
    await client.send(`AUTH PLAIN ${PLAIN}`);
    await client.expect("-ERR [SYS/TEMP] ");
    const account = await (async () => {
      await leave(client);
      return door.gateway.account((record) => record.user === USER);
    })();
    assert.equal(account.outcome, "unavailable");
    assert.equal(account.protocol, "pop3");
  });

  const say = (bytes: string): Pop3Act => ({ say: bytes });
  const scripts: {
    what: string;
    acts: Record<string, Pop3Act>;
    reply: string;
    tls?: "starttls";
    capabilities?: string[];
  }[] = [
    { what: "greets with -ERR", acts: { greeting: say("-ERR busy\r\n") }, reply: "-ERR [SYS/TEMP] " },
    {
      what: "greets in another protocol",
      acts: { greeting: say("* OK ready\r\n") },
      reply: "-ERR [SYS/TEMP] ",
    },
    {
      what: "greets without end",
      acts: { greeting: say(`+OK ${"x".repeat(65_536)}`) },
      reply: "-ERR [SYS/TEMP] ",
    },
    { what: "greets twice", acts: { greeting: say("+OK one\r\n+OK two\r\n") }, reply: "-ERR [SYS/TEMP] " },
    { what: "greets with nothing", acts: { greeting: "silence" }, reply: "-ERR [SYS/TEMP] " },
    { what: "closes at once", acts: { greeting: "close" }, reply: "-ERR [SYS/TEMP] " },
    {
      what: "lists capabilities without end",
      acts: { CAPA: say(`+OK\r\n${"TOP\r\n".repeat(1000)}`) },
      reply: "-ERR [SYS/TEMP] ",
    },
    { what: "closes at the login", acts: { AUTH: "close" }, reply: "-ERR [SYS/TEMP] " },
    { what: "resets at the login", acts: { AUTH: "reset" }, reply: "-ERR [SYS/TEMP] " },
    {
      what: "closes in the middle of its answer",
      acts: { AUTH: { say: "+O", next: "close" } },
      reply: "-ERR [SYS/TEMP] ",
    },
    {
      what: "answers the login twice",
      acts: { AUTH: say("+OK in\r\n+OK in\r\n") },
      reply: "-ERR [SYS/TEMP] ",
    },
    {
      what: "asks on and on",
      acts: { AUTH: say("+ \r\n"), otherwise: say("+ \r\n") },
      reply: "-ERR [SYS/TEMP] ",
    },
    { what: "says [SYS/TEMP]", acts: { AUTH: say("-ERR [SYS/TEMP] later\r\n") }, reply: "-ERR [SYS/TEMP] " },
    { what: "says [SYS/PERM]", acts: { AUTH: say("-ERR [SYS/PERM] never\r\n") }, reply: "-ERR [SYS/TEMP] " },
    { what: "says [IN-USE]", acts: { AUTH: say("-ERR [in-use] locked\r\n") }, reply: "-ERR [IN-USE] " },
    {
      what: "says [LOGIN-DELAY]",
      acts: { AUTH: say("-ERR [LOGIN-DELAY] wait\r\n") },
      reply: "-ERR [LOGIN-DELAY] ",
    },
    { what: "says [AUTH]", acts: { AUTH: say("-ERR [AUTH] no\r\n") }, reply: "-ERR [AUTH] " },
    { what: "says -ERR and nothing else", acts: { AUTH: say("-ERR\r\n") }, reply: "-ERR [AUTH] " },
    { what: "has no STLS", tls: "starttls", acts: { STLS: say("-ERR what\r\n") }, reply: "-ERR [SYS/TEMP] " },
    {
      what: "says more behind its STLS reply",
      tls: "starttls",
      acts: { STLS: { say: "+OK\r\n+OK injected\r\n", next: "handshake" } },
      reply: "-ERR [SYS/TEMP] ",
    },
    {
      what: "offers no way to sign in",
      capabilities: ["TOP", "SASL CRAM-MD5"],
      acts: {},
      reply: "-ERR [SYS/TEMP] ",
    },
    {
      what: "offers nothing but USER, and refuses it",
      capabilities: ["USER"],
      acts: { USER: say("-ERR who\r\n") },
      reply: "-ERR [AUTH] ",
    },
    {
      what: "refuses PASS",
      capabilities: ["USER"],
      acts: { PASS: say("-ERR no\r\n") },
      reply: "-ERR [AUTH] ",
    },
  ];
  await using held = new AsyncDisposableStack();
  const backends: Record<string, Awaited<ReturnType<typeof startScriptedPop3>>> = {};
  for (const [n, { acts, tls = "none", capabilities: offered }] of scripts.entries()) {
    backends[`b${n}`] = held.use(
      await startScriptedPop3({ tls, certificate, acts, ...(offered && { capabilities: offered }) }),
    );
  }
  await using door = await openPop3Door({
    authority,
    backends,
    users: Object.fromEntries(
      scripts.map((_, n) => [`u${n}@example.org`, { password: PASSWORD, backend: `b${n}` }]),
    ),
    config: { timeouts: { connect: "1s" } },
  });
  for (const [n, { what, reply }] of scripts.entries()) {
    await t.test(`a backend that ${what}: ${reply}`, async () => {
      await using client = await door.greetedInTls();
      await client.send(`AUTH PLAIN ${base64(`\0u${n}@example.org\0${PASSWORD}`)}`);
      await client.expect(reply);
      await leave(client);
      await eventually("the backend to be left alone", () => backends[`b${n}`]?.open === 0);
    });
  }
  await t.test("no password went where TLS did not begin", () => {
    for (const [n, { tls }] of scripts.entries())
      if (tls) assert.equal(backends[`b${n}`]?.heard(PASSWORD), false);
  });
});

test("what a backend is told fits what it can take", async (t) => {
  const authority = await certificateAuthority();
  await using bare = await startScriptedPop3({ tls: "none", acts: { CAPA: { say: "-ERR what\r\n" } } });
  await using modern = await startScriptedPop3({ tls: "none" });
  await using old = await startScriptedPop3({
    tls: "none",
    acts: { AUTH: { say: "+ \r\n" }, otherwise: { say: "+OK\r\n" } },
  });
  const long = "x".repeat(220);
  const master = { login: { master: { user: "gate", password: "master's", separator: "*" } } };
  const authzid = { login: { master: { user: "gate", password: "master's" } } };
  await using door = await openPop3Door({
    authority,
    backends: { modern, bare, old, byMaster: modern, byAuthzid: modern, bareAuthzid: bare },
    backendKeys: { byMaster: master, byAuthzid: authzid, bareAuthzid: authzid },
    users: {
      [USER]: PASSWORD,
      "bare@example.org": { password: PASSWORD, backend: "bare" },
      "long@example.org": long,
      "longbare@example.org": { password: `${long}${long}`, backend: "bare" },
      "old@example.org": { password: PASSWORD, backend: "old", login: USER },
      "m@example.org": { password: PASSWORD, backend: "byMaster" },
      "z@example.org": { password: PASSWORD, backend: "byAuthzid" },
      "b@example.org": { password: PASSWORD, backend: "bareAuthzid" },
    },
  });
  const signIn = async (user: string, password: string, expected: string) => {
    await using client = await door.greetedInTls();
    await client.send("AUTH PLAIN");
    await client.expect("+ ");
    await client.send(base64(`\0${user}\0${password}`));
    await client.expect(expected);
  };
  const said = (backend: typeof modern) =>
    backend.lines().filter((line) => line !== "CAPA" && line !== "QUIT");
  const cases = [
    { what: "AUTH PLAIN in one line", user: USER, backend: modern, lines: [`AUTH PLAIN ${PLAIN}`] },
    {
      what: "AUTH PLAIN in two where one would be too long",
      user: "long@example.org",
      password: long,
      backend: modern,
      lines: ["AUTH PLAIN", base64(`\0long@example.org\0${long}`)],
    },
    {
      what: "AUTH PLAIN in two where the first is passed over",
      user: "old@example.org",
      backend: old,
      lines: [`AUTH PLAIN ${PLAIN}`, PLAIN],
    },
    {
      what: "USER and PASS where there is no CAPA",
      user: "bare@example.org",
      backend: bare,
      lines: ["USER bare@example.org", `PASS ${PASSWORD}`],
    },
    {
      what: "a master's password, by a separator",
      user: "m@example.org",
      backend: modern,
      lines: [`AUTH PLAIN ${base64("\0m@example.org*gate\0master's")}`],
    },
    {
      what: "a master's password, by an authzid",
      user: "z@example.org",
      backend: modern,
      lines: [`AUTH PLAIN ${base64("z@example.org\0gate\0master's")}`],
    },
  ];
  for (const { what, user, password = PASSWORD, backend, lines } of cases) {
    await t.test(what, async () => {
      backend.forget();
      await signIn(user, password, "+OK ");
      assert.deepEqual(said(backend), lines);
    });
  }
  await t.test("an authzid and a password that USER and PASS cannot hold are not tried", async () => {
    bare.forget();
    await signIn("b@example.org", PASSWORD, "-ERR [SYS/TEMP] ");
    await signIn("longbare@example.org", `${long}${long}`, "-ERR [SYS/TEMP] ");
    assert.deepEqual(said(bare), []);
  });
});

test("a master's refused password is an outage, not the client's mistake", async () => {
  const authority = await certificateAuthority();
  await using backend = await startScriptedPop3({
    tls: "none",
    acts: { AUTH: { say: "-ERR [AUTH] no\r\n" } },
  });
  await using door = await openPop3Door({
    authority,
    backends: { backend },
    backendKeys: { backend: { login: { master: { user: "gate", password: "m", separator: "*" } } } },
    users: { [USER]: PASSWORD },
  });
  await using client = await door.greetedInTls();
  await client.send(`AUTH PLAIN ${PLAIN}`);
  await client.expect("-ERR [SYS/TEMP] ");
});

/** RFC 1939 7. */
const digest = (stamp: string, password: string) =>
  createHash("md5").update(`${stamp}${password}`).digest("hex");

async function stampOf(door: Pop3Door): Promise<{ client: Conversation; stamp: string | undefined }> {
  const client = await connect({ port: door.ports.implicit, tls: door.trust });
  return { client, stamp: /<[^<> ]+>$/.exec(await client.expect("+OK "))?.[0] };
}

test("APOP reaches a backend that wants the password, and one that wants a master's", async (t) => {
  const authority = await certificateAuthority();
  await using store = await startDovecot({
    pop3: true,
    tls: "starttls",
    certificate: await authority.issue([BACKEND_NAME]),
    users: { [USER]: PASSWORD, "bob@example.org": "not what he says" },
    master: { user: "gate", password: "master's" },
  });
  await using door = await openPop3Door({
    authority,
    backends: { store: pop3Of(store), byMaster: pop3Of(store) },
    backendKeys: { byMaster: { login: { master: { user: "gate", password: "master's", separator: "*" } } } },
    users: { [USER]: PASSWORD, "bob@example.org": { password: "bob's", backend: "byMaster" } },
  });
  for (const [user, password] of [
    [USER, PASSWORD],
    ["bob@example.org", "bob's"],
  ] as const) {
    await t.test(user, async () => {
      const { client, stamp = "" } = await stampOf(door);
      await using _closing = client;
      await client.send(`APOP ${user} ${digest(stamp, password)}`);
      await client.expect("+OK ");
      await client.send("STAT");
      await client.expect("+OK 0 0");
      await leave(client);
    });
  }
  await t.test("after STLS too, over the stamp that the greeting in clear text had", async () => {
    await using client = await connect({ port: door.ports.starttls });
    const stamp = /<[^<> ]+>$/.exec(await client.expect("+OK "))?.[0] ?? "";
    await client.send("STLS");
    await client.expect("+OK ");
    await client.startTls(door.trust);
    await client.send(`APOP ${USER} ${digest(stamp, PASSWORD)}`);
    await client.expect("+OK ");
  });
  await t.test("neither password nor digest is in the log", () => {
    assert.ok(!door.gateway.output().includes(PASSWORD));
    assert.doesNotMatch(door.gateway.output(), /[0-9a-f]{32}/);
  });
});

test("limits have their response codes", async (t) => {
  const authority = await certificateAuthority();
  await using backend = await startScriptedPop3({ tls: "none" });
  const at = async (limits: object[]) =>
    openPop3Door({
      authority,
      backends: { backend },
      users: { [USER]: PASSWORD },
      config: { policy: { exempt: [], limits } },
    });
  await t.test("sessions at once: [IN-USE], until one has left", async () => {
    await using door = await at([{ name: "open", count: "sessions", per: "user", limit: 1 }]);
    await using first = await door.signedIn(USER, PASSWORD);
    await using second = await door.greetedInTls();
    await second.send(`AUTH PLAIN ${PLAIN}`);
    await second.expect("-ERR [IN-USE] ");
    await leave(first);
    await door.gateway.metricIs("postern_leases", 0);
    await second.send(`AUTH PLAIN ${PLAIN}`);
    await second.expect("+OK ");
  });
  await t.test("tries in a time: [LOGIN-DELAY]", async () => {
    await using door = await at([{ name: "guesses", count: "authFailures", per: "ip", limit: "2/10m" }]);
    await using client = await door.greetedInTls();
    for (const [tries, reply] of ["-ERR [AUTH] ", "-ERR [AUTH] ", "-ERR [LOGIN-DELAY] "].entries()) {
      await client.send(`AUTH PLAIN ${base64(`\0${USER}\0wrong${tries}`)}`);
      await client.expect(reply);
    }
  });
  await t.test("a ban: [LOGIN-DELAY] and the end, and the same instead of a greeting", async () => {
    await using door = await at([
      { name: "guesses", count: "authFailures", per: "ip", limit: "1/10m", then: { ban: "1h" } },
    ]);
    await using client = await door.greeted();
    await client.send("STLS");
    await client.expect("+OK ");
    await client.startTls(door.trust);
    await client.send(`AUTH PLAIN ${base64(`\0${USER}\0wrong`)}`);
    await client.expect("-ERR [AUTH] ");
    await client.send(`AUTH PLAIN ${PLAIN}`);
    await client.expect("-ERR [LOGIN-DELAY] ");
    await client.expectClosed();

    await using banned = await connect({ port: door.ports.starttls });
    await banned.expect("-ERR [LOGIN-DELAY] ");
    await banned.expectClosed();
  });
});

test("a user without a route hears [SYS/PERM]: another password would not help", async () => {
  const authority = await certificateAuthority();
  await using backend = await startScriptedPop3({ tls: "none" });
  await using door = await openPop3Door({
    authority,
    backends: { backend },
    users: { [USER]: PASSWORD },
    config: { routes: [{ match: { domain: "example.com" }, to: "backend" }] },
  });
  await using client = await door.greetedInTls();
  await client.send(`AUTH PLAIN ${PLAIN}`);
  await client.expect("-ERR [SYS/PERM] ");
});

test("stopping closes sessions without a word, and deletes nothing", async () => {
  const authority = await certificateAuthority();
  await using store = await startDovecot({ pop3: true, tls: "none", users: { [USER]: PASSWORD } });
  await store.deliver(USER, message("stays"));
  await using door = await openPop3Door({
    authority,
    backends: { store: pop3Of(store) },
    users: { [USER]: PASSWORD },
  });
  await using waiting = await door.greeted();
  await using inside = await door.signedIn(USER, PASSWORD);
  await inside.send("DELE 1");
  await inside.expect("+OK");
  door.gateway.signal("SIGTERM");
  await waiting.expectClosed();
  await inside.expectClosed();
  await eventually("the backend's session to end", async () => (await store.sessions()).length === 0);
  assert.equal((await store.messages(USER)).length, 1);
});
