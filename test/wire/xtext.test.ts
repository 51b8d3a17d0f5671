import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { xtext } from "../../src/wire/xtext.ts";

const decode = (text: string): string =>
  Buffer.from(
    text.replace(/\+([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
    "latin1",
  ).toString("utf8");

for (const [text, expected] of [
  ["alice@example.org", "alice@example.org"],
  ["a+b=c d", "a+2Bb+3Dc+20d"],
  ["a\r\nb\0\t\x7f", "a+0D+0Ab+00+09+7F"],
  ["bücher", "b+C3+BCcher"],
  ["[UNAVAILABLE]", "[UNAVAILABLE]"],
  ["IPV6:2001:db8::1", "IPV6:2001:db8::1"],
  ["", ""],
] as const)
  test(`${JSON.stringify(text)} as xtext`, () => assert.equal(xtext(text), expected));

test("no CR, LF, NUL or space is ever left, and every text comes back", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 60 }), (text) => {
      const encoded = xtext(text);
      assert.match(encoded, /^[!-~]*$/);
      assert.equal(decode(encoded), Buffer.from(text).toString());
    }),
    { numRuns: 2000 },
  );
});
