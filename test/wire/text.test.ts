import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { printable } from "../../src/wire/printable.ts";
import { decodeUtf8, hasControl } from "../../src/wire/text.ts";

/** Any letter of Unicode. */
const letter = fc
  .nat(0x10ffff)
  .filter((code) => code < 0xd800 || code > 0xdfff)
  .map((code) => String.fromCodePoint(code));

test("bytes are text exactly when they are what the text encodes to", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      const given = Buffer.from(bytes);
      const lenient = given.toString("utf8");
      const valid = Buffer.from(lenient, "utf8").equals(given);
      assert.equal(decodeUtf8(given), valid ? lenient : undefined);
    }),
    { numRuns: 3000 },
  );
});

test("every text comes back, a byte order mark included", () => {
  fc.assert(
    fc.property(fc.string({ unit: letter, maxLength: 60 }), (text) => {
      assert.equal(decodeUtf8(Buffer.from(text)), text);
    }),
  );
  assert.equal(decodeUtf8(Buffer.from("\ufeffalice")), "\ufeffalice");
});

for (const [why, hex] of Object.entries({
  "a lone continuation byte": "80",
  "a sequence cut short": "c3",
  "an overlong slash": "c0af",
  "an overlong NUL": "c080",
  "a surrogate": "eda080",
  "a code point beyond the last": "f4908080",
  latin1: "616ce963",
})) {
  test(`${why} is not UTF-8`, () => assert.equal(decodeUtf8(Buffer.from(hex, "hex")), undefined));
}

test("exactly the C0 controls and DEL are control bytes", () => {
  for (let code = 0; code < 0x180; code += 1) {
    assert.equal(
      hasControl(`a${String.fromCharCode(code)}b`),
      code < 0x20 || code === 0x7f,
      `U+${code.toString(16)}`,
    );
  }
});

test("printable text has neither line ends, nor controls, nor changes of direction", () => {
  fc.assert(
    fc.property(fc.string({ unit: letter, maxLength: 300 }), fc.nat(200), (text, max) => {
      const shown = printable(text, max);
      assert.doesNotMatch(shown, /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
      // Each sign becomes "\u{10ffff}" at most, and one more says that something was cut.
      assert.ok(shown.length <= max * 10 + 1, `${shown.length} of ${max}`);
    }),
    { numRuns: 2000 },
  );
});

test("printable text says what it hides", () => {
  assert.equal(printable("alice@example.org"), "alice@example.org");
  assert.equal(printable("Jürgen 東京"), "Jürgen 東京");
  assert.equal(printable("x\n2026-01-01 login ok user=admin"), "x\\u{a}2026-01-01 login ok user=admin");
  assert.equal(printable("\u001b[2J\u202Egro.elpmaxe"), "\\u{1b}[2J\\u{202e}gro.elpmaxe");
  assert.equal(printable("abcdef", 3), "abc…");
});

test("a megabyte of client text becomes one short line", () => {
  assert.ok(printable("\u0000".repeat(1 << 20)).length < 2_000);
});
