import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import {
  LONGEST_DURATION_MS,
  parseDuration,
  parseLimit,
  parseSize,
  printDuration,
  printSize,
} from "../../src/config/units.ts";

describe("durations", () => {
  const valid = {
    "0s": 0,
    "500ms": 500,
    "10s": 10_000,
    "5m": 300_000,
    "1h": 3_600_000,
    "24d": LONGEST_DURATION_MS,
  };
  for (const [text, milliseconds] of Object.entries(valid))
    test(`${text} is ${milliseconds} ms`, () => assert.equal(parseDuration(text), milliseconds));

  for (const text of [
    "",
    "10",
    "s",
    "1.5s",
    "-1s",
    "01s",
    "1 s",
    "1S",
    "1h30m",
    "10s\n",
    "25d",
    `${"9".repeat(400)}ms`,
  ])
    test(`${JSON.stringify(text.slice(0, 12))} is no duration`, () =>
      assert.equal(parseDuration(text), undefined));

  test("what is printed reads back as the same", () => {
    fc.assert(
      fc.property(fc.nat(LONGEST_DURATION_MS), (ms) => assert.equal(parseDuration(printDuration(ms)), ms)),
    );
  });
});

describe("sizes", () => {
  for (const [text, bytes] of Object.entries({
    "0B": 0,
    "512B": 512,
    "64KiB": 65_536,
    "50MiB": 52_428_800,
    "2GiB": 2 ** 31,
  }))
    test(`${text} is ${bytes} bytes`, () => assert.equal(parseSize(text), bytes));

  for (const text of ["", "64", "64KB", "64kib", "1.5MiB", "-1KiB", "99999999999GiB"])
    test(`${JSON.stringify(text)} is no size`, () => assert.equal(parseSize(text), undefined));

  test("what is printed reads back as the same", () => {
    fc.assert(fc.property(fc.maxSafeNat(), (bytes) => assert.equal(parseSize(printSize(bytes)), bytes)));
  });
});

describe("limits", () => {
  test("a number is how many at once", () => {
    assert.deepEqual(parseLimit(30), { points: 30 });
    assert.deepEqual(parseLimit("30"), { points: 30 });
  });

  test("a number and a period is how many in a time", () => {
    assert.deepEqual(parseLimit("120/1m"), { points: 120, windowMs: 60_000 });
  });

  test("a size and a period is how many bytes in a time", () => {
    assert.deepEqual(parseLimit("20GiB/1d"), { points: 20 * 2 ** 30, windowMs: 86_400_000, inBytes: true });
  });

  test("nothing is none at all, in any time", () => {
    assert.deepEqual(parseLimit(0), { points: 0 });
    assert.deepEqual(parseLimit("0/1h"), { points: 0, windowMs: 3_600_000 });
  });

  for (const value of [
    -1,
    1.5,
    Number.NaN,
    2 ** 60,
    "00",
    "0B/1m",
    "0/0s",
    "5/0s",
    "5/",
    "/1m",
    "5/1m/1m",
    "5/60d",
    "many",
  ])
    test(`${value} is no limit`, () => assert.equal(parseLimit(value), undefined));
});
