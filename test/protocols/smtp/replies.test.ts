import assert from "node:assert/strict";
import { test } from "node:test";
import { submission } from "../../../src/protocols/smtp/index.ts";
import { envelopeReply, reply } from "../../../src/protocols/smtp/replies.ts";
import { type EnvelopeRefusal, endsSession, type Refusal } from "../../../src/refusal.ts";

/** The tables of DESIGN.md 3 and hostile-inputs.md: to a login, and to any other command. */
const BEGINNINGS = {
  badCredential: ["535 5.7.8 ", "535 5.7.8 "],
  notAllowed: ["535 5.7.8 ", "535 5.7.8 "],
  noRoute: ["535 5.7.8 ", "550 5.7.1 "],
  unavailable: ["454 4.7.0 ", "451 4.4.1 "],
  forbidden: ["535 5.7.8 ", "554 5.7.1 "],
  tooManySessions: ["454 4.7.0 ", "421 4.7.0 "],
  tooFast: ["454 4.7.0 ", "450 4.7.1 "],
  banned: ["421 4.7.0 ", "421 4.7.0 "],
  privacyRequired: ["538 5.7.11 ", "530 5.7.0 "],
  notSignedIn: ["530 5.7.0 ", "530 5.7.0 "],
  syntax: ["501 5.5.2 ", "501 5.5.4 "],
  order: ["503 5.5.1 ", "503 5.5.1 "],
  unknownCommand: ["500 5.5.2 ", "500 5.5.2 "],
  unknownMechanism: ["504 5.5.4 ", "504 5.5.4 "],
  tooLong: ["500 5.5.6 ", "500 5.5.2 "],
  cancelled: ["501 5.5.2 ", "501 5.5.2 "],
  tooManyErrors: ["421 4.7.0 ", "421 4.7.0 "],
  notOurProtocol: ["554 5.5.0 ", "554 5.5.0 "],
  bytesAfterStartTls: ["554 5.5.0 ", "554 5.5.0 "],
  loginTimeout: ["421 4.4.2 ", "421 4.4.2 "],
  idle: ["421 4.4.2 ", "421 4.4.2 "],
  shutdown: ["421 4.3.2 ", "421 4.3.2 "],
  kicked: ["421 4.3.2 ", "421 4.3.2 "],
} satisfies Record<Refusal["kind"], [string, string]>;

const ENVELOPE_BEGINNINGS = {
  parameterNotOffered: "555 5.5.4 ",
  messageTooBig: "552 5.3.4 ",
  tooManyRecipients: "452 4.5.3 ",
  otherBackend: "452 4.5.3 ",
  bareNewline: "550 5.5.2 ",
  unknownFate: "451 4.4.1 ",
  backendGone: "421 4.4.1 ",
  notImplemented: "502 5.5.1 ",
  notTrusted: "550 5.7.0 ",
  senderNotYours: "550 5.7.1 ",
} satisfies Record<EnvelopeRefusal, string>;

/** What a detail must never do: end the line, or be said at all. */
const HOSTILE = "SECRET\r\n250 OK\r\n\0\x1b[2J";
/** RFC 5321 4.2, RFC 3463: one line of text, its class the same twice. */
const ONE_LINE = /^([45])\d\d \1\.\d\.\d{1,2} [ -~]+\r\n$/;

for (const [kind, [login, command]] of Object.entries(BEGINNINGS) as [Refusal["kind"], [string, string]][]) {
  test(`${kind} is answered in one line, and its detail stays in the log`, () => {
    const refusal: Refusal = { kind, detail: HOSTILE, retryAfterMs: 60_000 };
    for (const [position, beginning] of [
      ["login", login],
      ["command", command],
    ] as const) {
      const said = reply(refusal, position, "s1");
      assert.ok(said.startsWith(beginning), said);
      assert.match(said, ONE_LINE);
      assert.doesNotMatch(said, /SECRET/);
      // RFC 5321 3.8: a session that ends for a passing reason ends with 421, and for a lasting one with that.
      const final = reply(refusal, position, "s1", true);
      assert.match(final, ONE_LINE);
      assert.match(final, beginning.startsWith("4") ? /^421 / : new RegExp(`^${beginning}`));
    }
    if (endsSession(refusal)) assert.match(reply(refusal, "command", "s1"), /^(421|554) /);
    assert.match(submission.farewell(refusal) ?? "", ONE_LINE);
  });
}

for (const [kind, beginning] of Object.entries(ENVELOPE_BEGINNINGS) as [EnvelopeRefusal, string][]) {
  test(`${kind} is answered in one line`, () => {
    const said = envelopeReply(kind);
    assert.ok(said.startsWith(beginning), said);
    assert.match(said, ONE_LINE);
  });
}

test("a wrong password and an account that may not enter differ in nothing but the log", () => {
  const said = (kind: Refusal["kind"]) => reply({ kind, detail: "" }, "login", "s1").slice(0, 9);
  assert.equal(said("badCredential"), said("notAllowed"));
});
