import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import { test } from "node:test";
import fc from "fast-check";
import { Connection } from "../../src/sandbox/connection.ts";
import { MailStore } from "../../src/sandbox/mail-store.ts";
import { execute } from "../../src/sandbox/smtp/commands.ts";
import { DotDecoder } from "../../src/sandbox/smtp/dot-decoder.ts";
import {
  isHelloName,
  parseBdat,
  parseCommand,
  parseForwardPath,
  parseReversePath,
} from "../../src/sandbox/smtp/grammar.ts";
import { type Role, SmtpSession } from "../../src/sandbox/smtp/session.ts";

/** Bytes cut anywhere. */
function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const ends = [...places.map((place) => place % (bytes.length + 1)), 0, bytes.length].sort((a, b) => a - b);
  return ends.slice(1).map((end, index) => bytes.subarray(ends[index], end));
}

const places = fc.array(fc.nat(), { maxLength: 30 });

test("lines and the commands that they are", () => {
  const table: [string, ReturnType<typeof parseCommand>][] = [
    ["noop", { verb: "NOOP", rest: "" }],
    ["Mail from:<a@b>  SIZE=1 ", { verb: "MAIL", rest: "from:<a@b>  SIZE=1" }],
    ["EHLO zoë", { verb: "EHLO", rest: "zoë" }],
    ["", undefined],
    [" NOOP", undefined],
    ["NOOP\tx", undefined],
    ["NOOP \0", undefined],
    ["RSET\rQUIT", undefined],
    ["MAIL<", undefined],
  ];
  for (const [line, command] of table) assert.deepEqual(parseCommand(Buffer.from(line)), command, line);
  assert.equal(parseCommand(Buffer.from("EHLO zo\xeb", "latin1")), undefined);
});

test("paths, and what is none", () => {
  const reverse = (text: string) => parseReversePath(text)?.address;
  const forward = (text: string) => parseForwardPath(text)?.address;
  assert.equal(reverse("FROM:<>"), "");
  assert.equal(reverse("from: <a@b.example>"), "a@b.example");
  assert.equal(reverse("FROM:<@relay,@other:a@b.example>"), "a@b.example");
  assert.equal(reverse('FROM:<"a b"@c>'), '"a b"@c');
  assert.equal(forward("TO:<PostMaster>"), "PostMaster");
  assert.equal(forward("TO:<zoë@example.org>"), "zoë@example.org");
  for (const bad of [
    "",
    "FROM",
    "FROM:a@b",
    "FROM:<a>",
    "FROM:<a@b",
    "FROM:<a b@c>",
    "FROM:<a@b>x",
    "TO:<a@b>",
  ])
    assert.equal(reverse(bad), undefined, bad);
  for (const bad of ["TO:<>", "TO:<a@b@c>", "TO:<a,b@c>", `TO:<${"a".repeat(300)}@b>`, "TO:<a@>", "TO:<@b>"])
    assert.equal(forward(bad), undefined, bad);
});

test("parameters stand once, by name", () => {
  const parameters = (text: string) => parseReversePath(`FROM:<a@b> ${text}`)?.parameters;
  assert.deepEqual(Object.fromEntries(parameters("size=5 SMTPUTF8 AUTH=<>") ?? []), {
    SIZE: "5",
    SMTPUTF8: "",
    AUTH: "<>",
  });
  for (const bad of ["SIZE=1 size=2", "=1", "SIZE=", "A=b=c", "-A"])
    assert.equal(parameters(bad), undefined, bad);
});

test("BDAT counts octets", () => {
  assert.deepEqual(parseBdat("0 last"), { size: 0, isLast: true });
  assert.deepEqual(parseBdat("86"), { size: 86, isLast: false });
  for (const bad of ["", "LAST", "-1", "1.5", "1e3", "1 LAST x", "9".repeat(16)])
    assert.equal(parseBdat(bad), undefined, bad);
});

test("a name behind EHLO is one that a Received field can hold", () => {
  for (const good of ["mail.example.org", "[127.0.0.1]", "[IPv6:::1]", "my_pc", "zoë.example"])
    assert.ok(isHelloName(good), good);
  for (const bad of ["", "a b", "a(b)", "a;b", "<a>", "x".repeat(256)]) assert.ok(!isHelloName(bad), bad);
});

function decode(chunks: readonly Buffer[]): { content: string; rest: string; ended: boolean } {
  const decoder = new DotDecoder();
  const content: Buffer[] = [];
  for (const [index, chunk] of chunks.entries()) {
    const { used, ended } = decoder.push(chunk, (piece) => content.push(piece));
    if (ended) {
      const rest = Buffer.concat([chunk.subarray(used), ...chunks.slice(index + 1)]);
      return { content: Buffer.concat(content).toString("latin1"), rest: rest.toString("latin1"), ended };
    }
    assert.equal(used, chunk.length);
  }
  return { content: Buffer.concat(content).toString("latin1"), rest: "", ended: false };
}

test("content behind DATA ends at CR LF dot CR LF, and nowhere else", () => {
  const table: [sent: string, content: string][] = [
    [".\r\nQUIT\r\n", ""],
    ["a\r\n.\r\nQUIT\r\n", "a\r\n"],
    ["..\r\n...\r\n.a\r\n.\r\nQUIT\r\n", ".\r\n..\r\na\r\n"],
    ["a\n.\nb\r.\rc\r\n.\r\nQUIT\r\n", "a\n.\nb\r.\rc\r\n"],
    ["a\n.\r\nb\r.\r\n.\r\nQUIT\r\n", "a\n.\r\nb\r.\r\n"],
    ["\r\n.\rb\r\n.\r\r\n.\r\nQUIT\r\n", "\r\n\rb\r\n\r\r\n"],
    ["\r\n.\n\r\n.\r\nQUIT\r\n", "\r\n\n\r\n"],
  ];
  for (const [sent, content] of table)
    assert.deepEqual(decode([Buffer.from(sent)]), { content, rest: "QUIT\r\n", ended: true }, sent);
});

test("dots that were stuffed come off again, however the bytes were cut", () => {
  const line = fc.stringMatching(/^[.a\r\n]{0,6}$/);
  fc.assert(
    fc.property(fc.array(line), places, (lines, where) => {
      const content = lines.map((text) => `${text}\r\n`).join("");
      const stuffed = `${content.replace(/(^|\r\n)\./g, "$1..")}.\r\nQUIT\r\n`;
      const chunks = cut(Buffer.from(stuffed), where);
      assert.deepEqual(decode(chunks), { content, rest: "QUIT\r\n", ended: true });
    }),
    { numRuns: 2000 },
  );
});

/** Everything that a session says to chunks that come one by one, and the mail that bob has then. */
async function converse(role: Role, chunks: readonly Buffer[]): Promise<{ said: string; mail: string[] }> {
  const waiting = chunks.filter((chunk) => chunk.length > 0);
  const said: Buffer[] = [];
  const socket = new Duplex({
    readableHighWaterMark: 1,
    read: () => socket.push(waiting.shift() ?? null),
    write(chunk: Buffer, _encoding, done) {
      said.push(chunk);
      done();
    },
  });
  const accounts = ["alice@example.org", "bob@example.org"].map((name) => ({ name, password: "pw" }));
  const store = new MailStore(accounts);
  const faults: unknown[] = [];
  const options = {
    role,
    store,
    name: "north",
    secureContext: undefined,
    postmaster: undefined,
    accountElsewhere: () => undefined,
    onFault: (error: unknown) => faults.push(error),
  };
  await new SmtpSession(new Connection(socket as Socket), options, execute).run();
  assert.deepEqual(faults, []);
  const mail = store.account("bob@example.org")?.inbox.messages.map(({ raw }) => raw.toString("latin1"));
  const timeless = mail?.map((text) => text.replace(/ id [^\r]*/, ""));
  return { said: Buffer.concat(said).toString("latin1"), mail: timeless ?? [] };
}

const TRANSACTION = ["MAIL FROM:<alice@example.org>", "RCPT TO:<bob@example.org>"];
const PLAIN = `AUTH PLAIN ${Buffer.from("\0alice@example.org\0pw").toString("base64")}`;
const WORDS = fc.constantFrom(
  "EHLO here",
  "HELO here",
  PLAIN,
  "AUTH LOGIN\r\nYWxpY2VAZXhhbXBsZS5vcmc=\r\ncHc=",
  "AUTH PLAIN\r\n*",
  ...TRANSACTION,
  [...TRANSACTION, "DATA", "Subject: 1", "", "..dot", "."].join("\r\n"),
  [...TRANSACTION, "BDAT 4\r\na\r\nbBDAT 3 LAST\r\nc\r\nNOOP"].join("\r\n"),
  "MAIL FROM:<> SIZE=99999999999 BODY=8BITMIME",
  "RCPT TO:<carol@example.org>",
  "DATA",
  ".",
  "BDAT 6\r\nRSET",
  "BDAT 0 LAST",
  "BDAT x",
  "STARTTLS",
  "RSET",
  "VRFY bob",
  "HELP",
  "\0\xff\r",
  "x".repeat(13_000),
);

test("any cut of any bytes gives the same replies and the same mail, and no session fails", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom<Role>("submission", "MX"),
      fc.array(WORDS, { maxLength: 15 }),
      fc.boolean(),
      places,
      async (role, words, prepared, where) => {
        const opening = prepared ? ["EHLO here", PLAIN] : [];
        const text = [...opening, ...words, "QUIT"].map((word) => `${word}\r\n`).join("");
        const bytes = Buffer.from(text, "latin1");
        assert.deepEqual(await converse(role, cut(bytes, where)), await converse(role, [bytes]));
      },
    ),
    { numRuns: 500 },
  );
});

test("one byte at a time, a whole session", async () => {
  const lines = ["EHLO here", PLAIN, ...TRANSACTION, "DATA", "Subject: 1", "", "..dot", ".", "QUIT"];
  const bytes = Buffer.from(lines.map((line) => `${line}\r\n`).join(""));
  const { said, mail } = await converse("submission", cut(bytes, [...bytes.keys()]));
  assert.deepEqual(
    said.split("\r\n").map((line) => line.slice(0, 3)),
    ["220", ...Array(8).fill("250"), "235", "250", "250", "354", "250", "221", ""],
  );
  assert.equal(
    mail[0],
    "Return-Path: <alice@example.org>\r\nReceived: from here\r\n\tby north with ESMTPA\r\nSubject: 1\r\n\r\n.dot\r\n",
  );
});

test("nothing at all, and nothing but rubbish", async () => {
  assert.equal((await converse("MX", [])).said, "220 north ESMTP ready\r\n");
  await fc.assert(
    fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 300 })), async (chunks) => {
      await converse("submission", chunks.map(Buffer.from));
    }),
  );
});
