import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { LineBuffer } from "../../src/wire/line-buffer.ts";

/** Bytes in which line ends are common. */
const bytes = fc
  .array(fc.oneof({ weight: 3, arbitrary: fc.constantFrom(0x0d, 0x0a, 0x61, 0x00, 0xff) }, fc.nat(255)), {
    maxLength: 200,
  })
  .map((list) => Buffer.from(list));

/** The same bytes, cut at any places. */
const cutBytes = bytes.chain((whole) =>
  fc.array(fc.nat(whole.length), { maxLength: 20 }).map((places) => ({ whole, pieces: cut(whole, places) })),
);

function cut(whole: Buffer, places: readonly number[]): Buffer[] {
  const sorted = [0, ...places.toSorted((a, b) => a - b), whole.length];
  return sorted.slice(1).map((end, index) => whole.subarray(sorted[index], end));
}

type Op =
  | { readonly take: "line"; readonly max: number }
  | { readonly take: "exact"; readonly count: number };

const ops: fc.Arbitrary<Op[]> = fc.array(
  fc.oneof(
    fc.record({ take: fc.constant("line" as const), max: fc.nat(30) }),
    fc.record({ take: fc.constant("exact" as const), count: fc.nat(12) }),
  ),
  { maxLength: 40 },
);

/** What a script of askings gets out of pieces as they arrive. */
function run(pieces: readonly Buffer[], script: readonly Op[]): string[] {
  const buffer = new LineBuffer();
  const got: string[] = [];
  let next = 0;
  for (const piece of pieces) {
    buffer.push(piece);
    for (let op = script[next]; op; op = script[next]) {
      const taken = op.take === "line" ? buffer.takeLine(op.max) : buffer.takeExact(op.count);
      if (taken === undefined) break;
      got.push(taken === "tooLong" ? "tooLong" : taken.toString("hex"));
      if (taken === "tooLong") return got;
      next += 1;
    }
  }
  return [...got, `rest ${buffer.length}`];
}

test("any cutting of the bytes gives the same lines and lengths", () => {
  fc.assert(
    fc.property(cutBytes, ops, ({ whole, pieces }, script) => {
      assert.deepEqual(run(pieces, script), run([whole], script));
    }),
    { numRuns: 2000 },
  );
});

test("what is taken and what is left are what was pushed", () => {
  fc.assert(
    fc.property(cutBytes, ({ whole, pieces }) => {
      const buffer = new LineBuffer();
      for (const piece of pieces) buffer.push(piece);
      assert.equal(buffer.length, whole.length);
      assert.deepEqual(
        Buffer.concat([buffer.takeExact(Math.min(3, whole.length)) as Buffer, buffer.takeAll()]),
        whole,
      );
      assert.equal(buffer.length, 0);
    }),
  );
});

test("a line ends at CRLF or LF, and keeps every other byte", () => {
  const cases: [string, number, string | undefined][] = [
    ["", 10, undefined],
    ["abc", 10, undefined],
    ["abc\r", 10, undefined],
    ["abc\r\n", 10, "abc"],
    ["abc\n", 10, "abc"],
    ["\r\n", 10, ""],
    ["\n", 10, ""],
    ["a\rb\r\n", 10, "a\rb"],
    ["a\r\r\n", 10, "a\r"],
    ["a\0b\xff\r\n", 10, "a\0b\xff"],
    ["abc\r\n", 3, "abc"],
    ["abc\n", 3, "abc"],
    ["\r\n", 0, ""],
    ["abcd\r\n", 3, "tooLong"],
    ["abcd\n", 3, "tooLong"],
    ["abc\r\r\n", 3, "tooLong"],
    // Four bytes may still be three and a CR; five cannot.
    ["abcd", 3, undefined],
    ["abc\r", 3, undefined],
    ["abcde", 3, "tooLong"],
  ];
  for (const [given, max, wanted] of cases) {
    const buffer = new LineBuffer();
    buffer.push(Buffer.from(given, "latin1"));
    const taken = buffer.takeLine(max);
    assert.equal(
      taken instanceof Buffer ? taken.toString("latin1") : taken,
      wanted,
      JSON.stringify({ given, max }),
    );
  }
});

test("a line that is too long stays too long, whatever comes behind it", () => {
  const buffer = new LineBuffer();
  buffer.push(Buffer.from("abcdef"));
  assert.equal(buffer.takeLine(3), "tooLong");
  buffer.push(Buffer.from("\r\nok\r\n"));
  assert.equal(buffer.takeLine(3), "tooLong");
});

test("nothing, an exact nothing and everything", () => {
  const buffer = new LineBuffer();
  assert.equal(buffer.takeExact(1), undefined);
  assert.equal(buffer.takeExact(0)?.length, 0);
  assert.equal(buffer.takeAll().length, 0);
  buffer.push(Buffer.from("ab"));
  assert.equal(buffer.takeExact(0)?.length, 0);
  assert.equal(buffer.takeExact(3), undefined);
  assert.equal(buffer.takeAll().toString(), "ab");
});

test("a megabyte of lines in one push costs what it is long", () => {
  const lines = 500_000;
  const buffer = new LineBuffer();
  buffer.push(Buffer.from("\r\n".repeat(lines)));
  const began = performance.now();
  let taken = 0;
  while (buffer.takeLine(10)) taken += 1;
  assert.equal(taken, lines);
  // Copying or searching what is left at every line would take minutes.
  assert.ok(performance.now() - began < 3_000);
});

/** Milliseconds for this many bytes, each pushed and looked at by itself, in lines of `length`; the best of three. */
function bytewiseMs(bytes: number, length: number): number {
  const runs = [1, 2, 3].map(() => {
    const began = performance.now();
    for (let done = 0; done < bytes; done += length) {
      const buffer = new LineBuffer();
      for (let sent = 0; sent < length; sent += 1) {
        buffer.push(Buffer.of(0x61));
        assert.equal(buffer.takeLine(length), undefined);
      }
    }
    return performance.now() - began;
  });
  return Math.min(...runs);
}

test("a byte by itself costs the same in a long line as in a short one", () => {
  bytewiseMs(32_768, 2048);
  const short = bytewiseMs(65_536, 2048);
  const long = bytewiseMs(65_536, 65_536);
  assert.ok(long < short * 6, `lines of 2 KiB: ${short} ms, one line of 64 KiB: ${long} ms`);
});
