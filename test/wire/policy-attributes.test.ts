import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  ATTRIBUTE_BOUNDS,
  type AttributeBounds,
  formatPolicyAttributes,
  PolicyAttributeReader,
} from "../../src/wire/policy-attributes.ts";

type Read = string | [name: string, value: string][];

/** All that comes out of pieces as they arrive. */
function read(pieces: readonly Buffer[], bounds?: AttributeBounds): Read[] {
  const reader = new PolicyAttributeReader(bounds);
  const all: Read[] = [];
  for (const piece of pieces) {
    reader.push(piece);
    for (let one = reader.take(); one !== undefined; one = reader.take()) {
      all.push(typeof one === "string" ? one : [...one]);
      if (typeof one === "string") return all;
    }
  }
  return all;
}

function readText(text: string, bounds?: AttributeBounds): Read[] {
  return read([Buffer.from(text, "latin1")], bounds);
}

test("a request is its attributes, as Postfix sends them", () => {
  const request =
    "request=smtpd_access_policy\nprotocol_state=RCPT\nsender=\nsasl_username=a=b\nsize=0\n\nrequest=two\n\n";
  assert.deepEqual(readText(request), [
    [
      ["request", "smtpd_access_policy"],
      ["protocol_state", "RCPT"],
      ["sender", ""],
      ["sasl_username", "a=b"],
      ["size", "0"],
    ],
    [["request", "two"]],
  ]);
});

test("a reply is an attribute named action", () => {
  assert.deepEqual(readText("action=DEFER_IF_PERMIT 4.7.1 later\n\n"), [
    [["action", "DEFER_IF_PERMIT 4.7.1 later"]],
  ]);
});

const small: AttributeBounds = { line: 10, bytes: 20, attributes: 3 };

for (const [what, bytes, got] of [
  ["a line of the longest length", "a=45678901\n\n", [[["a", "45678901"]]]],
  ["a line that is longer", "a=456789012\n\n", ["lineTooLong"]],
  ["a line without an end", "a=34567890123", ["lineTooLong"]],
  ["as many attributes as may be", "a=\nb=\nc=\n\n", [[["a", ""], ["b", ""], ["c", ""]]]], // biome-ignore format: a table
  ["one more", "a=\nb=\nc=\nd=\n\n", ["tooManyAttributes"]],
  ["the same one again and again", "a=\na=\na=\na=\n\n", ["tooManyAttributes"]],
  ["more bytes than may be", "a=34567\nb=34567\nc=34567\n\n", ["tooManyBytes"]],
  ["bounds are of one request", "a=34567\nb=34567\n\na=34567\n\n", [[["a", "34567"], ["b", "34567"]], [["a", "34567"]]]], // biome-ignore format: a table
  ["no name", "=b\n\n", ["noName"]],
  ["no equals sign", "ab\n\n", ["noName"]],
  ["nothing at all", "\n", ["empty"]],
  ["NUL", "a=\0\n\n", ["controlByte"]],
  ["a bare CR", "a=b\rc\n\n", ["controlByte"]],
  ["line ends with CR", "a=b\r\n\r\n", [[["a", "b"]]]],
  ["sent twice", "a=1\na=2\n\n", [[["a", "1"]]]],
  ["what is not UTF-8", "a=\xff\n\n", [[["a", "\ufffd"]]]],
] satisfies [string, string, Read[]][]) {
  test(`${what} reads as it should`, () => assert.deepEqual(readText(bytes, small), got));
}

test("nothing is read behind what is wrong", () => {
  const reader = new PolicyAttributeReader();
  reader.push(Buffer.from("wrong\n\n"));
  assert.equal(reader.take(), "noName");
  reader.push(Buffer.from("a=b\n\n"));
  assert.equal(reader.take(), "noName");
});

test("it is known whether a request has begun", () => {
  const reader = new PolicyAttributeReader();
  assert.equal(reader.begun, false);
  reader.push(Buffer.from("a"));
  assert.equal(reader.begun, true);
  reader.push(Buffer.from("=b\n"));
  reader.take();
  assert.equal(reader.begun, true);
  reader.push(Buffer.from("\n"));
  assert.deepEqual([...(reader.take() as Map<string, string>)], [["a", "b"]]);
  assert.equal(reader.begun, false);
});

/** Bytes in which line ends and equals signs are common. */
const bytes = fc
  .array(fc.oneof({ weight: 4, arbitrary: fc.constantFrom(0x0a, 0x3d, 0x61, 0x62, 0x0d) }, fc.nat(255)), {
    maxLength: 120,
  })
  .map((list) => Buffer.from(list));

const cutBytes = bytes.chain((whole) =>
  fc.array(fc.nat(whole.length), { maxLength: 20 }).map((places) => ({ whole, places })),
);

function cut(whole: Buffer, places: readonly number[]): Buffer[] {
  const sorted = [0, ...places.toSorted((a, b) => a - b), whole.length];
  return sorted.slice(1).map((end, index) => whole.subarray(sorted[index], end));
}

test("any cutting of the bytes reads alike", () => {
  fc.assert(
    fc.property(cutBytes, ({ whole, places }) => {
      assert.deepEqual(read(cut(whole, places), small), read([whole], small));
    }),
    { numRuns: 2000 },
  );
});

const word = fc.stringMatching(/^[a-z_]{1,20}$/);
const value = fc.string({ unit: "binary", maxLength: 60 });
const attributes = fc.uniqueArray(fc.tuple(word, value), {
  minLength: 1,
  maxLength: ATTRIBUTE_BOUNDS.attributes,
  selector: ([name]) => name,
});

test("what is written is read again, whatever a client said", () => {
  fc.assert(
    fc.property(attributes, (list) => {
      const clean = list.map(([name, text]) => [name, text.toWellFormed().replace(/\p{Cc}/gu, "?")]);
      assert.deepEqual(read([formatPolicyAttributes(list)]), [clean]);
    }),
    { numRuns: 500 },
  );
});

test("no value adds an attribute or ends the request", () => {
  const hostile = formatPolicyAttributes([["sender", "a\r\n\naction=OK\0"]]).toString();
  assert.equal(hostile, "sender=a???action=OK?\n\n");
  assert.equal(formatPolicyAttributes([["a=b\n", "c"]]).toString(), "a?b?=c\n\n");
});
