import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { FromGate, fromAddresses } from "../../../src/protocols/smtp/from-header.ts";

const TABLE: readonly (readonly [string, string, readonly string[]])[] = [
  ["a bare address", "From: a@b.example", ["a@b.example"]],
  ["a display name", "From: Alice <a@b.example>", ["a@b.example"]],
  ["a display name that looks like an address", 'From: "ceo@bank.example" <a@b.example>', ["a@b.example"]],
  ["an unquoted name that looks like an address", "From: ceo@bank.example <a@b.example>", ["a@b.example"]],
  ["two mailboxes", "From: a@b.example, Bob <b@c.example>", ["a@b.example", "b@c.example"]],
  [
    "a second From field",
    "From: a@b.example\r\nSubject: x\r\nFrom: c@d.example",
    ["a@b.example", "c@d.example"],
  ],
  ["folded", "From: Alice\r\n <a@b.example>", ["a@b.example"]],
  ["folded behind the colon", "FROM:\r\n\ta@b.example", ["a@b.example"]],
  ["a space before the colon", "From : a@b.example", ["a@b.example"]],
  ["a comment", "From: a@b.example (c@d.example)", ["a@b.example"]],
  ["a nested comment", "From: (x (y@z) <q@r>) a@b.example", ["a@b.example"]],
  ["a comma inside a quoted name", 'From: "Doe, Jane" <a@b.example>', ["a@b.example"]],
  ["a quoted local part", 'From: <"a b"@c.example>', ['"ab"@c.example']],
  ["a group", "From: Us: a@b.example, c@d.example;", ["a@b.example", "c@d.example"]],
  ["an angle that never closes", "From: Alice <a@b.example", ["a@b.example"]],
  ["an address behind the brackets", "From: <a@b.example> c@d.example", ["a@b.example", "c@d.example"]],
  ["an address for a group's name", "From: c@d.example:a@b.example;", ["c@d.example", "a@b.example"]],
  ["a quote that never closes", 'From: <a@b.example> "x <c@d.example>', ["a@b.example", '"x<c@d.example>']],
  ["a comment that never closes", "From: a@b.example (x <c@d.example>", ["(x<c@d.example>", "a@b.example"]],
  ["a name behind the brackets", "From: <a@b.example> Alice (at home)", ["a@b.example"]],
  ["UTF-8, as its bytes", "From: \xc3\xbc@b.example", ["ü@b.example"]],
  ["a space that is none of RFC 5322", "From: a\xc2\xa0b@b.example", ["a\u00a0b@b.example"]],
  ["no From", "Subject: From: a@b.example", []],
];

for (const [what, header, addresses] of TABLE) {
  test(`the From of a message with ${what}`, () => {
    assert.deepEqual(fromAddresses(`To: x@y.example\r\n${header}\r\nDate: now`), addresses);
  });
}

test("any header is looked through without an error, and in a time that grows with its length", () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 2_000 }), (text) => Array.isArray(fromAddresses(`From: ${text}`))),
  );
  const started = performance.now();
  fromAddresses(`From: ${'("<'.repeat(20_000)}`);
  assert.ok(performance.now() - started < 1_000);
});

const message = Buffer.from("From: a@b.example\r\nSubject: x\r\n\r\nbody\r\n.\r\n");

test("not a byte passes before the From is judged, and every byte after, however they are cut", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(message.length)), (cuts) => {
      const asked: (readonly string[])[] = [];
      const gate = new FromGate((addresses) => asked.push(addresses) > 0);
      const places = [0, ...cuts.toSorted((a, b) => a - b), message.length];
      let passed = "";
      for (const [index, place] of places.slice(1).entries()) {
        const last = index === places.length - 2;
        const out = gate.admit([message.subarray(places[index], place)], last);
        assert.notEqual(out, "refused");
        if (asked.length === 0) assert.equal(Buffer.concat(out as Buffer[]).length, 0);
        passed += Buffer.concat(out as Buffer[]).toString();
      }
      assert.equal(passed, message.toString());
      assert.deepEqual(asked, [["a@b.example"]]);
    }),
  );
});

test("a message whose From is refused passes nothing", () => {
  const gate = new FromGate(() => false);
  assert.deepEqual(gate.admit([message.subarray(0, 10)], false), []);
  assert.equal(gate.admit([message.subarray(10)], true), "refused");
});

test("a header that does not end in time is nobody's, and is not held without bound", () => {
  const asked: (readonly string[])[] = [];
  const gate = new FromGate((addresses) => asked.push(addresses) === 0);
  let answer: readonly Buffer[] | "refused" = [];
  for (let chunks = 0; chunks < 70 && answer !== "refused"; chunks += 1) {
    answer = gate.admit([Buffer.alloc(1024, "x")], false);
  }
  assert.equal(answer, "refused");
  assert.deepEqual(asked, [["(a header too long)"]]);
});

test("where senders are only observed, a header that does not end in time passes", () => {
  const gate = new FromGate(() => true);
  let passed = 0;
  for (let chunks = 0; chunks < 100; chunks += 1) {
    const out = gate.admit([Buffer.alloc(1024, "x")], false);
    assert.notEqual(out, "refused");
    passed += (out as readonly Buffer[]).reduce((sum, piece) => sum + piece.length, 0);
  }
  assert.equal(passed, 100 * 1024);
});
