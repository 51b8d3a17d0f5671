import assert from "node:assert/strict";
import { test } from "node:test";
import { pop3 } from "../../../src/protocols/pop3/index.ts";
import { reply } from "../../../src/protocols/pop3/replies.ts";
import type { Refusal } from "../../../src/refusal.ts";

/** The table of the design, and the codes of RFC 2449 and 3206; a kind that is not here does not compile. */
const BEGINNINGS = {
  badCredential: "-ERR [AUTH] ",
  notAllowed: "-ERR [AUTH] ",
  noRoute: "-ERR [SYS/PERM] ",
  unavailable: "-ERR [SYS/TEMP] ",
  forbidden: "-ERR [AUTH] ",
  tooManySessions: "-ERR [IN-USE] ",
  tooFast: "-ERR [LOGIN-DELAY] ",
  banned: "-ERR [LOGIN-DELAY] ",
  privacyRequired: "-ERR B",
  notSignedIn: "-ERR S",
  syntax: "-ERR C",
  order: "-ERR N",
  unknownCommand: "-ERR U",
  unknownMechanism: "-ERR S",
  tooLong: "-ERR T",
  cancelled: "-ERR A",
  tooManyErrors: "-ERR T",
  notOurProtocol: "-ERR T",
  bytesAfterStartTls: "-ERR B",
  loginTimeout: undefined,
  idle: undefined,
  shutdown: undefined,
  kicked: undefined,
} satisfies Record<Refusal["kind"], string | undefined>;

/** What a detail must never do: end the line, or be said at all. */
const HOSTILE = "SECRET\r\n+OK Logged in\r\n-ERR [AUTH] \0\x1b[2J";
const refusal = (kind: Refusal["kind"]): Refusal => ({ kind, detail: HOSTILE, retryAfterMs: 60_000 });

for (const [kind, beginning] of Object.entries(BEGINNINGS) as [Refusal["kind"], string | undefined][]) {
  test(`${kind} is ${beginning ? "answered in one line, and its detail stays in the log" : "silence"}`, () => {
    const said = reply(refusal(kind), "s1");
    if (beginning === undefined) return assert.equal(said, undefined);
    assert.ok(said?.startsWith(beginning), said);
    // RFC 2449 4: 512 octets.
    assert.match(said ?? "", /^-ERR (\[[A-Z/-]+\] )?[A-Z][ -~]{1,200}\r\n$/);
    assert.doesNotMatch(said ?? "", /SECRET/);
  });
}

test("a failed login reads the same in every session; an outage names its own", () => {
  assert.equal(reply(refusal("badCredential"), "s1"), reply(refusal("badCredential"), "s2"));
  assert.match(reply(refusal("unavailable"), "s1") ?? "", /s1/);
});

test("there is no farewell after login: it would be read as the next reply", () => {
  for (const kind of ["idle", "shutdown"] as const) assert.equal(pop3.farewell(refusal(kind)), undefined);
});
