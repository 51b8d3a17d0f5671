import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { sieve } from "../../../src/protocols/sieve/index.ts";
import { type Refusal, Refused } from "../../../src/refusal.ts";
import type { SignIn } from "../../../src/session/protocol.ts";
import type { UpstreamConnection } from "../../../src/upstream/connection.ts";
import { type Endpoint, endpointConnector } from "../../../src/upstream/connector.ts";
import { certificateAuthority } from "../../support/certificates.ts";
import { temporaryFolder } from "../../support/temp.ts";
import { backendByHand, type Visit } from "../../upstream/backend-by-hand.ts";

const OWN: SignIn = { authcid: "alice", password: "secret", own: true };
const MASTER: SignIn = { authcid: "master", authzid: "alice", password: "key", own: false };
const LOGIN = { credential: { mechanism: "PLAIN", authcid: "alice", password: "secret" } };
const base64 = (text: string): string => Buffer.from(text, "utf8").toString("base64");

interface Called {
  readonly visit: Visit;
  readonly opened: Promise<readonly string[]>;
  readonly upstream: UpstreamConnection;
}

/** A connection to a backend that the test plays, being opened as the story does it. */
async function call(t: TestContext, endpoint: Partial<Endpoint> = {}, timeoutMs = 2_000): Promise<Called> {
  const backend = await backendByHand(t);
  const connect = endpointConnector(
    {
      backend: "north",
      protocol: "sieve",
      host: "localhost",
      port: backend.port,
      tls: "none",
      trust: {},
      ourName: "door.example.org",
      ...endpoint,
    },
    timeoutMs,
    () => {},
  );
  const upstream = await connect({ signal: new AbortController().signal, conversationMs: timeoutMs });
  t.after(() => upstream[Symbol.asyncDispose]());
  const opened = upstream
    .open(() => sieve.openUpstream(upstream))
    .then((offers) => {
      upstream.learned(offers);
      return offers;
    });
  opened.catch(() => {});
  return { visit: await backend.visit(), opened, upstream };
}

/** The same, opened; the password is the next thing said. */
async function signing(
  t: TestContext,
  signIn: SignIn = OWN,
  greeting = '"SASL" "PLAIN LOGIN"\r\nOK\r\n',
): Promise<{ visit: Visit; signedIn: Promise<unknown> }> {
  const { visit, opened, upstream } = await call(t);
  visit.say(greeting);
  await opened;
  const signedIn = upstream.converse(() => sieve.loginUpstream(upstream, signIn, LOGIN));
  signedIn.catch(() => {});
  return { visit, signedIn };
}

const refusedAs = (kind: Refusal["kind"]) => (error: unknown) => {
  assert.ok(error instanceof Refused, String(error));
  assert.equal(error.refusal.kind, kind, error.message);
  assert.doesNotMatch(error.refusal.detail, /[\r\n]|secret/);
  return true;
};
const unavailable = refusedAs("unavailable");

test("the greeting's capabilities become entries", async (t) => {
  const { visit, opened } = await call(t);
  visit.say(
    '"Implementation" "by hand"\r\n"SIEVE" "fileinto reject"\r\n{4}\r\nSASL {5}\r\nPLAIN\r\n"STARTTLS"\r\n"VERSION" "1.0"\r\nok {5}\r\nready\r\n',
  );
  assert.deepEqual(await opened, [
    "IMPLEMENTATION by hand",
    "SIEVE fileinto",
    "SIEVE reject",
    "SASL PLAIN",
    "STARTTLS",
    "VERSION 1.0",
  ]);
});

test("a capability said twice counts once, and one that could not be said again not at all", async (t) => {
  const { visit, opened } = await call(t);
  visit.say('"X-A" "1"\r\n"x-a" "2"\r\n"X-B" {6}\r\na\r\nOK\n\r\n"X-C" "1" "2"\r\n"X-D"\r\nOK\r\n');
  assert.deepEqual(await opened, ["X-A 1", "X-D"]);
});

for (const [what, greeting] of Object.entries({
  BYE: 'BYE "too busy"\r\n',
  "a referral": "BYE (REFERRAL sieve://other.example.net/)\r\n",
  NO: 'NO (TRYLATER) "not now"\r\n',
  "capabilities and no OK": '"SASL" "PLAIN"\r\nNO\r\n',
  "another protocol": "* OK [CAPABILITY IMAP4rev1] ready\r\n",
  garbage: "\x16\x03\x01\x02\0\x01\0\r\n",
  "an empty line": "\r\n",
  "capabilities without end": '"X" "y"\r\n'.repeat(200),
  "a literal of 4 GiB": '"X" {4294967295}\r\n',
  "a literal beyond numbers": '"X" {99999999999999999999}\r\n',
  "literals without end": `"X"${" {1}\r\nx".repeat(100)}\r\n`,
  "64 KB without a line's end": "x".repeat(65_536),
})) {
  test(`a backend that greets with ${what} is unavailable`, async (t) => {
    const { visit, opened } = await call(t);
    visit.say(greeting);
    await assert.rejects(opened, unavailable);
  });
}

test("a backend that says nothing is unavailable in time", async (t) => {
  const { visit, opened } = await call(t, {}, 150);
  visit.say('"SASL" "PLAIN"\r\n');
  await assert.rejects(opened, unavailable);
});

test("STARTTLS where it is configured: what was said before TLS is forgotten", async (t) => {
  const authority = await certificateAuthority();
  await using folder = await temporaryFolder();
  const ca = await folder.write("ca.pem", authority.ca);
  const certificate = await authority.issue(["localhost"]);
  const { visit, opened } = await call(t, { tls: "starttls", trust: { ca } });
  visit.say('"SIEVE" "false"\r\n"SASL" "PLAIN"\r\n"STARTTLS"\r\nOK\r\n');
  await visit.hear("STARTTLS");
  visit.say('OK "begin"\r\n');
  await visit.startTls(certificate);
  visit.say('"SIEVE" "true"\r\n"SASL" "PLAIN"\r\nOK\r\n');
  assert.deepEqual(await opened, ["SIEVE true", "SASL PLAIN"]);
});

for (const [what, offer, answer] of [
  ["does not offer STARTTLS", '"SASL" "PLAIN"\r\nOK\r\n', ""],
  ["refuses STARTTLS", '"STARTTLS"\r\nOK\r\n', "NO\r\n"],
  ["says BYE to STARTTLS", '"STARTTLS"\r\nOK\r\n', "BYE\r\n"],
  ["sends clear text behind its OK", '"STARTTLS"\r\nOK\r\n', 'OK\r\n"SASL" "PLAIN"\r\nOK\r\n'],
] as const) {
  test(`a backend that ${what} is unavailable, and hears no password`, async (t) => {
    const { visit, opened } = await call(t, { tls: "starttls" });
    visit.say(offer);
    if (answer) {
      await visit.hear("STARTTLS");
      visit.say(answer);
    }
    await assert.rejects(opened, unavailable);
    assert.doesNotMatch(visit.everything, /AUTHENTICATE/);
  });
}

test("AUTHENTICATE PLAIN, quoted where it fits and a literal beyond", async (t) => {
  const quoted = await signing(t);
  await quoted.visit.hear(`AUTHENTICATE "PLAIN" "${base64("\0alice\0secret")}"`);
  quoted.visit.say("OK\r\n");
  assert.equal(await quoted.signedIn, undefined);

  const password = "p".repeat(1000);
  const long = base64(`\0alice\0${password}`);
  const literal = await signing(t, { ...OWN, password });
  await literal.visit.hear(`AUTHENTICATE "PLAIN" {${long.length}+}`);
  await literal.visit.hear(long);
  literal.visit.say('OK (SASL "") "in"\r\n');
  assert.equal(await literal.signedIn, undefined);
});

test("a master acts for the user", async (t) => {
  const { visit, signedIn } = await signing(t, MASTER);
  await visit.hear(`AUTHENTICATE "PLAIN" "${base64("alice\0master\0key")}"`);
  visit.say("OK\r\n");
  await signedIn;
});

test("a backend without PLAIN hears no password", async (t) => {
  for (const sasl of ["", "SCRAM-SHA-1", "PLAINER"]) {
    const { visit, signedIn } = await signing(t, OWN, `"SASL" "${sasl}"\r\nOK\r\n`);
    await assert.rejects(signedIn, unavailable);
    assert.equal(visit.everything, "");
  }
});

for (const [answer, own, master] of [
  ["NO", "badCredential", "unavailable"],
  ['NO "Authentication failed."', "badCredential", "unavailable"],
  ['NO (X-UNKNOWN (1)) "secret"', "badCredential", "unavailable"],
  ['NO (TRYLATER) "Temporary"', "unavailable", "unavailable"],
  ["no (trylater) {7}\r\na\r\nb\r\nc", "unavailable", "unavailable"],
  ["NO (AUTH-TOO-WEAK)", "unavailable", "unavailable"],
  ['NO (ENCRYPT-NEEDED) "secret"', "unavailable", "unavailable"],
  ["NO (TRANSITION-NEEDED)", "unavailable", "unavailable"],
  ["BYE (REFERRAL sieve://other.example.net/)", "unavailable", "unavailable"],
  ['BYE (TRYLATER) "secret"', "unavailable", "unavailable"],
  ["BYE", "unavailable", "unavailable"],
  ['""', "unavailable", "unavailable"],
  ['"cnNw"', "unavailable", "unavailable"],
  ["+OK", "unavailable", "unavailable"],
] as const) {
  test(`${JSON.stringify(answer)} to the login is ${own}, to a master's ${master}`, async (t) => {
    for (const [signIn, kind] of [
      [OWN, own],
      [MASTER, master],
    ] as const) {
      const { visit, signedIn } = await signing(t, signIn);
      await visit.hear(/^AUTHENTICATE /);
      visit.say(`${answer}\r\n`);
      await assert.rejects(signedIn, refusedAs(kind));
    }
  });
}

for (const leave of ["end", "reset"] as const) {
  test(`a backend that leaves (${leave}) at the login is unavailable`, async (t) => {
    const { visit, signedIn } = await signing(t);
    await visit.hear(/^AUTHENTICATE /);
    visit[leave]();
    await assert.rejects(signedIn, unavailable);
  });
}

test("leaving says LOGOUT and waits for nothing", async (t) => {
  const { visit, opened, upstream } = await call(t);
  visit.say("OK\r\n");
  await opened;
  await sieve.leaveUpstream(upstream);
  await visit.hear("LOGOUT");
});

test("a response that nobody asked for is no answer to the password", async (t) => {
  const { visit, signedIn } = await signing(t, OWN, '"SASL" "PLAIN"\r\nOK\r\nOK "by the way"\r\n');
  await assert.rejects(signedIn, unavailable);
  assert.equal(visit.everything, "");
});

test("a response behind the OK to the password is an outage", async (t) => {
  const { visit, signedIn } = await signing(t);
  await visit.hear(/^AUTHENTICATE /);
  visit.say('OK "in"\r\nNO "by the way"\r\n');
  await assert.rejects(signedIn, unavailable);
});
