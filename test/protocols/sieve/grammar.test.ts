import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { dialect } from "../../../src/protocols/sieve/commands.ts";
import {
  type Command,
  formatString,
  literalAtEnd,
  type Malformed,
  parseCommand,
  parseResponse,
  parseString,
} from "../../../src/protocols/sieve/grammar.ts";
import { Refused } from "../../../src/refusal.ts";
import { listenTo, pipePair, settle } from "../../io/loopback.ts";
import { sessionOn } from "../../session/stub-session.ts";

const bytes = (text: string): Buffer => Buffer.from(text, "latin1");

/** A command's pieces as `parseCommand` wants them: at each literal the line ends and its bytes stand alone. */
function parse(...pieces: string[]): string {
  return show(parseCommand(pieces.map(bytes)));
}

/** A command in one line of text: atoms bare, strings quoted. */
function show(command: Command | Malformed): string {
  if ("malformed" in command) return command.tooLong ? "too long" : "malformed";
  const args = command.args.map((token) => {
    if (token.type === "open") return "(";
    if (token.type === "close") return ")";
    if (!("bytes" in token)) throw new Error("a token without bytes");
    const text = token.bytes.toString("latin1");
    return token.type === "string" ? JSON.stringify(text) : text;
  });
  return [command.name, ...args].join(" ");
}

for (const [given, wanted] of [
  ["NOOP", "NOOP"],
  ["noop", "NOOP"],
  ["StartTls", "STARTTLS"],
  ['NOOP "tag"', 'NOOP "tag"'],
  ['NOOP ""', 'NOOP ""'],
  ['NOOP "a\\"b\\\\c"', 'NOOP "a\\"b\\\\c"'],
  ['NOOP "(){}\t"', 'NOOP "(){}\\t"'],
  ['NOOP "\xc3\xa9"', 'NOOP "\xc3\xa9"'],
  ['AUTHENTICATE "PLAIN"', 'AUTHENTICATE "PLAIN"'],
  ['Authenticate "PLAIN" "AGEAYg=="', 'AUTHENTICATE "PLAIN" "AGEAYg=="'],
  ['HAVESPACE "mine" 435', 'HAVESPACE "mine" 435'],
  ["X-NEW (a (b) 1)", "X-NEW ( a ( b ) 1 )"],
  ["GET / HTTP/1.1", "GET / HTTP/1.1"],
  [`NOOP "${"x".repeat(1024)}"`, `NOOP "${"x".repeat(1024)}"`],
] as const) {
  test(`${JSON.stringify(given.slice(0, 60))} is a command`, () => assert.equal(parse(given), wanted));
}

for (const given of [
  "",
  " ",
  " NOOP",
  "NOOP ",
  'NOOP  "tag"',
  '"NOOP"',
  "(NOOP)",
  'NOOP "tag',
  'NOOP "tag\\"',
  'NOOP "tag" "',
  'NOOP "a""b"',
  'NOOP "a"b',
  'NOOP"a"',
  'NOOP "t\\ag"',
  'NOOP "t\0ag"',
  'NOOP "t\rag"',
  "NOOP t\\ag",
  "NOOP t\tag",
  "NOOP t\0ag",
  "NOOP t\x7fag",
  "NO\xe9OP",
  "NOOP \xe9",
  "NOOP {}",
  "NOOP {+}",
  "NOOP {-1+}",
  "NOOP {1e9+}",
  "NOOP {0x10+}",
  "NOOP { 5+}",
  "NOOP {5 +}",
  "NOOP {5++}",
  "NOOP {100000000000000000000000+}",
  "\x16\x03\x01\x02",
  `NOOP ${"(".repeat(8_000)}`,
  `NOOP${' "a"'.repeat(1_000)}`,
]) {
  test(`${JSON.stringify(given.slice(0, 40))} is malformed`, () => assert.equal(parse(given), "malformed"));
}

test("a quoted string holds 1024 octets between its quotes and no more", () => {
  assert.equal(parse(`NOOP "${"x".repeat(1025)}"`), "too long");
  assert.equal(parse(`NOOP "${'\\"'.repeat(512)}"`), `NOOP ${JSON.stringify('"'.repeat(512))}`);
  assert.equal(parse(`NOOP "${'\\"'.repeat(512)}x"`), "too long");
});

test("literals are strings of any bytes", () => {
  assert.equal(parse("NOOP {3+}", "tag", ""), 'NOOP "tag"');
  assert.equal(parse("NOOP {3}", "tag", ""), 'NOOP "tag"');
  assert.equal(parse("NOOP {0+}", "", ""), 'NOOP ""');
  assert.equal(parse("AUTHENTICATE {5+}", "PLAIN", " {2+}", "AA", ""), 'AUTHENTICATE "PLAIN" "AA"');
  assert.equal(parse("NOOP {9+}", 'a\r\n"{}\0()', ""), `NOOP ${JSON.stringify('a\r\n"{}\0()')}`);
});

test("a literal stands alone behind a space", () => {
  for (const pieces of [
    ["NOOP{1+}", "x", ""],
    ['NOOP "a"{1+}', "x", ""],
    ["NOOP {1+}", "x", "y"],
    ["NOOP {1+}", "x", '"y"'],
    ["NOOP {1+}", "x", " "],
    ["NOOP  {1+}", "x", ""],
    ['NOOP "{1+}', "x", ""],
    ["{4+}", "NOOP", ""],
  ]) {
    assert.equal(parse(...pieces), "malformed", JSON.stringify(pieces));
  }
});

for (const [line, size] of [
  ["NOOP {5+}", 5],
  ["NOOP {5}", 5],
  ["{0+}", 0],
  ["{4294967295+}", 4_294_967_295],
  ["{4294967296+}", Number.POSITIVE_INFINITY],
  ["{99999999999999999999+}", Number.POSITIVE_INFINITY],
  ["{00000000000000000005+}", 5],
] as const) {
  test(`${line} announces a literal of ${size}`, () => assert.equal(literalAtEnd(bytes(line)), size));
}

for (const line of ["", "}", "+}", "{}", "{+}", "{-1+}", "{1e9+}", "{5+}x", "{5+} ", '"{5+}"', "{\xb2+}"]) {
  test(`${JSON.stringify(line)} announces nothing`, () => assert.equal(literalAtEnd(bytes(line)), undefined));
}

test("a SASL response is one string, quoted or literal, and nothing else", () => {
  const read = (...pieces: string[]): string => {
    const string = parseString(pieces.map(bytes));
    return "malformed" in string ? "malformed" : string.toString("latin1");
  };
  assert.equal(read('"AGEAYg=="'), "AGEAYg==");
  assert.equal(read('""'), "");
  assert.equal(read('"*"'), "*");
  assert.equal(read("{4+}", "AGEA", ""), "AGEA");
  assert.equal(read("{0+}", "", ""), "");
  for (const wrong of [[""], ["AGEA"], ["*"], ['"a" "b"'], ['("a")'], ["{4+}", "AGEA", "x"]])
    assert.equal(read(...wrong), "malformed", JSON.stringify(wrong));
});

const status = (name: string, code: string | undefined, text: string) => ({
  type: "status",
  name,
  code,
  text,
});

for (const [pieces, wanted] of [
  [["OK"], status("OK", undefined, "")],
  [["ok"], status("OK", undefined, "")],
  [['Ok "Logged in."'], status("OK", undefined, "Logged in.")],
  [['NO (TRYLATER) "Later"'], status("NO", "TRYLATER", "Later")],
  [["NO (AUTH-TOO-WEAK)"], status("NO", "AUTH-TOO-WEAK", "")],
  [["BYE (REFERRAL sieve://other.example/)"], status("BYE", "REFERRAL", "")],
  [['OK (SASL "cnNw")'], status("OK", "SASL", "")],
  [['OK ("SASL" "cnNw")'], status("OK", "SASL", "")],
  [["NO (QUOTA/MAXSIZE (x (y)) 5)"], status("NO", "QUOTA/MAXSIZE", "")],
  [["OK (TAG {3}", "abc", ') "Done"'], status("OK", "TAG", "Done")],
  [["NO {7}", "a\r\nb\r\nc", ""], status("NO", undefined, "a\r\nb\r\nc")],
] as const) {
  test(`the response ${JSON.stringify(pieces)} is read`, () =>
    assert.deepEqual(parseResponse(pieces.map(bytes)), wanted));
}

test("a line of strings is a capability or a challenge", () => {
  const strings = (...texts: string[]) => ({ type: "strings", strings: texts.map(bytes) });
  assert.deepEqual(parseResponse([bytes('"STARTTLS"')]), strings("STARTTLS"));
  assert.deepEqual(parseResponse([bytes('"SIEVE" "fileinto"')]), strings("SIEVE", "fileinto"));
  assert.deepEqual(
    parseResponse(["{5}", "SIEVE", " {8}", "fileinto", ""].map(bytes)),
    strings("SIEVE", "fileinto"),
  );
});

for (const line of [
  "",
  " ",
  "OKAY",
  "* OK ready",
  "+OK ready",
  "220 mail ESMTP",
  "OK ready",
  'OK "a" "b"',
  'OK "a" (CODE)',
  "OK (CODE",
  "OK CODE)",
  '"SIEVE" (x)',
  '"SIEVE" x',
  '"SIEVE',
  "(OK)",
  "OK\0",
]) {
  test(`the response ${JSON.stringify(line)} is not ManageSieve`, () =>
    assert.equal(parseResponse([bytes(line)]), undefined));
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
        read.push("kind" in command ? `refused: ${command.kind}` : show(command));
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
  assert.equal(heard.heard(), "", "reading says nothing");
  return read;
}

const letters = (...of: string[]) => fc.string({ unit: fc.constantFrom(...of), maxLength: 12 });
const anyText = fc.uint8Array({ maxLength: 12 }).map((some) => Buffer.from(some).toString("latin1"));
const literal = fc
  .tuple(anyText, fc.constantFrom("+", ""))
  .map(([text, plus]) => `{${text.length}${plus}}\r\n${text}`);
const wrongLiteral = fc
  .tuple(anyText, fc.nat(20), fc.constantFrom("+", ""))
  .map(([text, size, plus]) => `{${size}${plus}}\r\n${text}`);
const string = fc.oneof(
  letters(...'ab \\"{}5'.split("")).map((some) => `"${some}"`),
  literal,
  wrongLiteral,
);
const commandText = fc
  .tuple(
    fc.constantFrom("NOOP", "noop", "AUTHENTICATE", "CAPABILITY", "PUTSCRIPT", "GET", "{5+}", ""),
    fc.array(
      fc.oneof(
        { weight: 4, arbitrary: string },
        { weight: 1, arbitrary: fc.constantFrom("(", ")", "5", "") },
      ),
      {
        maxLength: 4,
      },
    ),
    fc.constantFrom("\r\n", "\r\n", "\r\n", "\n", "\r", ""),
  )
  .map(([name, args, end]) => `${[name, ...args].join(" ")}${end}`);
const stream = fc
  .array(fc.oneof({ weight: 8, arbitrary: commandText }, { weight: 1, arbitrary: anyText }), { maxLength: 6 })
  .map((commands) => bytes(commands.join("")));
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

test("any cutting of the bytes gives the same commands and refusals", async () => {
  await fc.assert(
    fc.asyncProperty(cutStream, fc.boolean(), async ([whole, places], requireTls) => {
      assert.deepEqual(await readAll(cut(whole, places), requireTls), await readAll([whole], requireTls));
    }),
    { numRuns: 400 },
  );
});

test("no bytes make the reader throw anything but a refusal or the end", async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (some) => {
      assert.match((await readAll([Buffer.from(some)])).at(-1) ?? "", /^ends: (tooLong|ChannelClosed)$/);
    }),
    { numRuns: 300 },
  );
});

test("no pieces make a parser throw", () => {
  const pieces = fc.array(fc.oneof(stream, fc.uint8Array({ maxLength: 80 })), { maxLength: 5 });
  fc.assert(
    fc.property(pieces, (given) => {
      const some = given.map((piece) => Buffer.from(piece));
      parseCommand(some);
      parseString(some);
      parseResponse(some);
    }),
    { numRuns: 3000 },
  );
});

test("what we say, quoted or literal, is read again as it was", () => {
  const any = fc.oneof(
    fc.string({ maxLength: 40 }),
    letters(...'ab"\\{}() \r\n\0é'.split("")),
    fc.constant("x".repeat(1025)),
  );
  fc.assert(
    fc.property(any, fc.constantFrom("client" as const, "server" as const), (text, side) => {
      const said = bytes(Buffer.from(`NOOP ${formatString(text, side)}`).toString("latin1"));
      const end = said.indexOf("\r\n");
      const size = literalAtEnd(end === -1 ? said : said.subarray(0, end));
      const pieces =
        size === undefined ? [said] : [said.subarray(0, end), said.subarray(end + 2), Buffer.alloc(0)];
      const command = parseCommand(pieces);
      assert.ok("args" in command, JSON.stringify(command));
      const [token] = command.args;
      assert.equal(token && "bytes" in token ? token.bytes.toString() : undefined, text);
    }),
    { numRuns: 2000 },
  );
  assert.equal(formatString("x".repeat(1025), "client").slice(0, 9), "{1025+}\r\n");
  assert.equal(formatString("x".repeat(1025), "server").slice(0, 8), "{1025}\r\n");
  assert.equal(formatString('a"b', "server"), '"a\\"b"');
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
  parentheses: (size: number) => `X ${"(".repeat(size)}`,
  spaces: (size: number) => `X${" ".repeat(size)}`,
  backslashes: (size: number) => `X "${"\\\\".repeat(size / 2)}`,
  quotes: (size: number) => `X ${'"'.repeat(size)}`,
  strings: (size: number) => '"" '.repeat(size / 3),
  braces: (size: number) => `X ${"{".repeat(size)}`,
  digits: (size: number) => `X {${"9".repeat(size)}}`,
  letters: (size: number) => `X ${"x".repeat(size)}`,
})) {
  test(`a line of ${shape} costs no more than its length says`, () => {
    const read = (size: number) => {
      const some = Buffer.from(line(size));
      return () => {
        literalAtEnd(some);
        parseCommand([some]);
        parseResponse([some]);
      };
    };
    read(1 << 16)();
    const small = cost(read(1 << 16));
    const big = cost(read(1 << 20));
    assert.ok(big < Math.max(small, 1) * 16 * 8, `64 KiB: ${small} ms, 1 MiB: ${big} ms`);
  });
}
