import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { formatBody, formatEnvelope } from "../../src/sandbox/imap/structure.ts";
import { MAX_DEPTH, MAX_PARTS, type MimePart, parseMime } from "../../src/sandbox/mime.ts";
import { bodyText, decodeHeaderText } from "../../src/sandbox/mime-text.ts";
import { parseAddresses, parseParameterized } from "../../src/sandbox/structured-field.ts";

function mail(...lines: string[]): Buffer {
  return Buffer.from(lines.join("\r\n"), "latin1");
}

function bodyOf(raw: Buffer, part: MimePart | undefined): string | undefined {
  return part && raw.toString("latin1", part.header.end, part.end);
}

const NESTED = mail(
  'Content-Type: multipart/mixed; boundary="outer"',
  "",
  "preamble",
  "--outer",
  "",
  "first",
  "--outer is no delimiter here",
  "--outer \t",
  'Content-Type: multipart/alternative; boundary="outer-2"',
  "",
  "--outer-2",
  "Content-Type: text/html",
  "",
  "<b>",
  "--outer-2--",
  "--outer",
  "Content-Type: message/rfc822",
  "",
  "Subject: carried",
  "",
  "inside",
  "--outer--",
  "epilogue",
);

test("parts are found where their delimiters are, without the line end before", () => {
  const tree = parseMime(NESTED);
  assert.equal(tree.children.length, 3);
  assert.equal(bodyOf(NESTED, tree.children[0]), "first\r\n--outer is no delimiter here");
  assert.equal(bodyOf(NESTED, tree.children[1]?.children[0]), "<b>");
  assert.equal(bodyOf(NESTED, tree.children[2]?.message), "inside");
});

test("bare line feeds, a missing end and an empty part are all understood", () => {
  const raw = Buffer.from("Content-Type: multipart/mixed; boundary=x\n\n--x\n--x\nA: b\n\nlast");
  const tree = parseMime(raw);
  assert.deepEqual(
    tree.children.map((child) => bodyOf(raw, child)),
    ["", "last"],
  );
});

test("what is no multipart after all is plain text", () => {
  for (const raw of [
    mail("Content-Type: multipart/mixed", "", "x"),
    mail("Content-Type: multipart/mixed; boundary=b", "", "x"),
    mail("Content-Type: multipart/mixed; boundary=b", "", "--b--", ""),
    mail("Content-Type: nonsense", "", "x"),
    mail(""),
  ]) {
    const { type, subtype, children } = parseMime(raw);
    assert.deepEqual([type, subtype, children.length], ["text", "plain", 0]);
  }
});

test("in a digest an untyped part is a message", () => {
  const raw = mail(
    "Content-Type: multipart/digest; boundary=d",
    "",
    "--d",
    "",
    "Subject: s",
    "",
    "t",
    "--d--",
  );
  assert.equal(bodyOf(raw, parseMime(raw).children[0]?.message), "t");
});

test("depth and number of parts are bounded", () => {
  const nested = Array.from({ length: 200 }, () => "Content-Type: message/rfc822\r\n\r\n").join("");
  let depth = 0;
  for (let part = parseMime(Buffer.from(nested)); part.message; part = part.message) depth++;
  assert.equal(depth, MAX_DEPTH);
  const wide = `Content-Type: multipart/mixed; boundary=b\r\n\r\n${"--b\r\n\r\n\r\n".repeat(5000)}`;
  assert.equal(parseMime(Buffer.from(wide)).children.length, MAX_PARTS - 1);
});

test("BODYSTRUCTURE says what RFC 3501 says it does", () => {
  const raw = mail(
    'Content-Type: text/plain; charset=UTF-8; name="a \\"b\\""',
    "Content-ID: <1@x>",
    "Content-Transfer-Encoding: 8bit",
    'Content-Disposition: inline; filename="f"',
    "Content-Language: de, en",
    "",
    "one",
    "two",
    "",
  );
  assert.equal(
    formatBody(raw, parseMime(raw), true),
    '("text" "plain" ("charset" "UTF-8" "name" "a \\"b\\"") "<1@x>" NIL "8bit" 10 2 ' +
      'NIL ("inline" ("filename" "f")) ("de" "en") NIL)',
  );
  assert.match(
    formatBody(NESTED, parseMime(NESTED), false),
    /^\(\("text" .*\("message" "rfc822" .* "mixed"\)$/s,
  );
});

test("ENVELOPE takes From for an absent Sender and Reply-To", () => {
  const raw = mail("From: A <a@x>", "Reply-To:", "Subject: caf\xe9", "To: g: b@y, c@z;", "", "");
  assert.equal(
    formatEnvelope(raw, parseMime(raw).header),
    '(NIL {4}\r\ncaf\xe9 (("A" NIL "a" "x")) (("A" NIL "a" "x")) (("A" NIL "a" "x")) ' +
      '((NIL NIL "g" NIL)(NIL NIL "b" "y")(NIL NIL "c" "z")(NIL NIL NIL NIL)) NIL NIL NIL NIL)',
  );
});

test("addresses", () => {
  const address = (name: string | undefined, mailbox: string, host: string): object => ({
    name,
    mailbox,
    host,
  });
  const table: [string, object[]][] = [
    ["a@x", [address(undefined, "a", "x")]],
    ["a@x (Ann), B <b@y>", [address(undefined, "a", "x"), address("B", "b", "y")]],
    ['"Last, First" <"odd box"@y>', [address("Last, First", "odd box", "y")]],
    ["Ann of the  North <a.n@x.example>", [address("Ann of the North", "a.n", "x.example")]],
    ["<@relay,@other:a@x>", [address(undefined, "a", "x")]],
    [
      "undisclosed-recipients:;",
      [
        { name: undefined, mailbox: "undisclosed-recipients", host: undefined },
        { name: undefined, mailbox: undefined, host: undefined },
      ],
    ],
    ["root", [address(undefined, "root", "")]],
    ["", []],
  ];
  for (const [text, expected] of table) assert.deepEqual(parseAddresses(text), expected, text);
});

test("parameters", () => {
  assert.deepEqual(parseParameterized('Text/Plain (hm); CHARSET="a;b" ; x=y; broken; z = "q'), {
    value: "Text/Plain",
    parameters: [
      ["charset", "a;b"],
      ["x", "y"],
      ["z", "q"],
    ],
  });
});

test("text is decoded for searching", () => {
  assert.equal(decodeHeaderText("=?utf-8?Q?caf=C3=A9_?= =?iso-8859-1?B?6Q==?= x"), "café é x");
  assert.equal(decodeHeaderText("=?no-such-set?Q?a?= caf\xe9"), "a café");
  const raw = mail("Content-Transfer-Encoding: quoted-printable", "", "soft =", "break =C3=A9");
  assert.equal(bodyText(raw), "soft break é");
});

const bits = fc.constantFrom(
  "Content-Type: multipart/mixed; boundary=b\r\n",
  "Content-Type: message/rfc822\r\n",
  'Content-Type: text/plain; charset*0="x\r\n',
  "From: a <b@c>, (x\r\n",
  "--b\r\n",
  "--b--\r\n",
  "\r\n",
  "\n",
  "--b",
  " folded\r\n",
  "\0\xff",
);

test("whatever the bytes, parts lie inside their parents and in order", () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(bits, fc.string()), { maxLength: 40 }), (pieces) => {
      const raw = Buffer.from(pieces.join(""), "latin1");
      const check = (part: MimePart, start: number, end: number): void => {
        assert.ok(start <= part.header.start && part.header.start <= part.header.end);
        assert.ok(part.header.end <= part.end && part.end <= end);
        let from = part.header.end;
        for (const child of part.children) {
          check(child, from, part.end);
          from = child.end;
        }
        if (part.message) check(part.message, part.header.end, part.end);
      };
      const tree = parseMime(raw);
      check(tree, 0, raw.length);
      formatBody(raw, tree, true);
      formatEnvelope(raw, tree.header);
      bodyText(raw);
    }),
    { numRuns: 1000 },
  );
});
