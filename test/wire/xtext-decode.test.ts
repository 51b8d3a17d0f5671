import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeXtext } from "../../src/wire/xtext-decode.ts";

test("xtext stands for the text that it encodes", () => {
  assert.equal(decodeXtext(""), "");
  assert.equal(decodeXtext("[UNAVAILABLE]"), "[UNAVAILABLE]");
  assert.equal(decodeXtext("a+2Bb+3Dc+20d"), "a+b=c d");
  assert.equal(decodeXtext("+00+FF"), "\0\xff");
});

test("what is no xtext is nothing", () => {
  for (const text of ["a=b", "a b", "+", "+4", "+4g", "+2b", "a+", "\t", "\xff", "é"])
    assert.equal(decodeXtext(text), undefined, text);
});
