import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { imap } from "../../src/protocols/imap/index.ts";
import { type Refusal, Refused } from "../../src/refusal.ts";
import type { SignIn } from "../../src/session/protocol.ts";
import type { UpstreamConnection } from "../../src/upstream/connection.ts";
import { type Endpoint, endpointConnector } from "../../src/upstream/connector.ts";
import { signInAs } from "../../src/upstream/sign-in.ts";
import { type Certificate, certificateAuthority } from "../support/certificates.ts";
import { temporaryFolder } from "../support/temp.ts";
import { backendByHand, type Visit } from "./backend-by-hand.ts";

const OWN: SignIn = { authcid: "alice", password: "secret", own: true };
const MASTER: SignIn = { authcid: "master", authzid: "alice", password: "key", own: false };
const LOGIN = { tag: "a", credential: { mechanism: "LOGIN", authcid: "alice", password: "secret" } } as const;
const base64 = (text: string): string => Buffer.from(text, "utf8").toString("base64");

interface Called {
  readonly visit: Visit;
  /** What came of opening it: what it offers, or why not. */
  readonly opened: Promise<readonly string[]>;
  readonly upstream: UpstreamConnection;
  readonly left: AbortController;
}

/** A connection to a backend that the test plays, being opened as the story does it. */
async function call(t: TestContext, endpoint: Partial<Endpoint> = {}, timeoutMs = 2_000): Promise<Called> {
  const backend = await backendByHand(t);
  const connect = endpointConnector(
    {
      backend: "north",
      protocol: "imap",
      host: "localhost",
      ourName: "door.example.org",
      port: backend.port,
      tls: "none",
      trust: {},
      ...endpoint,
    },
    timeoutMs,
    () => {},
  );
  const left = new AbortController();
  const upstream = await connect({ signal: left.signal, conversationMs: timeoutMs });
  t.after(() => upstream[Symbol.asyncDispose]());
  const opened = upstream
    .open(() => imap.openUpstream(upstream))
    .then((offers) => {
      upstream.learned(offers);
      return offers;
    });
  opened.catch(() => {});
  return { visit: await backend.visit(), opened, upstream, left };
}

/** The same, opened, with these capabilities; the password is the next thing said. */
async function signing(
  t: TestContext,
  capabilities: string,
  signIn: SignIn = OWN,
): Promise<{ visit: Visit; signedIn: Promise<readonly string[] | undefined> }> {
  const { visit, opened, upstream } = await call(t);
  visit.say(`* OK [CAPABILITY ${capabilities}] ready\r\n`);
  await opened;
  const signedIn = upstream.converse(() => imap.loginUpstream(upstream, signIn, LOGIN));
  signedIn.catch(() => {});
  return { visit, signedIn };
}

const refusedAs = (kind: Refusal["kind"]) => (error: unknown) => {
  assert.ok(error instanceof Refused, String(error));
  assert.equal(error.refusal.kind, kind, error.message);
  assert.doesNotMatch(error.refusal.detail, /[\r\n]/);
  return true;
};
const unavailable = refusedAs("unavailable");

test("a greeting with its capabilities needs no question", async (t) => {
  const { visit, opened } = await call(t);
  visit.say("* OK [CAPABILITY IMAP4rev1 IDLE] ready\r\n");
  assert.deepEqual(await opened, ["IMAP4rev1", "IDLE"]);
});

test("a greeting without them is asked", async (t) => {
  const { visit, opened } = await call(t);
  visit.say("* OK ready\r\n");
  const [, tag] = /^(\S+) CAPABILITY$/.exec(await visit.hear(/ CAPABILITY$/)) ?? [];
  visit.say(`* CAPABILITY IMAP4rev1 IDLE\r\n${tag} OK done\r\n`);
  assert.deepEqual(await opened, ["IMAP4rev1", "IDLE"]);
});

for (const [what, greeting] of Object.entries({
  BYE: "* BYE too busy\r\n",
  PREAUTH: "* PREAUTH [CAPABILITY IMAP4rev1] welcome\r\n",
  NO: "* NO not here\r\n",
  "an answer to nothing": "A OK ready\r\n",
  "a continuation": "+ go\r\n",
  "another protocol": "220 smtp.example.org ESMTP\r\n",
  garbage: "\x16\x03\x01\x02\0\x01\0\r\n",
  "an empty line": "\r\n",
  "64 KB without a line's end": "x".repeat(65_536),
  "64 KB of lines": `* OK${" x".repeat(100)}\r\n`.repeat(400).replace(/^\* OK/, "* XX"),
})) {
  test(`a backend that greets with ${what} is unavailable`, async (t) => {
    const { visit, opened } = await call(t);
    visit.say(greeting);
    await assert.rejects(opened, unavailable);
  });
}

test("a backend that says nothing is unavailable in time", async (t) => {
  const { opened } = await call(t, {}, 150);
  await assert.rejects(opened, unavailable);
});

test("a drip does not stretch that time", async (t) => {
  const { visit, opened } = await call(t, {}, 200);
  const timer = setInterval(() => visit.say("x"), 20);
  t.after(() => clearInterval(timer));
  await assert.rejects(opened, unavailable);
});

for (const leave of ["end", "reset"] as const) {
  test(`a backend that leaves (${leave}) instead of greeting is unavailable`, async (t) => {
    const { visit, opened } = await call(t);
    visit[leave]();
    await assert.rejects(opened, unavailable);
  });
}

test("nobody listening is unavailable, and no fault", async () => {
  const connect = endpointConnector(
    {
      backend: "north",
      protocol: "imap",
      host: "127.0.0.1",
      ourName: "door.example.org",
      port: 1,
      tls: "none",
      trust: {},
    },
    500,
    () => {},
  );
  await assert.rejects(connect({ signal: new AbortController().signal, conversationMs: 500 }), unavailable);
});

test("a client that leaves cuts the connection that was made for it", async (t) => {
  const { visit, opened, left } = await call(t);
  left.abort();
  await assert.rejects(opened, (error) => (error as Error).name === "ChannelClosed");
  await visit.hearsEnd();
});

// STARTTLS.

async function tlsBackend(
  t: TestContext,
): Promise<{ trust: { ca: string }; certificate: Certificate; other: Certificate }> {
  const authority = await certificateAuthority();
  const folder = await temporaryFolder();
  t.after(() => folder.remove());
  const ca = await folder.write("ca.pem", authority.ca);
  return {
    trust: { ca },
    certificate: await authority.issue(["localhost"]),
    other: await authority.issue(["elsewhere.example.org"]),
  };
}

test("STARTTLS, and what was offered before it is asked again", async (t) => {
  const { trust, certificate } = await tlsBackend(t);
  const { visit, opened, upstream } = await call(t, { tls: "starttls", trust });
  visit.say("* OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN SASL-IR X-TRAP] ready\r\n");
  const [, tag] = /^(\S+) STARTTLS$/.exec(await visit.hear(/ STARTTLS$/)) ?? [];
  visit.say(`${tag} OK begin\r\n`);
  await visit.startTls(certificate);
  const [, second] = /^(\S+) CAPABILITY$/.exec(await visit.hear(/ CAPABILITY$/)) ?? [];
  visit.say(`* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n${second} OK\r\n`);
  assert.deepEqual(await opened, ["IMAP4rev1", "AUTH=PLAIN"]);
  assert.equal(upstream.channel.tls?.version, "TLSv1.3");
});

for (const [what, script] of Object.entries({
  "that does not offer STARTTLS": async (visit: Visit) => {
    visit.say("* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] ready\r\n");
  },
  "that refuses STARTTLS": async (visit: Visit) => {
    visit.say("* OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN] ready\r\n");
    await visit.hear("S STARTTLS");
    visit.say("S NO not now\r\n");
  },
  "that calls STARTTLS a bad command": async (visit: Visit) => {
    visit.say("* OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN] ready\r\n");
    await visit.hear("S STARTTLS");
    visit.say("S BAD what?\r\n");
  },
  "that answers STARTTLS with a continuation": async (visit: Visit) => {
    visit.say("* OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN] ready\r\n");
    await visit.hear("S STARTTLS");
    visit.say("+ go\r\n");
  },
  "that says more in clear behind its OK": async (visit: Visit) => {
    visit.say("* OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN] ready\r\n");
    await visit.hear("S STARTTLS");
    visit.say("S OK begin\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\nC OK done\r\n");
  },
  "that leaves in its handshake": async (visit: Visit) => {
    visit.say("* OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN] ready\r\n");
    await visit.hear("S STARTTLS");
    visit.say("S OK begin\r\n");
    visit.end();
  },
})) {
  test(`a backend ${what} is unavailable, and hears no password`, async (t) => {
    const { visit, opened } = await call(t, { tls: "starttls", trust: {} }, 1_000);
    await script(visit);
    await assert.rejects(opened, unavailable);
    assert.doesNotMatch(visit.everything, /LOGIN|AUTHENTICATE/);
  });
}

for (const tls of ["starttls", "implicit"] as const) {
  test(`a certificate of another name ends ${tls} before the password`, async (t) => {
    const { trust, other } = await tlsBackend(t);
    const backend = await backendByHand(t);
    const connect = endpointConnector(
      {
        backend: "north",
        protocol: "imap",
        host: "localhost",
        ourName: "door.example.org",
        port: backend.port,
        tls,
        trust,
      },
      1_000,
      () => {},
    );
    const opened = (async () => {
      await using upstream = await connect({ signal: new AbortController().signal, conversationMs: 1_000 });
      await upstream.open(() => imap.openUpstream(upstream));
    })();
    opened.catch(() => {});
    const visit = await backend.visit();
    if (tls === "starttls") {
      visit.say("* OK [CAPABILITY IMAP4rev1 STARTTLS] ready\r\n");
      await visit.hear("S STARTTLS");
      visit.say("S OK\r\n");
    }
    await visit.startTls(other);
    await assert.rejects(opened, unavailable);
  });
}

// Signing in.

test("AUTHENTICATE PLAIN with its initial response where SASL-IR is offered", async (t) => {
  const { visit, signedIn } = await signing(t, "IMAP4rev1 SASL-IR AUTH=PLAIN");
  await visit.hear(`A AUTHENTICATE PLAIN ${base64("\0alice\0secret")}`);
  visit.say("A OK [CAPABILITY IMAP4rev1 MOVE] in\r\n");
  assert.deepEqual(await signedIn, ["IMAP4rev1", "MOVE"]);
});

for (const plus of ["+ ", "+", "+ go on", "+idling"]) {
  test(`without SASL-IR the response waits for ${JSON.stringify(plus)}`, async (t) => {
    const { visit, signedIn } = await signing(t, "IMAP4rev1 AUTH=PLAIN");
    await visit.hear("A AUTHENTICATE PLAIN");
    assert.doesNotMatch(visit.everything, new RegExp(base64("\0alice\0secret")));
    visit.say(`${plus}\r\n`);
    await visit.hear(base64("\0alice\0secret"));
    visit.say("A OK [CAPABILITY IMAP4rev1] in\r\n");
    assert.deepEqual(await signedIn, ["IMAP4rev1"]);
  });
}

test("LOGIN with quoted strings where there is no AUTH=PLAIN", async (t) => {
  const { visit, signedIn } = await signing(t, "IMAP4rev1", {
    authcid: 'al"ice',
    password: "se\\cret {5}",
    own: true,
  });
  await visit.hear('A LOGIN "al\\"ice" "se\\\\cret {5}"');
  visit.say("A OK [CAPABILITY IMAP4rev1] in\r\n");
  await signedIn;
});

const UTF8: SignIn = { authcid: "jürgen", password: "straße", own: true };

test("LOGIN with literals that wait, for what cannot be quoted", async (t) => {
  const { visit, signedIn } = await signing(t, "IMAP4rev1", UTF8);
  await visit.hear("A LOGIN {7}");
  visit.say("+ go\r\n");
  assert.equal(Buffer.from(await visit.hearBytes(7), "latin1").toString(), "jürgen");
  await visit.hear(" {7}");
  visit.say("+ go\r\n");
  assert.equal(Buffer.from(await visit.hearBytes(7), "latin1").toString(), "straße");
  await visit.hear("");
  visit.say("A OK [CAPABILITY IMAP4rev1] in\r\n");
  await signedIn;
});

test("a quoted name and a literal password", async (t) => {
  const { visit, signedIn } = await signing(t, "IMAP4rev1", { ...UTF8, authcid: "alice" });
  await visit.hear('A LOGIN "alice" {7}');
  visit.say("+ go\r\n");
  assert.equal(Buffer.from(await visit.hearBytes(7), "latin1").toString(), "straße");
  await visit.hear("");
  visit.say("A OK [CAPABILITY IMAP4rev1] in\r\n");
  await signedIn;
});

for (const extension of ["LITERAL+", "LITERAL-", "literal+"]) {
  test(`LOGIN with literals that do not wait where ${extension} is offered`, async (t) => {
    const { visit, signedIn } = await signing(t, `IMAP4rev1 ${extension}`, UTF8);
    await visit.hear("A LOGIN {7+}");
    assert.equal(Buffer.from(await visit.hear(/ \{7\+\}$/), "latin1").toString(), "jürgen {7+}");
    assert.equal(Buffer.from(await visit.hear(/./), "latin1").toString(), "straße");
    visit.say("A OK [CAPABILITY IMAP4rev1] in\r\n");
    await signedIn;
  });
}

test("a literal that is refused is not sent", async (t) => {
  const { visit, signedIn } = await signing(t, "IMAP4rev1", UTF8);
  await visit.hear("A LOGIN {7}");
  visit.say("A NO [UNAVAILABLE] not now\r\n");
  await assert.rejects(signedIn, unavailable);
  assert.doesNotMatch(visit.everything, /stra/);
});

test("a backend with no way to sign in is unavailable, and hears no password", async (t) => {
  const { visit, signedIn } = await signing(t, "IMAP4rev1 LOGINDISABLED");
  await assert.rejects(signedIn, unavailable);
  assert.doesNotMatch(visit.everything, /LOGIN/);
});

test("a master user signs in for the user by authzid", async (t) => {
  const { visit, signedIn } = await signing(t, "IMAP4rev1 SASL-IR AUTH=PLAIN", MASTER);
  await visit.hear(`A AUTHENTICATE PLAIN ${base64("alice\0master\0key")}`);
  visit.say("A OK [CAPABILITY IMAP4rev1] in\r\n");
  await signedIn;
});

test("a master user without a separator does not sign in as itself where only LOGIN is offered", async (t) => {
  const { visit, signedIn } = await signing(t, "IMAP4rev1", MASTER);
  await assert.rejects(signedIn, unavailable);
  assert.doesNotMatch(visit.everything, /key/);
});

test("the three ways to sign in", () => {
  const credential = { mechanism: "PLAIN", authcid: "Alice", password: "secret" };
  assert.deepEqual(signInAs("passthrough", "alice", credential), OWN);
  assert.deepEqual(signInAs({ master: { user: "master", password: "key" } }, "alice", credential), MASTER);
  assert.deepEqual(
    signInAs({ master: { user: "master", password: "key", separator: "*" } }, "alice", credential),
    {
      authcid: "alice*master",
      password: "key",
      own: false,
    },
  );
});

for (const [what, before, code, wanted] of [
  ["in the code of its OK", "", "[CAPABILITY IMAP4rev1 MOVE] ", ["IMAP4rev1", "MOVE"]],
  ["untagged before its OK", "* CAPABILITY IMAP4rev1 MOVE\r\n", "", ["IMAP4rev1", "MOVE"]],
  [
    "both, and the last counts",
    "* CAPABILITY IMAP4rev1\r\n",
    "[CAPABILITY IMAP4rev1 MOVE] ",
    ["IMAP4rev1", "MOVE"],
  ],
] as const) {
  test(`capabilities after login: ${what}`, async (t) => {
    const { visit, signedIn } = await signing(t, "IMAP4rev1 SASL-IR AUTH=PLAIN");
    await visit.hear(/^A AUTHENTICATE/);
    visit.say(`${before}A OK ${code}in\r\n`);
    assert.deepEqual(await signedIn, wanted);
  });
}

test("capabilities after login: asked for where the backend does not say them", async (t) => {
  const { visit, signedIn } = await signing(t, "IMAP4rev1 SASL-IR AUTH=PLAIN");
  await visit.hear(/^A AUTHENTICATE/);
  visit.say("A OK\r\n");
  await visit.hear("C CAPABILITY");
  visit.say("* CAPABILITY IMAP4rev1 MOVE\r\nC OK\r\n");
  assert.deepEqual(await signedIn, ["IMAP4rev1", "MOVE"]);
});

test("untagged lines before the tagged one are absorbed, literals in them included", async (t) => {
  const { visit, signedIn } = await signing(t, "IMAP4rev1 SASL-IR AUTH=PLAIN");
  await visit.hear(/^A AUTHENTICATE/);
  visit.say(
    '* OK [ALERT] maintenance tonight\r\n* 3 EXISTS\r\n* ID ("name" {7}\r\nA NO no "version" {4}\r\n\r\n\r\n)\r\n' +
      "* NO [UNAVAILABLE] only a warning\r\nA OK [CAPABILITY IMAP4rev1] in\r\n",
  );
  assert.deepEqual(await signedIn, ["IMAP4rev1"]);
});

for (const [what, answer] of Object.entries({
  "says BYE": "* BYE overloaded\r\n",
  "answers a command that nobody asked": "B OK [CAPABILITY IMAP4rev1] in\r\n",
  "answers with BAD": "A BAD what?\r\n",
  "asks for more": "+ bW9yZQ==\r\n",
  "sends 200 lines first": `${"* 1 EXISTS\r\n".repeat(200)}A OK in\r\n`,
  "sends 64 KB first": `* OK ${"x".repeat(15_000)}\r\n`.repeat(5),
  "sends a literal of four gigabytes": "* ID ({4294967295}\r\n",
  "speaks another protocol": "+OK logged in\r\n".replace("+", "-"),
  "says PREAUTH to a login": "A PREAUTH in\r\n",
})) {
  test(`a backend that ${what} is unavailable, and its client's password not wrong`, async (t) => {
    const { visit, signedIn } = await signing(t, "IMAP4rev1 SASL-IR AUTH=PLAIN");
    await visit.hear(/^A AUTHENTICATE/);
    const began = performance.now();
    visit.say(answer);
    await assert.rejects(signedIn, unavailable);
    assert.ok(performance.now() - began < 1_000, "known at once, not when its time is over");
  });
}

for (const [answer, own, master] of [
  ["NO [AUTHENTICATIONFAILED] wrong", "badCredential", "unavailable"],
  ["NO wrong", "badCredential", "unavailable"],
  ["NO", "badCredential", "unavailable"],
  ["NO [ALERT] wrong", "badCredential", "unavailable"],
  ["NO [AUTHORIZATIONFAILED] not you", "notAllowed", "unavailable"],
  ["NO [EXPIRED] old password", "notAllowed", "unavailable"],
  ["NO [LIMIT] too many", "tooManySessions", "tooManySessions"],
  ["NO [UNAVAILABLE] down", "unavailable", "unavailable"],
  ["no [unavailable] down", "unavailable", "unavailable"],
  ["NO [INUSE] locked", "unavailable", "unavailable"],
  ["NO [SERVERBUG] oops", "unavailable", "unavailable"],
  ["NO [CONTACTADMIN] oops", "unavailable", "unavailable"],
  ["NO [PRIVACYREQUIRED] no TLS", "unavailable", "unavailable"],
] as const) {
  test(`a backend's ${answer} is ${own} by the user's password, ${master} by a master's`, async (t) => {
    for (const [signIn, kind] of [
      [OWN, own],
      [MASTER, master],
    ] as const) {
      const { visit, signedIn } = await signing(t, "IMAP4rev1 SASL-IR AUTH=PLAIN", signIn);
      await visit.hear(/^A AUTHENTICATE/);
      visit.say(`A ${answer}\r\n`);
      await assert.rejects(signedIn, refusedAs(kind));
    }
  });
}

test("a NO to the mechanism, before the password was said, is no wrong password", async (t) => {
  const { visit, signedIn } = await signing(t, "IMAP4rev1 AUTH=PLAIN");
  await visit.hear("A AUTHENTICATE PLAIN");
  visit.say("A NO mechanism not supported\r\n");
  await assert.rejects(signedIn, unavailable);
});

for (const [what, capabilities, echo] of [
  ["the LOGIN that it did not understand", "IMAP4rev1", "A BAD unknown: LOGIN alice hunter2-secret\r\n"],
  ["the LOGIN that it refuses", "IMAP4rev1", "A NO no user alice with hunter2-secret\r\n"],
  [
    "the response of AUTHENTICATE",
    "IMAP4rev1 SASL-IR AUTH=PLAIN",
    `A BAD unknown: AUTHENTICATE PLAIN ${base64("\0alice\0hunter2-secret")}\r\n`,
  ],
] as const) {
  test(`a backend that echoes ${what} does not get the password into the log`, async (t) => {
    const { visit, signedIn } = await signing(t, capabilities, {
      authcid: "alice",
      password: "hunter2-secret",
      own: true,
    });
    await visit.hear(/^A /);
    visit.say(echo);
    const error = await signedIn.catch((reason: unknown) => reason);
    assert.ok(error instanceof Refused);
    const told = `${error.message} ${error.refusal.detail} ${error.stack}`;
    assert.doesNotMatch(told, /hunter2/);
    assert.ok(!told.includes(base64("\0alice\0hunter2-secret")), told);
  });
}

test("a backend's words reach the log in one printable line", async (t) => {
  const { visit, signedIn } = await signing(t, "IMAP4rev1 SASL-IR AUTH=PLAIN");
  await visit.hear(/^A AUTHENTICATE/);
  visit.say(`A NO [UNAVAILABLE] \x1b[2J\x9b31m${"long ".repeat(1_000)}\r\n`);
  const error = await signedIn.catch((reason: unknown) => reason);
  assert.ok(error instanceof Refused);
  assert.match(error.refusal.detail, /^[\x20-\x7e…]{1,400}$/);
});

test("leaving says LOGOUT and waits for nothing", async (t) => {
  const { visit, opened, upstream } = await call(t);
  visit.say("* OK [CAPABILITY IMAP4rev1] ready\r\n");
  await opened;
  await upstream.converse(() => imap.leaveUpstream(upstream));
  await visit.hear(/^\S+ LOGOUT$/);
});
