// biome-ignore-all lint/suspicious/noControlCharactersInRegex: control bytes are what must not come out
import assert from "node:assert/strict";
import { performance } from "node:perf_hooks";
import { test } from "node:test";
import fc from "fast-check";
import {
  type Envelope,
  formatEnvelope,
  formatReply,
  parseBdat,
  parseCommand,
  parseCount,
  parseHelloName,
  parseMail,
  parseRcpt,
  parseReplyLine,
} from "../../../src/protocols/smtp/grammar.ts";

const line = (text: string): Buffer => Buffer.from(text, "latin1");

const COMMANDS: Readonly<Record<string, [verb: string, rest: string]>> = {
  NOOP: ["NOOP", ""],
  "noop ": ["NOOP", ""],
  "QuIt   ": ["QUIT", ""],
  "EHLO client.example.org": ["EHLO", "client.example.org"],
  "MAIL FROM:<a@b>  SIZE=1": ["MAIL", "FROM:<a@b>  SIZE=1"],
  "AUTH PLAIN =": ["AUTH", "PLAIN ="],
  // Bytes of UTF-8 that Unicode, read as Latin-1, takes for a space.
  "RCPT TO:<a@b> ORCPT=rfc822;\xc3\xa0": ["RCPT", "TO:<a@b> ORCPT=rfc822;\xc3\xa0"],
};
for (const [text, [verb, rest]] of Object.entries(COMMANDS)) {
  test(`a command: ${JSON.stringify(text)}`, () => {
    assert.deepEqual(parseCommand(line(text)), { verb, rest });
  });
}

const NO_COMMANDS = [
  "",
  " ",
  " NOOP",
  "NO-OP",
  "NOOP\t",
  "NOOP\0",
  "MAIL FROM:<a@b> SIZE=1\rRCPT TO:<c@d>",
  "RCPT TO:<a\n@b>",
  "EHLO a\0b",
  "EHLO a\x7fb",
  "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
  "\xef\xbb\xbfEHLO x",
  "AVERBTHATISTOOLONGFORONE",
];
for (const text of NO_COMMANDS) {
  test(`no command: ${JSON.stringify(text)}`, () => {
    assert.equal(parseCommand(line(text)), undefined);
  });
}

test("item 29: what a HELO name is, and what none is", () => {
  for (const name of [
    "a",
    "client.example.org",
    "[192.0.2.1]",
    "[IPv6:2001:db8::1]",
    "my_pc",
    "x.",
    "b\xfccher.de",
  ])
    assert.equal(parseHelloName(name), name);
  for (const name of [
    "",
    "x y",
    "a".repeat(256),
    "a".repeat(1024),
    "<a>",
    "a(b)",
    "[a b]",
    "a;b",
    "a\0b",
    '"a"',
  ])
    assert.equal(parseHelloName(name), undefined, name.slice(0, 20));
});

const envelope = (address: string, ...parameters: [string, string?][]): Envelope => ({
  address,
  parameters: parameters.map(([name, value]) => ({ name, value })),
});

const MAILS: Readonly<Record<string, Envelope>> = {
  "FROM:<>": envelope(""),
  "from: <>": envelope(""),
  "FROM:<alice@example.org>": envelope("alice@example.org"),
  "FROM:<alice@example.org> SIZE=10 body=8BITMIME SmtpUtf8": envelope(
    "alice@example.org",
    ["SIZE", "10"],
    ["BODY", "8BITMIME"],
    ["SMTPUTF8"],
  ),
  'FROM:<"a b"@example.org>': envelope('"a b"@example.org'),
  'FROM:<"a@b"@example.org>': envelope('"a@b"@example.org'),
  'FROM:<"a\\"b"@example.org>': envelope('"a\\"b"@example.org'),
  "FROM:<a+b=c/d@example.org>": envelope("a+b=c/d@example.org"),
  "FROM:<\xc3\xbc@b\xc3\xbccher.example>": envelope("\xc3\xbc@b\xc3\xbccher.example"),
  "FROM:<a@b> AUTH=<> RET=HDRS ENVID=x+2By": envelope(
    "a@b",
    ["AUTH", "<>"],
    ["RET", "HDRS"],
    ["ENVID", "x+2By"],
  ),
};
for (const [text, expected] of Object.entries(MAILS)) {
  test(`MAIL ${JSON.stringify(text)}`, () => {
    assert.deepEqual(parseMail(text), expected);
  });
}

test("items 31, 32: MAIL and RCPT with paths and parameters that are none", () => {
  const paths = [
    "",
    "<",
    "<>>",
    "<<a@b>",
    "<<a@b>>",
    "a@b",
    "<a@b",
    "a@b>",
    "<a@b>x",
    "<a b@c>",
    "<a@b c>",
    "<a\0@b>",
    "<a\r@b>",
    "<a\n@b>",
    "<a\t@b>",
    "<a@b\r\nRCPT TO:<c@d>>",
    '<"">',
    '<""@b>',
    '<"a@b>',
    '<"a\r"@b>',
    "<@a,@b:c@d>",
    "<@a:c@d>",
    "<u%evil@ours>",
    '<"u%evil"@ours>',
    "<a!b>",
    "<a..b@c>",
    "<.a@c>",
    "<a.@c>",
    "<@c>",
    "<a@>",
    "<a@-c>",
    "<a@c.>",
    "<a@b@c>",
    "<a@[127.0.0.1>",
    "<a@[1;2]>",
    `<${"l".repeat(129)}@b>`,
    `<a@${"d".repeat(320)}>`,
  ];
  for (const path of paths) {
    assert.equal(parseMail(`FROM:${path}`), undefined, `MAIL ${JSON.stringify(path)}`);
    assert.equal(parseRcpt(`TO:${path}`), undefined, `RCPT ${JSON.stringify(path)}`);
  }
  const parameters = [
    "SIZE=1 SIZE=2",
    "size=1 SIZE=1",
    "=1",
    "SIZE=",
    "SIZE==1",
    "A\0=1",
    "SIZE=1\rRCPT",
    "A=\x7f",
    "-A=1",
    "Ä=1",
  ];
  for (const words of parameters) {
    assert.equal(parseMail(`FROM:<a@b> ${words}`), undefined, JSON.stringify(words));
    assert.equal(parseRcpt(`TO:<a@b> ${words}`), undefined, JSON.stringify(words));
  }
});

test("RCPT: nobody is no recipient, and the postmaster needs no domain", () => {
  assert.equal(parseRcpt("TO:<>"), undefined);
  assert.deepEqual(parseRcpt("TO:<postmaster>"), envelope("postmaster"));
  assert.deepEqual(parseRcpt("TO:<PostMaster>"), envelope("PostMaster"));
  assert.equal(parseRcpt("TO:<root>"), undefined);
  assert.equal(parseMail("FROM:<postmaster>"), undefined);
  assert.deepEqual(parseRcpt("TO:<u@[127.0.0.1]>"), envelope("u@[127.0.0.1]"));
  assert.deepEqual(
    parseRcpt("TO:<u@[IPv6:::1]> NOTIFY=NEVER"),
    envelope("u@[IPv6:::1]", ["NOTIFY", "NEVER"]),
  );
});

test("items 8, 35: a count is digits and nothing else", () => {
  for (const [text, count] of [
    ["0", 0],
    ["12", 12],
    ["007", 7],
    ["999999999999999", 999_999_999_999_999],
  ] as const)
    assert.equal(parseCount(text), count);
  for (const text of [
    undefined,
    "",
    "-1",
    "+1",
    "1e3",
    "1e9",
    "0x10",
    "12abc",
    "1.0",
    " 1",
    "1 ",
    "1_0",
    "Infinity",
  ])
    assert.equal(parseCount(text), undefined, text);
  for (const text of ["18446744073709551616", "99999999999999999999", "\u0661"])
    assert.equal(parseCount(text), undefined, text);
});

test("item 8: BDAT has a count, and LAST or nothing", () => {
  assert.deepEqual(parseBdat("0"), { size: 0, last: false });
  assert.deepEqual(parseBdat("86 last"), { size: 86, last: true });
  assert.deepEqual(parseBdat("86 LAST"), { size: 86, last: true });
  for (const text of [
    "",
    "LAST",
    "1e3",
    "12abc",
    "-1",
    "0x10",
    "99999999999999999999",
    "12  LAST",
    "12 LAST x",
    "12 LASTx",
    " 12",
    "12LAST",
  ])
    assert.equal(parseBdat(text), undefined, JSON.stringify(text));
});

const REPLIES: Readonly<Record<string, { code: number; last: boolean; text: string } | undefined>> = {
  "250 2.1.0 OK": { code: 250, last: true, text: "2.1.0 OK" },
  "250-SIZE 10": { code: 250, last: false, text: "SIZE 10" },
  "250": { code: 250, last: true, text: "" },
  "250 ": { code: 250, last: true, text: "" },
  "354 go": { code: 354, last: true, text: "go" },
  // RFC 5321 4.2: textstring has HT.
  "250 a\tb": { code: 250, last: true, text: "a\tb" },
  "550 b\xc3\xb6se": { code: 550, last: true, text: "b\xc3\xb6se" },
  "": undefined,
  "25": undefined,
  "150 x": undefined,
  "650 x": undefined,
  "2500 x": undefined,
  "250_x": undefined,
  "25O x": undefined,
  "٢٥٠ x": undefined,
  "250 a\0b": undefined,
  "250 a\rb": undefined,
  "250 \x1b[2J": undefined,
  "HTTP/1.1 200 OK": undefined,
};
for (const [text, expected] of Object.entries(REPLIES)) {
  test(`item 46: a backend's line ${JSON.stringify(text)}`, () => {
    assert.deepEqual(parseReplyLine(line(text)), expected);
  });
}

const anyText = fc.oneof(
  fc.uint8Array({ maxLength: 120 }).map((bytes) => Buffer.from(bytes).toString("latin1")),
  fc
    .array(
      fc.constantFrom(
        "MAIL",
        "RCPT",
        " ",
        "FROM:",
        "TO:",
        "<",
        ">",
        "a",
        "@",
        ".",
        '"',
        "\\",
        "[",
        "]",
        "%",
        "=",
        "SIZE",
        ";",
        "\r",
        "\n",
        "\0",
        "\xff",
        "250",
        "-",
      ),
      { maxLength: 30 },
    )
    .map((words) => words.join("")),
);

test("any bytes are a command, an envelope or a reply, or none: nothing throws", () => {
  fc.assert(
    fc.property(anyText, (text) => {
      const command = parseCommand(line(text));
      if (command) assert.match(`${command.verb} ${command.rest}`, /^[A-Z]{1,16} [^\x00-\x1f\x7f]*$/);
      const reply = parseReplyLine(line(text));
      if (reply)
        assert.match(formatReply({ code: reply.code, lines: [reply.text] }), /^[2-5]\d\d [^\r\n\0]*\r\n$/);
      parseHelloName(text);
      parseBdat(text);
    }),
    { numRuns: 5_000 },
  );
});

test("what leaves as an envelope is one line, and read again it is the same", () => {
  let whole = 0;
  fc.assert(
    fc.property(anyText, anyText, (path, parameters) => {
      for (const rest of [`FROM:<${path}>`, `FROM:<${path}@example.org> ${parameters}`, `FROM:${path}`]) {
        const read = parseMail(rest);
        if (!read) continue;
        whole += 1;
        const written = formatEnvelope("MAIL FROM", read);
        assert.match(written, /^MAIL FROM:<[^<>\x00-\x1f\x7f]*>(?: [!-~\x80-\xff]+)*\r\n$/);
        assert.deepEqual(parseMail(written.slice("MAIL ".length, -2)), read);
      }
    }),
    { numRuns: 5_000 },
  );
  assert.ok(whole > 50, `only ${whole} envelopes were any`);
});

test("grammar takes time in proportion to the line", () => {
  const parsers = [
    (text: string) => parseCommand(line(text)),
    (text: string) => parseMail(text),
    (text: string) => parseRcpt(text),
    (text: string) => parseHelloName(text),
    (text: string) => parseBdat(text),
    (text: string) => parseReplyLine(line(text)),
  ];
  const long = 200_000;
  const shapes = [
    "a",
    ".",
    "a.",
    '"',
    '\\"',
    "a-",
    "-",
    " ",
    "<",
    "<>",
    "@",
    "a@",
    "1",
    "A=1 ",
    "\xc3",
    "[a",
  ];
  for (const shape of shapes) {
    const many = shape.repeat(long / shape.length);
    for (const text of [
      many,
      `FROM:<${many}`,
      `TO:<${many}>`,
      `FROM:<a@b> ${many}`,
      `MAIL ${many}x`,
      `FROM:<"${many}`,
      `FROM:<a@${many}>`,
      `TO:<a@b>${many};`,
    ])
      for (const parse of parsers) {
        const before = performance.now();
        parse(text);
        const ms = performance.now() - before;
        assert.ok(ms < 500, `${JSON.stringify(text.slice(0, 30))}: ${ms} ms`);
      }
  }
});
