import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { decodeBase64 } from "../../src/wire/base64.ts";

test("what Node encodes is decoded to the same bytes", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      assert.deepEqual(decodeBase64(Buffer.from(bytes).toString("base64")), Buffer.from(bytes));
    }),
    { numRuns: 1000 },
  );
});

test("whatever Node's encoder would not have written is refused", () => {
  const nearly = fc
    .array(fc.constantFrom(..."ABCZaz019+/=-_ \r\n!é".split("")), { maxLength: 24 })
    .map((letters) => letters.join(""));
  fc.assert(
    fc.property(nearly, (text) => {
      const bytes = Buffer.from(text, "base64");
      const canonical = bytes.toString("base64") === text;
      assert.deepEqual(decodeBase64(text), canonical ? bytes : undefined);
    }),
    { numRuns: 5000 },
  );
});

test("RFC 4648 section 10", () => {
  for (const [text, encoded] of Object.entries({
    "": "",
    f: "Zg==",
    fo: "Zm8=",
    foo: "Zm9v",
    foob: "Zm9vYg==",
    fooba: "Zm9vYmE=",
    foobar: "Zm9vYmFy",
  })) {
    assert.equal(decodeBase64(encoded)?.toString(), text);
  }
});

for (const [why, text] of Object.entries({
  "foreign letters": "!!!",
  "padding in the middle": "AAA=AAA=",
  "the URL's alphabet": "_-8=",
  "a CR inside": "Zm9v\rYmFy",
  "a CRLF inside": "Zm9v\r\nYmFy",
  "a line end behind": "Zm9v\n",
  "a space before": " Zm9v",
  "a space behind": "Zm9v ",
  "an odd length": "Zm9vY",
  "no padding": "Zg",
  "half the padding": "Zg=",
  "too much padding": "Zm8==",
  "three signs of padding": "Z===",
  "padding alone": "====",
  "one sign alone": "=",
  "bits hidden behind two signs of padding": "Zh==",
  "bits hidden behind one sign of padding": "Zm9=",
  "a NUL": "Zm9v\0Zm9v",
  "eight-bit letters": "Zm9\xe9",
})) {
  test(`base64 with ${why} is refused`, () => assert.equal(decodeBase64(text), undefined));
}

test("a megabyte that is wrong only at its end is refused at once", () => {
  const began = performance.now();
  assert.equal(decodeBase64(`${"A".repeat(1 << 20)}!`), undefined);
  assert.ok(performance.now() - began < 500);
});
