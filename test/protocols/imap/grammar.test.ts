import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { dialect } from "../../../src/protocols/imap/commands.ts";
import {
  type Command,
  isQuotable,
  literalAtEnd,
  type Malformed,
  offersCapability,
  parseCapabilities,
  parseCommand,
  parseReply,
  quote,
} from "../../../src/protocols/imap/grammar.ts";
import { type Refusal, Refused } from "../../../src/refusal.ts";
import { listenTo, pipePair, settle } from "../../io/loopback.ts";
import { sessionOn } from "../../session/stub-session.ts";

/** A command's pieces as `parseCommand` wants them: at each `literal` the line ends and its bytes stand alone. */
function parse(...pieces: (string | Buffer)[]): string {
  return show(parseCommand(pieces.map((piece) => Buffer.from(piece as string, "latin1"))));
}

/** A command in one line of text: atoms bare, strings quoted. */
function show(command: Command | Malformed): string {
  if ("malformed" in command) return `${command.tag ?? "no tag"}: malformed`;
  const args = command.args.map((token) => {
    if (!("bytes" in token)) return token.type === "open" ? "(" : ")";
    const text = token.bytes.toString("latin1");
    return token.type === "string" ? JSON.stringify(text) : text;
  });
  return [command.tag, command.name, ...args].join(" ");
}

for (const [given, wanted] of [
  ["a NOOP", "a NOOP"],
  ["a noop", "a NOOP"],
  ["A001 Capability", "A001 CAPABILITY"],
  ["a LOGIN alice secret", "a LOGIN alice secret"],
  ['a LOGIN "alice" "two words"', 'a LOGIN "alice" "two words"'],
  ['a LOGIN "" ""', 'a LOGIN "" ""'],
  ['a LOGIN "a\\"b\\\\c" x', 'a LOGIN "a\\"b\\\\c" x'],
  ["a LOGIN alice pass]word", "a LOGIN alice pass]word"],
  ["a LOGIN alice p%*+=#~", "a LOGIN alice p%*+=#~"],
  ["a LOGIN alice@example.org x", "a LOGIN alice@example.org x"],
  ['a LOGIN "\xe9" x', 'a LOGIN "\xe9" x'],
  ["a ID NIL", "a ID NIL"],
  ["a ID ()", "a ID ( )"],
  ['a ID ("name" "x" "version" NIL)', 'a ID ( "name" "x" "version" NIL )'],
  ["a AUTHENTICATE PLAIN", "a AUTHENTICATE PLAIN"],
  ["a AUTHENTICATE PLAIN AGEAYg==", "a AUTHENTICATE PLAIN AGEAYg=="],
  ["a AUTHENTICATE PLAIN =", "a AUTHENTICATE PLAIN ="],
  ["2.1-x_y NOOP", "2.1-x_y NOOP"],
  [`${"t".repeat(64)} NOOP`, `${"t".repeat(64)} NOOP`],
] as const) {
  test(`${JSON.stringify(given.slice(0, 60))} is a command`, () => assert.equal(parse(given), wanted));
}

for (const given of [
  // A tag that is none, or not fit to be echoed.
  "",
  " ",
  " NOOP",
  "* NOOP",
  "+ NOOP",
  "a+b NOOP",
  "a\\ NOOP",
  'a" NOOP',
  "a{ NOOP",
  "a} NOOP".replace("}", "("),
  "a\0 NOOP",
  "a\r NOOP",
  "a\x1b[2J NOOP",
  "\xe9 NOOP",
  "%d NOOP",
  `${"t".repeat(65)} NOOP`,
  `${"t".repeat(1024)} NOOP`,
]) {
  test(`${JSON.stringify(given.slice(0, 20))} has no tag to answer`, () =>
    assert.equal(parse(given), "no tag: malformed"));
}

for (const given of [
  "a",
  "a ",
  "a  NOOP",
  "a NOOP ",
  "a LOGIN  alice x",
  "a LOGIN alice  x",
  "a LOGIN alice x ",
  'a LOGIN "alice x',
  'a LOGIN "alice" "x',
  'a LOGIN "alice"x',
  'a LOGIN "alice""x"',
  'a LOGIN alice"x"',
  'a LOGIN "a\\lice" x',
  'a LOGIN "alice\\',
  'a LOGIN "a\0b" x',
  'a LOGIN "a\rb" x',
  "a LOGIN al\tice x",
  "a LOGIN al\0ice x",
  "a LOGIN al\x7fice x",
  "a LOGIN \xe9 x",
  "a LOGIN al\\ice x",
  "a LOGIN {} x",
  "a LOGIN {-1}",
  "a LOGIN {1e9}",
  "a LOGIN {0x10}",
  "a LOGIN { 5}",
  "a LOGIN {5 }",
  "a LOGIN {5-}",
  "a LOGIN {5++}",
  "a LOGIN {100000000000000000000000}",
  "a NO\tOP",
  "a \0",
  "a N\xe9OP",
  "a \rNOOP",
  `a NOOP ${"(".repeat(8_000)}`,
  `a ID (${'"a" "b" '.repeat(1_000)})`,
]) {
  test(`${JSON.stringify(given.slice(0, 40))} is malformed, and its tag can be answered`, () => {
    assert.equal(parse(given), "a: malformed");
  });
}

test("literals are strings of any bytes", () => {
  assert.equal(parse("a LOGIN {5}", "alice", " {6}", "se cre", ""), 'a LOGIN "alice" "se cre"');
  assert.equal(parse("a LOGIN {5+}", "alice", ' "x"'), 'a LOGIN "alice" "x"');
  assert.equal(parse("a LOGIN {0}", "", " {0}", "", ""), 'a LOGIN "" ""');
  assert.equal(parse("a LOGIN {9}", 'a\r\n"{}\0()', " x"), `a LOGIN ${JSON.stringify('a\r\n"{}\0()')} x`);
  assert.equal(parse("a ID ({4}", "name", " {1}", "x", ")"), 'a ID ( "name" "x" )');
});

test("a literal stands alone behind a space", () => {
  for (const pieces of [
    ["a LOGIN alice{1}", "x", ""],
    ["a LOGIN {5}", "alice", "x"],
    ["a LOGIN {5}", "alice", '"x"'],
    ["a LOGIN {5}", "alice", " "],
    ["a LOGIN {5}", "alice", "  x"],
    ["a LOGIN  {5}", "alice", " x"],
    ['a LOGIN "{5}', "alice", " x"],
    ["a LOGIN ~{5}", "alice", " x"],
  ]) {
    assert.equal(parse(...pieces), "a: malformed", JSON.stringify(pieces));
  }
});

for (const [line, size, synchronising] of [
  ["a LOGIN {5}", 5, true],
  ["a LOGIN {5+}", 5, false],
  ["{0}", 0, true],
  ["{4294967295}", 4_294_967_295, true],
  ["{4294967296}", Number.POSITIVE_INFINITY, true],
  ["{99999999999999999999}", Number.POSITIVE_INFINITY, true],
  ["{99999999999999999999+}", Number.POSITIVE_INFINITY, false],
  ["{00000000000000000005+}", 5, false],
] as const) {
  test(`${line} announces a literal of ${size}`, () => {
    assert.deepEqual(literalAtEnd(Buffer.from(line)), { size, synchronising });
  });
}

for (const line of ["", "}", "{}", "{+}", "{-1}", "{1e9}", "{5+}x", "{5} ", "5}", '"{5}"', "{\xb2}", "{٥}"]) {
  test(`${JSON.stringify(line)} announces nothing`, () =>
    assert.equal(literalAtEnd(Buffer.from(line, "latin1")), undefined));
}

/** What a session reads from bytes that come in these pieces: commands, refusals, and how it ends. */
async function readAll(pieces: readonly Buffer[], requireTls = false): Promise<string[]> {
  const { near, far } = pipePair();
  const session = sessionOn(near, { requireTls });
  const heard = listenTo(far);
  const read: string[] = [];
  const reading = (async () => {
    try {
      for (;;) {
        const command = await dialect.read(session);
        read.push("kind" in command ? sayRefusal(command) : show(command));
      }
    } catch (error) {
      read.push(error instanceof Refused ? `ends: ${error.refusal.kind}` : `ends: ${(error as Error).name}`);
    }
  })();
  for (const piece of pieces) {
    far.write(piece);
    await settle(1);
  }
  far.end();
  await reading;
  near.end();
  await heard.ended;
  return [...read, heard.heard()];
}

function sayRefusal(refusal: Refusal & { tag?: string }): string {
  return `${refusal.tag ?? "no tag"}: ${refusal.kind}`;
}

const text = (...letters: string[]) => fc.string({ unit: fc.constantFrom(...letters), maxLength: 12 });
const word = text(..."abAB019.@=+/_-".split("")).map((letters) => `w${letters}`);
const anyBytes = fc.uint8Array({ maxLength: 12 }).map((bytes) => Buffer.from(bytes).toString("latin1"));
const literal = fc
  .tuple(anyBytes, fc.boolean())
  .map(([bytes, plus]) => `{${bytes.length}${plus ? "+" : ""}}\r\n${bytes}`);
const wrongLiteral = fc
  .tuple(anyBytes, fc.nat(20), fc.constantFrom("", "+"))
  .map(([bytes, size, plus]) => `{${size}${plus}}\r\n${bytes}`);
const string = fc.oneof(
  word,
  text(...'ab \\"{}5'.split("")).map((letters) => `"${letters}"`),
  literal,
  wrongLiteral,
);
const commandText = fc
  .tuple(
    fc.oneof({ weight: 6, arbitrary: word }, { weight: 1, arbitrary: anyBytes }),
    fc.constantFrom("LOGIN", "login", "ID", "NOOP", "SELECT", "AUTHENTICATE", "{5+}", ""),
    fc.array(
      fc.oneof(
        { weight: 4, arbitrary: string },
        { weight: 1, arbitrary: fc.constantFrom("(", ")", "NIL", "") },
      ),
      {
        maxLength: 4,
      },
    ),
    fc.constantFrom("\r\n", "\r\n", "\r\n", "\n", "\r", ""),
  )
  .map(([tag, name, args, end]) => `${[tag, name, ...args].join(" ")}${end}`);
const stream = fc
  .array(fc.oneof({ weight: 8, arbitrary: commandText }, { weight: 1, arbitrary: anyBytes }), {
    maxLength: 6,
  })
  .map((commands) => Buffer.from(commands.join(""), "latin1"));
const cutStream = stream.chain((whole) =>
  fc.tuple(
    fc.constant(whole),
    fc.oneof(
      fc.array(fc.nat(whole.length), { maxLength: 12 }),
      fc.constant(Array.from(whole, (_byte, index) => index)),
    ),
  ),
);

function cut(whole: Buffer, places: readonly number[]): Buffer[] {
  const sorted = [0, ...places.toSorted((a, b) => a - b), whole.length];
  return sorted.slice(1).map((end, index) => whole.subarray(sorted[index], end));
}

test("any cutting of the bytes gives the same commands, refusals and words", async () => {
  await fc.assert(
    fc.asyncProperty(cutStream, fc.boolean(), async ([whole, places], requireTls) => {
      assert.deepEqual(await readAll(cut(whole, places), requireTls), await readAll([whole], requireTls));
    }),
    { numRuns: 400 },
  );
});

test("no bytes make the reader throw anything but a refusal or the end", async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (bytes) => {
      const ending = (await readAll([Buffer.from(bytes)])).at(-2);
      assert.match(ending ?? "", /^ends: (tooLong|ChannelClosed)$/);
    }),
    { numRuns: 300 },
  );
});

test("no pieces make the parser throw, and no tag it gives could not be echoed", () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(stream, fc.uint8Array({ maxLength: 80 })), { maxLength: 5 }), (pieces) => {
      const command = parseCommand(pieces.map((piece) => Buffer.from(piece)));
      if (command.tag !== undefined) assert.match(command.tag, /^[!-~]{1,64}$/);
    }),
    { numRuns: 3000 },
  );
});

const QUOTABLE = fc.string({ unit: fc.constantFrom(...'abc \\"{}()*%+]é\r\0'.split("")), maxLength: 20 });

test("what we quote, we read again", () => {
  fc.assert(
    fc.property(QUOTABLE, (password) => {
      fc.pre(isQuotable(password));
      assert.equal(parse(`a LOGIN bob ${quote(password)}`), `a LOGIN bob ${JSON.stringify(password)}`);
    }),
    { numRuns: 1000 },
  );
});

test("only printable ASCII is quoted", () => {
  for (const bad of ["\r", "\n", "\0", "\t", "\x7f", "é", "a\r\nb", "x".repeat(1_001)])
    assert.equal(isQuotable(bad), false);
  for (const good of ["", " ", "~", '"', "\\", "x".repeat(1_000)]) assert.equal(isQuotable(good), true);
});

/** The best of three, in milliseconds. */
function cost(run: () => unknown): number {
  const times = [1, 2, 3].map(() => {
    const began = performance.now();
    run();
    return performance.now() - began;
  });
  return Math.min(...times);
}

for (const [shape, line] of Object.entries({
  parentheses: (size: number) => `a X ${"(".repeat(size)}`,
  spaces: (size: number) => `a X ${" ".repeat(size)}`,
  backslashes: (size: number) => `a X "${"\\\\".repeat(size / 2)}`,
  quotes: (size: number) => `a X ${'"'.repeat(size)}`,
  braces: (size: number) => `a X ${"{".repeat(size)}`,
  digits: (size: number) => `a X {${"9".repeat(size)}}`,
  letters: (size: number) => `a X ${"x".repeat(size)}`,
  words: (size: number) => `a ${"x ".repeat(size / 2)}`,
})) {
  test(`a line of ${shape} costs no more than its length says`, () => {
    const read = (size: number) => {
      const bytes = Buffer.from(line(size));
      return () => {
        literalAtEnd(bytes);
        parseCommand([bytes]);
        parseReply(bytes);
      };
    };
    read(1 << 16)();
    const small = cost(read(1 << 16));
    const big = cost(read(1 << 20));
    assert.ok(big < Math.max(small, 1) * 16 * 8, `64 KiB: ${small} ms, 1 MiB: ${big} ms`);
  });
}

for (const [line, wanted] of [
  ["* OK ready", { type: "untagged", tag: "*", name: "OK", code: undefined, text: "ready" }],
  ["* OK", { type: "untagged", tag: "*", name: "OK", code: undefined, text: "" }],
  ["* OK ", { type: "untagged", tag: "*", name: "OK", code: undefined, text: "" }],
  ["A OK", { type: "tagged", tag: "A", name: "OK", code: undefined, text: "" }],
  [
    "a ok [CAPABILITY IMAP4rev1] in",
    { type: "tagged", tag: "a", name: "OK", code: "CAPABILITY IMAP4rev1", text: "in" },
  ],
  ["a NO [LIMIT]", { type: "tagged", tag: "a", name: "NO", code: "LIMIT", text: "" }],
  [
    "a NO [LIMIT too many",
    { type: "tagged", tag: "a", name: "NO", code: undefined, text: "[LIMIT too many" },
  ],
  ["* 23 EXISTS", { type: "untagged", tag: "*", name: "23", code: undefined, text: "EXISTS" }],
  [
    "* CAPABILITY IMAP4rev1",
    { type: "untagged", tag: "*", name: "CAPABILITY", code: undefined, text: "IMAP4rev1" },
  ],
  ["* BYE \xe9", { type: "untagged", tag: "*", name: "BYE", code: undefined, text: "\xe9" }],
  ["+ go on", { type: "continuation" }],
  ["+ ", { type: "continuation" }],
  ["+", { type: "continuation" }],
  ["+idling", { type: "continuation" }],
] as const) {
  test(`the reply ${JSON.stringify(line)} is read`, () =>
    assert.deepEqual(parseReply(Buffer.from(line, "latin1")), wanted));
}

for (const line of [
  "",
  " ",
  "*",
  "* ",
  "a",
  "220 smtp.example.org ESMTP".slice(0, 4),
  "HTTP/1.1",
  "*OK",
  "* OK a\rb",
  " OK x",
  '"a" OK',
]) {
  test(`the reply ${JSON.stringify(line)} is not IMAP`, () =>
    assert.equal(parseReply(Buffer.from(line, "latin1")), undefined));
}

test("no line of a backend makes the reader throw", () => {
  fc.assert(
    fc.property(fc.oneof(stream, fc.uint8Array({ maxLength: 100 })), (bytes) => {
      const line = Buffer.from(bytes);
      const reply = parseReply(line);
      if (reply && reply.type !== "continuation") assert.doesNotMatch(reply.text, /[\r\n]/);
      literalAtEnd(line);
    }),
    { numRuns: 3000 },
  );
});

test("capabilities are taken as they are spelled, each once, and nothing that could end a line or a code", () => {
  assert.deepEqual(parseCapabilities("IMAP4rev1 IDLE IDLE Auth=PLAIN  LITERAL+"), [
    "IMAP4rev1",
    "IDLE",
    "Auth=PLAIN",
    "LITERAL+",
  ]);
  assert.deepEqual(parseCapabilities(""), []);
  fc.assert(
    fc.property(
      fc.oneof(fc.string({ maxLength: 80 }), text(...'aB1]\r\n\0\\"() =+{}*%é'.split(""))),
      (given) => {
        for (const capability of parseCapabilities(given)) {
          assert.match(capability, /^[!-~]{1,128}$/);
          assert.doesNotMatch(capability, /[\]"\\(){%*]/);
        }
      },
    ),
    { numRuns: 2000 },
  );
});

test("a capability is the same in either case", () => {
  assert.equal(offersCapability(["imap4rev1", "Auth=Plain"], "AUTH=PLAIN"), true);
  assert.equal(offersCapability(["AUTH=PLAIN-X", "XAUTH=PLAIN"], "AUTH=PLAIN"), false);
});
