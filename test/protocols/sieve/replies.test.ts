import assert from "node:assert/strict";
import { test } from "node:test";
import { parseResponse } from "../../../src/protocols/sieve/grammar.ts";
import { sieve } from "../../../src/protocols/sieve/index.ts";
import { reply } from "../../../src/protocols/sieve/replies.ts";
import { endsSession, type Refusal } from "../../../src/refusal.ts";

/** The codes of RFC 5804 1.3; a kind that is not here does not compile. */
const BEGINNINGS = {
  badCredential: 'NO "',
  notAllowed: 'NO "',
  noRoute: 'NO "',
  unavailable: 'NO (TRYLATER) "',
  forbidden: 'NO "',
  tooManySessions: 'NO (TRYLATER) "',
  tooFast: 'NO (TRYLATER) "',
  banned: 'BYE (TRYLATER) "',
  privacyRequired: 'NO (ENCRYPT-NEEDED) "',
  notSignedIn: 'NO "',
  syntax: 'NO "',
  order: 'NO "',
  unknownCommand: 'NO "',
  unknownMechanism: 'NO "',
  tooLong: 'NO "',
  cancelled: 'NO "',
  tooManyErrors: 'BYE "',
  notOurProtocol: 'BYE "',
  bytesAfterStartTls: 'BYE "',
  loginTimeout: 'BYE "',
  idle: 'BYE "',
  shutdown: 'BYE (TRYLATER) "',
  kicked: 'BYE "',
} satisfies Record<Refusal["kind"], string>;

const KINDS = Object.keys(BEGINNINGS) as Refusal["kind"][];
/** What a detail must never do: end the line, or be said at all. */
const HOSTILE = 'SECRET"\r\nOK "Logged in"\r\n';
const refusal = (kind: Refusal["kind"]): Refusal => ({ kind, detail: HOSTILE, retryAfterMs: 60_000 });

for (const kind of KINDS) {
  test(`${kind} is answered in one response, and its detail stays in the log`, () => {
    const said = reply(refusal(kind), false, "s1");
    assert.ok(said.startsWith(BEGINNINGS[kind]), said);
    assert.doesNotMatch(said, /SECRET/);
    assert.equal(parseResponse([Buffer.from(said.slice(0, -2))])?.type, "status");
    assert.match(said, /^[ -~]+\r\n$/);
  });

  test(`${kind} as the last answer is one BYE`, () => {
    assert.match(reply(refusal(kind), true, "s1"), /^BYE (\([A-Z-]+\) )?"[ -~]+"\r\n$/);
  });
}

test("whatever ends the session says BYE, and nothing else does", () => {
  for (const kind of KINDS)
    assert.equal(endsSession(refusal(kind)), BEGINNINGS[kind].startsWith("BYE"), kind);
});

test("a failed login reads the same in every session; an outage names its own", () => {
  assert.equal(reply(refusal("badCredential"), false, "s1"), 'NO "Authentication failed"\r\n');
  assert.equal(reply(refusal("badCredential"), false, "s2"), 'NO "Authentication failed"\r\n');
  assert.match(reply(refusal("unavailable"), false, "s1"), /s1/);
});

test("the farewell after login is one BYE", () => {
  for (const kind of ["idle", "shutdown"] as const)
    assert.match(sieve.farewell(refusal(kind)) ?? "", /^BYE [ -~]+\r\n$/);
});
