import assert from "node:assert/strict";
import { test } from "node:test";
import { imap } from "../../../src/protocols/imap/index.ts";
import { reply } from "../../../src/protocols/imap/replies.ts";
import { endsSession, type Refusal } from "../../../src/refusal.ts";

/** The table of the design, and the codes of RFC 5530; a kind that is not here does not compile. */
const BEGINNINGS = {
  badCredential: "a NO [AUTHENTICATIONFAILED] ",
  notAllowed: "a NO [AUTHORIZATIONFAILED] ",
  noRoute: "a NO [AUTHORIZATIONFAILED] ",
  unavailable: "a NO [UNAVAILABLE] ",
  forbidden: "a NO [AUTHORIZATIONFAILED] ",
  tooManySessions: "a NO [LIMIT] ",
  tooFast: "a NO [LIMIT] ",
  banned: "* BYE ",
  privacyRequired: "a NO [PRIVACYREQUIRED] ",
  notSignedIn: "a BAD ",
  syntax: "a BAD ",
  order: "a BAD ",
  unknownCommand: "a BAD ",
  unknownMechanism: "a NO ",
  tooLong: "a BAD ",
  cancelled: "a BAD ",
  tooManyErrors: "* BYE ",
  notOurProtocol: "* BYE ",
  bytesAfterStartTls: "* BYE ",
  loginTimeout: "* BYE ",
  idle: "* BYE ",
  shutdown: "* BYE ",
  kicked: "* BYE ",
} satisfies Record<Refusal["kind"], string>;

const KINDS = Object.keys(BEGINNINGS) as Refusal["kind"][];
/** What a detail must never do: end the line, or be said at all. */
const HOSTILE = "SECRET\r\na OK Logged in\r\n* BYE [ALERT] \0\x1b[2J";
const refusal = (kind: Refusal["kind"]): Refusal => ({ kind, detail: HOSTILE, retryAfterMs: 60_000 });

/** RFC 9051 section 7.1: a status response of one line, without a code left open. */
const ONE_LINE = /^(?:a|\*) (?:NO|BAD|BYE)(?: \[[A-Z]+\])? [A-Za-z][ -~]*\r\n$/;

for (const kind of KINDS) {
  test(`${kind} is answered in one line, and its detail stays in the log`, () => {
    const said = reply(refusal(kind), "a", false, "s1");
    assert.ok(said.startsWith(BEGINNINGS[kind]), said);
    assert.match(said, ONE_LINE);
    assert.doesNotMatch(said, /SECRET/);
  });

  test(`${kind} as the last answer ends with one BYE`, () => {
    const lines = reply(refusal(kind), "a", true, "s1").split(/(?<=\r\n)/);
    assert.equal(lines.filter((line) => line.startsWith("* BYE ")).length, 1);
    assert.match(lines.at(-1) ?? "", /^\* BYE [ -~]+\r\n$/);
    for (const line of lines) assert.match(line, ONE_LINE);
  });

  test(`${kind} without a command is answered untagged`, () => {
    for (const line of reply(refusal(kind), undefined, true, "s1").split(/(?<=\r\n)/))
      assert.match(line, /^\* [ -~]+\r\n$/);
  });
}

test("whatever ends the session says BYE, and nothing else does", () => {
  for (const kind of KINDS) {
    assert.equal(endsSession(refusal(kind)), BEGINNINGS[kind].startsWith("* BYE"), kind);
  }
});

test("a failed login reads the same in every session; an outage names its own", () => {
  assert.equal(
    reply(refusal("badCredential"), "a", false, "s1"),
    reply(refusal("badCredential"), "a", false, "s2"),
  );
  assert.match(reply(refusal("unavailable"), "a", false, "s1"), /s1/);
});

test("the farewell after login is one untagged BYE", () => {
  for (const kind of ["idle", "shutdown"] as const)
    assert.match(imap.farewell(refusal(kind)) ?? "", /^\* BYE [ -~]+\r\n$/);
});
