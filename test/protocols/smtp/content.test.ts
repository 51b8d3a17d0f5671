import assert from "node:assert/strict";
import { performance } from "node:perf_hooks";
import { test } from "node:test";
import fc from "fast-check";
import { ChunkChecker, DataFramer } from "../../../src/protocols/smtp/content.ts";
import { bytewise, cutAt, cutWords } from "./cuts.ts";

type Mode = "reject" | "normalise";

/** All there is to know of a run. */
interface Outcome {
  readonly out: string;
  readonly ended: boolean;
  readonly bare: boolean;
  readonly size: number;
  /** What was not content any more. */
  readonly rest: string;
}

const END = "\r\n.\r\n";
const BARE = /\r(?!\n)|(?<!\r)\n/;

function frame(pieces: readonly Buffer[], mode: Mode): Outcome {
  const framer = new DataFramer(mode);
  const out: Buffer[] = [];
  for (const [index, piece] of pieces.entries()) {
    const framed = framer.push(piece);
    assert.ok(framed.used <= piece.length && (framed.ended || framed.used === piece.length));
    out.push(...framed.pieces);
    if (framed.ended) {
      const rest = Buffer.concat([piece.subarray(framed.used), ...pieces.slice(index + 1)]);
      return outcome(framer, out, true, rest);
    }
  }
  return outcome(framer, out, false, Buffer.alloc(0));
}

function outcome(framer: DataFramer, out: readonly Buffer[], ended: boolean, rest: Buffer): Outcome {
  return {
    out: Buffer.concat(out).toString("latin1"),
    ended,
    bare: framer.bare,
    size: framer.size,
    rest: rest.toString("latin1"),
  };
}

/** The same by another way: look for the end in the whole text, cut it into lines, and write them anew. */
function reference(whole: Buffer): Outcome {
  const text = `\r\n${whole.toString("latin1")}`;
  const end = text.indexOf(END);
  const ended = end >= 0;
  const content = ended ? text.slice(2, end + 2) : text.slice(2);
  const rest = ended ? text.slice(end + END.length) : "";
  // A CR at the end of what has come so far may still become a CRLF.
  const certain = content.endsWith("\r") ? content.slice(0, -1) : content;
  let out = "";
  let bare = false;
  let size = certain.length;
  let trueStart = true;
  for (const [, line = "", lineEnd = ""] of certain.matchAll(/([^\r\n]*)(\r\n|\r|\n|$)/g)) {
    const made = lineEnd === "\r" || lineEnd === "\n";
    if (line.startsWith(".")) {
      if (!trueStart || (line === "." && made)) out += ".";
      else if (line !== ".") size -= 1;
    }
    out += line + (lineEnd && "\r\n");
    bare ||= made;
    trueStart = !made;
  }
  return { out: ended ? `${out}.\r\n` : out, ended, bare, size, rest };
}

const WORDS = [
  "\r\n",
  "\r",
  "\n",
  ".",
  "..",
  "\r\n.\r\n",
  "\r\n.",
  "\n.",
  "\r.",
  "a",
  "\0",
  "MAIL FROM:<>\r\n",
];

test("any cutting of the content gives what the whole of it must give", () => {
  fc.assert(
    fc.property(cutWords(WORDS), ({ whole, pieces }) => {
      const expected = reference(whole);
      for (const cut of [[whole].filter(({ length }) => length > 0), pieces, bytewise(whole)])
        assert.deepEqual(frame(cut, "normalise"), expected);
    }),
    { numRuns: 5_000 },
  );
});

test("what comes out has no bare CR or LF, and its one end where the content ended", () => {
  fc.assert(
    fc.property(cutWords(WORDS), ({ pieces }) => {
      const { out, ended } = frame(pieces, "normalise");
      assert.doesNotMatch(out, BARE);
      assert.equal(`\r\n${out}`.indexOf(END), ended ? out.length + 2 - END.length : -1);
    }),
    { numRuns: 5_000 },
  );
});

test("in reject mode a bare CR or LF stops everything behind it, and nothing else is changed", () => {
  fc.assert(
    fc.property(cutWords(WORDS), ({ whole, pieces }) => {
      const expected = reference(whole);
      const { out, ...found } = frame(pieces, "reject");
      const { out: normal, ...wanted } = expected;
      assert.deepEqual(found, wanted);
      if (!expected.bare) assert.equal(out, normal);
      // What had left before the fault was noticed is a beginning of the client's own bytes, and no message.
      else assert.ok(whole.toString("latin1").startsWith(out) && !`\r\n${out}`.includes(END));
    }),
    { numRuns: 5_000 },
  );
});

/** Ends that are none, and what the message comes to where it is made canonical. */
const SMUGGLING = {
  "\n.\n": "\r\n..\r\n",
  "\n.\r\n": "\r\n..\r\n",
  "\r\n.\n": "\r\n..\r\n",
  "\r.\r": "\r\n..\r\n",
  "\r.\n": "\r\n..\r\n",
  "\n.\r": "\r\n..\r\n",
  "\r.\r\n": "\r\n..\r\n",
  "\r\n.\r": "\r\n..\r\n",
  "\r\n\0.\r\n": "\r\n\0.\r\n",
  "\r\n.\0\r\n": "\r\n.\0\r\n",
  "\r\n.\r\r\n": "\r\n..\r\n\r\n",
  "\r\r\n.\r\r\n": "\r\n\r\n..\r\n\r\n",
} as const;

const BEFORE = "Subject: one\r\n\r\nbody";
const BEHIND =
  "MAIL FROM:<evil@example.org>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\nSubject: two\r\n\r\nx";

for (const [form, canonical] of Object.entries(SMUGGLING)) {
  test(`item 1: ${JSON.stringify(form)} ends nothing, however it is cut`, () => {
    const whole = Buffer.from(`${BEFORE}${form}${BEHIND}${END}QUIT\r\n`, "latin1");
    const expected = { ended: true, rest: "QUIT\r\n", out: `${BEFORE}${canonical}${BEHIND}${END}` };
    const bare = !form.includes("\0");
    const cuts = [
      [whole],
      bytewise(whole),
      ...Array.from({ length: whole.length - 1 }, (_, at) => cutAt(whole, [at + 1])),
    ];
    for (const pieces of cuts) {
      const { size: _size, ...normal } = frame(pieces, "normalise");
      assert.deepEqual(normal, { ...expected, bare });
      const { out, ...rejected } = frame(pieces, "reject");
      assert.deepEqual([rejected.ended, rejected.bare, rejected.rest], [true, bare, "QUIT\r\n"]);
      if (bare) assert.ok(!out.includes("MAIL FROM") && !`\r\n${out}`.includes(END), JSON.stringify(out));
      else assert.equal(out, expected.out);
    }
  });
}

test("the size is the message's own: without the end, and the dots that the backend takes off again", () => {
  const cases: readonly [string, number][] = [
    [".\r\n", 0],
    ["a\r\n.\r\n", 3],
    ["..\r\n.\r\n", 3],
    ["...\r\n..a\r\na.b\r\n.\r\n", 4 + 4 + 5],
    ["\r\n\r\n.\r\n", 4],
  ];
  for (const [text, size] of cases)
    for (const pieces of [[Buffer.from(text)], bytewise(Buffer.from(text))])
      assert.equal(frame(pieces, "reject").size, size, JSON.stringify(text));
});

test("content takes time in proportion to its length, whatever it is made of", () => {
  const shapes = [
    "x".repeat(76).concat("\r\n"),
    ".\r\r\n",
    "\r\n",
    "\n",
    "\r",
    ".\n",
    "..\r\n",
    "\r\n.x",
    "\r\n.\r",
  ];
  for (const shape of shapes) {
    const whole = Buffer.from(shape.repeat(Math.ceil(4_000_000 / shape.length)), "latin1");
    const framer = new DataFramer("normalise");
    const before = performance.now();
    for (let at = 0; at < whole.length; at += 65_536) framer.push(whole.subarray(at, at + 65_536));
    const ms = performance.now() - before;
    // A quadratic machine would take hours here; this one a quarter of a second at its worst.
    assert.ok(ms < 5_000, `${JSON.stringify(shape)}: ${ms} ms for 4 MB`);
  }
});

/** RFC 3030: chunks whose bytes are cut into reads; the last one is the message's last. */
function checkAll(chunks: readonly (readonly Buffer[])[]): boolean {
  const checker = new ChunkChecker();
  return chunks.every((reads, index) => {
    const last = index === chunks.length - 1;
    if (reads.length === 0) return checker.check(Buffer.alloc(0), last);
    return reads.every((bytes, read) => checker.check(bytes, last && read === reads.length - 1));
  });
}

test("chunks are whole exactly when no CR or LF of the message stands alone, however they are cut", () => {
  fc.assert(
    fc.property(cutWords(["\r\n", "\r\n", "\r\n", "a", "b", "\r", "\n", "."]), ({ whole, pieces }) => {
      const expected = !BARE.test(whole.toString("latin1"));
      assert.equal(checkAll([[whole]]), expected);
      assert.equal(checkAll(pieces.length === 0 ? [[]] : pieces.map((piece) => [piece])), expected);
      assert.equal(checkAll(pieces.length === 0 ? [[]] : pieces.map(bytewise)), expected);
      assert.equal(checkAll([pieces, []]), expected, "with an empty chunk as the last one");
    }),
    { numRuns: 5_000 },
  );
});

test("chunks count their bytes, over all of a message", () => {
  const checker = new ChunkChecker();
  checker.check(Buffer.from("abc\r"), false);
  checker.check(Buffer.from("\n"), false);
  checker.check(Buffer.alloc(0), true);
  assert.equal(checker.size, 5);
});
