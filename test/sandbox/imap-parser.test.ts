import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { CommandBuffer, type Frame, MAX_TEXT } from "../../src/sandbox/imap/command-buffer.ts";
import { parseDateTime } from "../../src/sandbox/imap/date.ts";
import { matchesPattern } from "../../src/sandbox/imap/list-pattern.ts";
import { parseCommand } from "../../src/sandbox/imap/parser.ts";
import { formatSet, parseSequenceSet, resolveSet } from "../../src/sandbox/imap/sequence-set.ts";

function frames(chunks: readonly Buffer[]): Frame[] {
  const buffer = new CommandBuffer(1000);
  const found: Frame[] = [];
  for (const chunk of chunks) {
    buffer.push(chunk);
    for (let frame = buffer.next(); frame; frame = buffer.next()) {
      found.push(frame);
      if (frame.kind === "overlong" && frame.fatal) return found;
    }
  }
  return found;
}

function parse(text: string): unknown {
  const [frame] = frames([Buffer.from(`a ${text}\r\n`, "latin1")]).filter(({ kind }) => kind === "command");
  assert.equal(frame?.kind, "command");
  const command = parseCommand(frame.pieces);
  return command.name === "BAD" ? command.reason : { [command.name]: command.args };
}

test("commands and what they mean", () => {
  const table: [string, unknown][] = [
    ["noop", { NOOP: {} }],
    ['LOGIN "a\\"b" {3+}\r\nx y', { LOGIN: { user: 'a"b', password: "x y" } }],
    ["LOGIN {1}\r\na {0}\r\n", { LOGIN: { user: "a", password: "" } }],
    ["AUTHENTICATE plain =", { AUTHENTICATE: { mechanism: "PLAIN", initial: "=" } }],
    ["SELECT &AMk-]x", { SELECT: { mailbox: "&AMk-]x" } }],
    ['LSUB "" %', { LSUB: { reference: "", pattern: "%" } }],
    [
      'LIST (SPECIAL-USE) "" (a* "b %") RETURN (CHILDREN STATUS (UNSEEN) SUBSCRIBED)',
      {
        LIST: {
          reference: "",
          patterns: ["a*", "b %"],
          only: ["SPECIAL-USE"],
          status: ["UNSEEN"],
          returnSubscribed: true,
        },
      },
    ],
    ["STATUS x (messages UIDNEXT)", { STATUS: { mailbox: "x", items: ["MESSAGES", "UIDNEXT"] } }],
    [
      'APPEND x (\\Seen \\Recent k) " 7-Jul-2026 02:44:25 +0200" {2+}\r\nhi',
      {
        APPEND: {
          mailbox: "x",
          flags: ["\\Seen", "k"],
          date: new Date("2026-07-07T00:44:25Z"),
          raw: Buffer.from("hi"),
        },
      },
    ],
    [
      "UID EXPUNGE 1,3:*",
      {
        EXPUNGE: {
          set: [
            [1, 1],
            [3, Number.POSITIVE_INFINITY],
          ],
        },
      },
    ],
    [
      "STORE 2 -flags.silent \\seen Foo",
      { STORE: { uid: false, set: [[2, 2]], change: "remove", silent: true, flags: ["\\Seen", "Foo"] } },
    ],
    [
      "UID FETCH 1 FAST",
      {
        FETCH: {
          uid: true,
          set: [[1, 1]],
          items: [{ kind: "FLAGS" }, { kind: "INTERNALDATE" }, { kind: "RFC822.SIZE" }],
        },
      },
    ],
    [
      "FETCH 1 (BODY BODY.PEEK[1.2.header.fields (From {2+}\r\nTo)]<3.4>)",
      {
        FETCH: {
          uid: false,
          set: [[1, 1]],
          items: [
            { kind: "BODY" },
            {
              kind: "section",
              label: "BODY[1.2.HEADER.FIELDS (FROM TO)]<3>",
              path: [1, 2],
              text: "HEADER.FIELDS",
              fields: ["from", "to"],
              partial: { offset: 3, length: 4 },
              peek: true,
            },
          ],
        },
      },
    ],
    [
      "SEARCH CHARSET utf-8 OR NOT SEEN (1:2 SINCE 1-Feb-2026) SUBJECT {1+}\r\nx",
      {
        SEARCH: {
          uid: false,
          program: {
            charset: "UTF-8",
            key: {
              kind: "and",
              keys: [
                {
                  kind: "or",
                  keys: [
                    { kind: "not", key: { kind: "flag", flag: "\\Seen", present: true } },
                    {
                      kind: "and",
                      keys: [
                        { kind: "set", uid: false, set: [[1, 2]] },
                        { kind: "date", sent: false, relation: "SINCE", day: 20485 },
                      ],
                    },
                  ],
                },
                { kind: "header", field: "subject", value: "x" },
              ],
            },
          },
        },
      },
    ],
    ["ID NIL", { ID: {} }],
    ['ID ("name" "x" "version" NIL)', { ID: {} }],
    ["ENABLE x y", { ENABLE: { capabilities: ["X", "Y"] } }],
  ];
  for (const [text, expected] of table) assert.deepEqual(parse(text), expected, text);
});

test("what the grammar does not allow is a value that says so", () => {
  const table = [
    "",
    "NOOP x",
    "UID NOOP",
    "UID",
    "constructor",
    "LOGIN a",
    "LOGIN a b c",
    'LOGIN "a',
    'LOGIN "a\\n" b',
    "SELECT a*",
    "SELECT INBOX (CONDSTORE)",
    "FETCH 0 FLAGS",
    "FETCH 1:2:3 FLAGS",
    "FETCH 4294967296 FLAGS",
    "FETCH 1 ()",
    "FETCH 1 (ALL)",
    "FETCH 1 BODY[MIME]",
    "FETCH 1 BODY[0]",
    "FETCH 1 BODY[1.]",
    "FETCH 1 BODY[]<0.0>",
    "FETCH 1 BODY[HEADER.FIELDS ()]",
    "STORE 1 FLAGS (\\Nope)",
    "SEARCH",
    "SEARCH ()",
    "SEARCH SINCE 1-Nov-26",
    `SEARCH ${"NOT ".repeat(100)}ALL`,
    "APPEND x (\\Seen) hello",
    "STATUS x ()",
  ];
  for (const text of table) assert.equal(typeof parse(text), "string", text);
});

test("a tag that cannot be read leaves the reply untagged", () => {
  for (const text of ["", "*", "+ x", "(", "\x00"]) {
    const command = parseCommand([text]);
    assert.deepEqual([command.name, command.tag], ["BAD", undefined]);
  }
});

test("a command larger than allowed is noticed before it is held", () => {
  const kinds = (text: string): unknown[] =>
    frames([Buffer.from(text)]).map((frame) => (frame.kind === "overlong" ? frame.fatal : frame.kind));
  assert.deepEqual(kinds("a LOGIN {1001}\r\nb NOOP\r\n"), [false, "command"]);
  assert.deepEqual(kinds("a LOGIN {1001+}\r\n"), [true]);
  assert.deepEqual(kinds("a LOGIN {600+}\r\n"), []);
  assert.deepEqual(kinds(`a LOGIN {600+}\r\n${"x".repeat(600)} {600}\r\n`), [false]);
  assert.deepEqual(kinds(`a LOGIN {${"9".repeat(400)}}\r\n`), [false]);
  assert.deepEqual(kinds("x".repeat(MAX_TEXT + 1)), [true]);
  assert.deepEqual(kinds("a LOGIN {0+}\r\n ".repeat(500)), [true]);
});

const text = fc.constantFrom(
  ...'a b1 |LOGIN |FETCH |UID |SEARCH |APPEND x |STORE 1 |{3}\r\n|{3+}\r\n|{0+}\r\n|\r\n|\n|\r|"|\\|(|)|BODY[|1.2|HEADER.FIELDS (|]|<0.5>|1:*,2|NOT |OR |\\Seen|LIST |* |% |NIL|\0|\xe9|{99999}\r\n'.split(
    "|",
  ),
);
const stream = fc.array(fc.oneof({ weight: 4, arbitrary: text }, { weight: 1, arbitrary: fc.string() }), {
  maxLength: 30,
});

test("any cut of the bytes gives the same commands", () => {
  fc.assert(
    fc.property(stream, fc.array(fc.nat(40)), (pieces, cuts) => {
      const bytes = Buffer.from(pieces.join(""), "latin1");
      const chunks: Buffer[] = [];
      let at = 0;
      for (const cut of cuts) {
        chunks.push(bytes.subarray(at, at + cut));
        at += cut;
      }
      chunks.push(bytes.subarray(Math.min(at, bytes.length)));
      assert.deepEqual(frames(chunks), frames([bytes]));
    }),
    { numRuns: 2000 },
  );
});

test("no bytes make the parser throw", () => {
  fc.assert(
    fc.property(stream, (pieces) => {
      for (const frame of frames([Buffer.from(`a ${pieces.join("")}\r\n`, "latin1")])) {
        if (frame.kind === "command") parseCommand(frame.pieces);
      }
    }),
    { numRuns: 5000 },
  );
});

test("sequence sets", () => {
  const resolved = (set: string, last: number): unknown => resolveSet(parseSequenceSet(set) ?? [], last);
  assert.deepEqual(resolved("5:2,9,3", 9), [
    [2, 5],
    [9, 9],
  ]);
  assert.deepEqual(resolved("*:7,1,2", 3), [[1, 7]]);
  assert.equal(formatSet([1, 2, 3, 7, 5, 6]), "1:3,7,5:6");
  for (const wrong of ["", ",", "1,", "01", "0", "1:", "*:*:*", "a"])
    assert.equal(parseSequenceSet(wrong), undefined);
});

test("dates", () => {
  assert.equal(parseDateTime("01-Jan-2026 00:30:00 +0100")?.toISOString(), "2025-12-31T23:30:00.000Z");
  for (const wrong of ["1-Jan-2026 00:00:00 +0000", "01-Foo-2026 00:00:00 +0000", "01-Jan-2026"]) {
    assert.equal(parseDateTime(wrong), undefined);
  }
});

test("patterns match as the obvious expression would, without its cost", () => {
  const letters = fc
    .array(fc.constantFrom("a", "b", "/", "*", "%"), { maxLength: 8 })
    .map((all) => all.join(""));
  fc.assert(
    fc.property(letters, letters, (pattern, given) => {
      const name = given.replace(/[*%]/g, "c");
      const obvious = new RegExp(`^${pattern.replaceAll("*", ".*").replaceAll("%", "[^/]*")}$`);
      assert.equal(matchesPattern(pattern, name), obvious.test(name));
    }),
  );
  assert.ok(matchesPattern("inbox/%", "INBOX/x"));
  assert.ok(!matchesPattern("*a".repeat(200), "a".repeat(199)));
});
