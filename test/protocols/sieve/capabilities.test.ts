import assert from "node:assert/strict";
import { test } from "node:test";
import { entriesOf, linesBeforeLogin } from "../../../src/protocols/sieve/capabilities.ts";
import { CapabilityBoard } from "../../../src/upstream/capabilities.ts";

/** Pigeonhole's, shortened. */
const DOVECOT: readonly (readonly [string, string?])[] = [
  ["IMPLEMENTATION", "Dovecot (Debian) Pigeonhole"],
  ["SIEVE", "fileinto reject enotify variables"],
  ["NOTIFY", "mailto"],
  ["SASL", "PLAIN LOGIN"],
  ["STARTTLS"],
  ["MAXREDIRECTS", "4"],
  ["LANGUAGE", "en"],
  ["OWNER", "alice"],
  ["UNAUTHENTICATE"],
  ["X-NEW"],
  ["VERSION", "1.0"],
];

const CLEAR = { canStartTls: true, mechanisms: [] };
const INSIDE = { canStartTls: false, mechanisms: ["PLAIN", "LOGIN"] };

function entries(capabilities: readonly (readonly [string, string?])[]): string[] {
  return capabilities.flatMap(([name, value]) => entriesOf(name, value));
}

/** The lines as a client reads them, by name; a name that comes twice fails. */
function read(text: string): Map<string, string | undefined> {
  const lines = new Map<string, string | undefined>();
  for (const line of text.split(/(?<=\r\n)/)) {
    const [, name = "", value] =
      /^"([A-Z0-9-]+)"(?: "([ -~]*)")?\r\n$/.exec(line) ?? assert.fail(JSON.stringify(line));
    assert.ok(!lines.has(name), `${name} twice`);
    lines.set(name, value);
  }
  return lines;
}

test("a list is an entry for each of its words, anything else one entry", () => {
  assert.deepEqual(entriesOf("Sieve", "fileinto  reject"), ["SIEVE fileinto", "SIEVE reject"]);
  assert.deepEqual(entriesOf("SASL", ""), ["SASL"]);
  assert.deepEqual(entriesOf("SASL", "PLAIN"), ["SASL PLAIN"]);
  assert.deepEqual(entriesOf("StartTLS"), ["STARTTLS"]);
  assert.deepEqual(entriesOf("X-TEXT", "two words"), ["X-TEXT two words"]);
});

test("what could not be said again is forgotten", () => {
  for (const [name, value] of [
    ["", "x"],
    ["two words", "x"],
    ["X\r\nOK", "x"],
    ["X", "a\r\nOK"],
    ["X", "\xe9"],
    ["X", "\0"],
    ["X".repeat(65), "x"],
    ["X", "x".repeat(4097)],
  ] as const) {
    assert.deepEqual(entriesOf(name, value), [], JSON.stringify([name, value]));
  }
});

test("before TLS: what the backends have, no mechanism, and STARTTLS", () => {
  assert.deepEqual(
    read(linesBeforeLogin(entries(DOVECOT), CLEAR)),
    new Map<string, string | undefined>([
      ["IMPLEMENTATION", "Postern"],
      ["SIEVE", "fileinto reject enotify variables"],
      ["NOTIFY", "mailto"],
      ["MAXREDIRECTS", "4"],
      ["LANGUAGE", "en"],
      ["X-NEW", undefined],
      ["VERSION", "1.0"],
      ["SASL", ""],
      ["STARTTLS", undefined],
    ]),
  );
});

test("inside TLS: our mechanisms, and no STARTTLS", () => {
  const inside = read(linesBeforeLogin(entries(DOVECOT), INSIDE));
  assert.equal(inside.get("SASL"), "PLAIN LOGIN");
  assert.ok(!inside.has("STARTTLS"));
});

test("what leads past this door, and what belongs behind the login, is never passed on", () => {
  for (const name of ["UNAUTHENTICATE", "unauthenticate", "OWNER", "StartTLS"]) {
    assert.ok(!read(linesBeforeLogin(entriesOf(name, "x"), INSIDE)).has(name.toUpperCase()), name);
  }
});

test("of several backends, what all of them have", () => {
  const board = new CapabilityBoard();
  board.learn("sieve", "rich", entries(DOVECOT));
  board.learn("sieve", "poor", [
    ...entriesOf("VERSION", "1.0"),
    ...entriesOf("SIEVE", "variables vacation fileinto enotify"),
    ...entriesOf("NOTIFY", "xmpp"),
    ...entriesOf("MAXREDIRECTS", "10"),
  ]);
  const common = read(linesBeforeLogin(board.common("sieve"), INSIDE));
  // RFC 5804 1.7: enotify asks for NOTIFY, of which they have nothing in common.
  assert.equal(common.get("SIEVE"), "fileinto variables");
  assert.ok(!common.has("NOTIFY") && !common.has("MAXREDIRECTS"));
  assert.equal(common.get("VERSION"), "1.0");
});

test("with no backend heard, or none that says them, the required ones are still there", () => {
  const unheard = read(linesBeforeLogin([], INSIDE));
  assert.deepEqual([unheard.get("SIEVE"), unheard.get("VERSION")], ["", "1.0"]);
  const old = read(linesBeforeLogin(["SASL PLAIN"], INSIDE));
  assert.equal(old.get("SIEVE"), "");
  assert.ok(!old.has("VERSION"), "a backend that predates the RFC is no later one");
});

test("a list beyond a quoted string's limit becomes a literal", () => {
  const many = Array.from({ length: 200 }, (_, n) => `vnd.example.x${n}`).join(" ");
  const text = linesBeforeLogin(entriesOf("SIEVE", many), INSIDE);
  assert.ok(text.includes(`"SIEVE" {${many.length}}\r\n${many}\r\n`), text);
});
