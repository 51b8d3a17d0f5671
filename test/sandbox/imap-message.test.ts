import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { eventually } from "../support/waiting.ts";
import { fillInbox, sandboxFor, selected, signedIn } from "./support.ts";

const LETTER = [
  "From: Ann <ann@x.example>",
  "Subject: =?utf-8?Q?caf=C3=A9?=",
  "Date: Tue, 7 Jul 2026 23:30:00 -0800",
  'Content-Type: multipart/mixed; boundary="b"',
  "",
  "--b",
  "Content-Type: text/plain; charset=utf-8",
  "Content-Transfer-Encoding: base64",
  "",
  "aGlkZGVuIHRyZWFzdXJl",
  "--b",
  "Content-Type: message/rfc822",
  "",
  "Subject: within",
  "X-Y: z",
  "",
  "inner",
  "--b--",
  "",
].join("\r\n");

test("APPEND keeps bytes, flags and date, and says the UID", async (t) => {
  const sandbox = await sandboxFor(t);
  const client = await signedIn(t, sandbox);
  const validity = sandbox.store.account("alice")?.inbox.uidValidity;
  const mail = "A: \xe9\r\n\r\n\xff\x01\r\n";
  await client.wire.send(`a APPEND INBOX (\\Seen Work) " 1-Feb-2026 00:30:00 +0100" {${mail.length}}`);
  await client.wire.expect("+ ");
  await client.wire.sendRaw(`${mail}\r\n`);
  await client.wire.expect(`a OK [APPENDUID ${validity} 1] Appended`);
  await client.ok("SELECT INBOX");
  assert.deepEqual(await client.ok("FETCH 1 (FLAGS INTERNALDATE RFC822)"), [
    '* 1 FETCH (FLAGS (\\Seen Work \\Recent) INTERNALDATE "31-Jan-2026 23:30:00 +0000" RFC822 {12}',
    "A: \xe9",
    "",
    "\xff\x01",
    ")",
  ]);
  assert.match(await client.tagged("APPEND nope {1+}\r\nx"), /^tag NO \[TRYCREATE\]/);
  assert.match(await client.tagged("APPEND INBOX {1+}\r\n\0"), /^tag NO \[CANNOT\]/);
  assert.deepEqual(await client.ok("APPEND INBOX {1+}\r\nx"), ["* 2 EXISTS", "* 2 RECENT"]);
});

test("BODY[…] finds every part", async (t) => {
  const sandbox = await sandboxFor(t);
  sandbox.store.account("alice")?.inbox.append(Buffer.from(LETTER));
  const client = await selected(t, sandbox);
  const fetch = async (section: string): Promise<string> => {
    const lines = await client.ok(`FETCH 1 (BODY.PEEK[${section})`);
    return lines.join("\r\n").replace(/^\* 1 FETCH \(BODY/, "");
  };
  const literal = (text: string): string => ` {${text.length}}\r\n${text})`;
  assert.equal(await fetch("]"), `[]${literal(LETTER)}`);
  assert.equal(await fetch("]<6.3>"), `[]<6>${literal("Ann")}`);
  assert.equal(await fetch("]<9999.3>"), `[]<9999>${literal("")}`);
  assert.equal(await fetch("1]"), `[1]${literal("aGlkZGVuIHRyZWFzdXJl")}`);
  assert.equal(await fetch("2.MIME]"), `[2.MIME]${literal("Content-Type: message/rfc822\r\n\r\n")}`);
  assert.equal(await fetch("2.HEADER]"), `[2.HEADER]${literal("Subject: within\r\nX-Y: z\r\n\r\n")}`);
  assert.equal(await fetch("2.TEXT]"), `[2.TEXT]${literal("inner")}`);
  assert.equal(await fetch("2.1]"), `[2.1]${literal("inner")}`);
  assert.equal(
    await fetch("2.HEADER.FIELDS.NOT (x-y)]"),
    `[2.HEADER.FIELDS.NOT (X-Y)]${literal("Subject: within\r\n\r\n")}`,
  );
  assert.equal(
    await fetch('HEADER.FIELDS ("from" Nope)]'),
    `[HEADER.FIELDS (FROM NOPE)]${literal("From: Ann <ann@x.example>\r\n\r\n")}`,
  );
  for (const absent of ["3", "1.1", "2.2", "1.HEADER"])
    assert.equal(await fetch(`${absent}]`), `[${absent}] NIL)`);
});

test("reading without PEEK marks as seen and says so", async (t) => {
  const sandbox = await sandboxFor(t);
  fillInbox(sandbox, 2);
  const client = await selected(t, sandbox);
  assert.deepEqual(await client.ok("FETCH 1 BODY.PEEK[TEXT]"), ["* 1 FETCH (BODY[TEXT] {8}", "body 1", ")"]);
  assert.equal(
    (await client.ok("FETCH 1 BODY[TEXT]"))[0],
    "* 1 FETCH (FLAGS (\\Seen \\Recent) BODY[TEXT] {8}",
  );
  assert.equal((await client.ok("FETCH 1 BODY[TEXT]"))[0], "* 1 FETCH (BODY[TEXT] {8}");
  assert.deepEqual(await client.ok("UID FETCH 1:* FLAGS"), [
    "* 1 FETCH (UID 1 FLAGS (\\Seen \\Recent))",
    "* 2 FETCH (UID 2 FLAGS (\\Recent))",
  ]);
});

test("STORE adds, removes, replaces, and can be silent", async (t) => {
  const sandbox = await sandboxFor(t);
  fillInbox(sandbox, 1);
  const client = await selected(t, sandbox);
  await client.ok("SELECT INBOX");
  assert.deepEqual(await client.ok("STORE 1 +FLAGS (\\Seen $Forwarded)"), [
    "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Forwarded)",
    "* OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Forwarded \\*)] Flags that stay",
    "* 1 FETCH (FLAGS (\\Seen $Forwarded))",
  ]);
  assert.deepEqual(await client.ok("UID STORE 1 -FLAGS \\seen"), ["* 1 FETCH (UID 1 FLAGS ($Forwarded))"]);
  assert.deepEqual(await client.ok("STORE 1 FLAGS.SILENT \\Draft"), []);
  assert.deepEqual(await client.ok("UID STORE 9 FLAGS \\Draft"), []);
  assert.match(await client.tagged("STORE 2 FLAGS ()"), /^tag BAD/);
});

test("SEARCH finds by everything it can", async (t) => {
  const sandbox = await sandboxFor(t);
  fillInbox(sandbox, 3);
  const inbox = sandbox.store.account("alice")?.inbox;
  inbox?.append(Buffer.from(LETTER), ["\\Seen", "Work"], new Date("2026-08-01T00:00:00Z"));
  const client = await selected(t, sandbox);
  const table: [string, string][] = [
    ["ALL", " 1 2 3 4"],
    ["2:3", " 2 3"],
    ["UID 4:*", " 4"],
    ["SEEN", " 4"],
    ["UNSEEN NOT 2", " 1 3"],
    ["OR 1 SEEN", " 1 4"],
    ["KEYWORD work", " 4"],
    ["UNKEYWORD WORK", " 1 2 3"],
    ["FROM ANN@", " 4"],
    ['HEADER Date ""', " 4"],
    ["HEADER X-Y z", ""],
    ["TEXT caf", " 4"],
    ["CHARSET UTF-8 SUBJECT {5+}\r\nCAF\xc3\x89", " 4"],
    ["BODY treasure", " 4"],
    ["BODY within", " 4"],
    ['BODY "body 2"', " 2"],
    ["LARGER 100", " 4"],
    ["SMALLER 100 (SUBJECT 1)", " 1"],
    ["ON 7-Jul-2026", " 1 2 3"],
    ["SINCE 8-Jul-2026", " 4"],
    ["BEFORE 8-Jul-2026", " 1 2 3"],
    ["SENTON 7-Jul-2026", " 4"],
    ["NEW", " 1 2 3"],
    ["OLD", ""],
  ];
  for (const [keys, found] of table)
    assert.deepEqual(await client.ok(`SEARCH ${keys}`), [`* SEARCH${found}`], keys);
  assert.deepEqual(await client.ok("UID SEARCH 4"), ["* SEARCH 4"]);
  assert.match(await client.tagged("SEARCH CHARSET KOI8-R ALL"), /^tag NO \[BADCHARSET \(US-ASCII UTF-8\)\]/);
});

test("COPY and MOVE say which became which", async (t) => {
  const sandbox = await sandboxFor(t);
  fillInbox(sandbox, 4);
  const client = await selected(t, sandbox);
  const trash = sandbox.store.account("alice")?.get("Trash");
  assert.equal(
    await client.tagged("COPY 2:3 Trash"),
    `tag OK [COPYUID ${trash?.uidValidity} 2:3 1:2] Copied`,
  );
  assert.deepEqual(await client.send("MOVE 1,3 Trash"), [
    `* OK [COPYUID ${trash?.uidValidity} 1,3 3:4] Moved`,
    "* 3 EXPUNGE",
    "* 1 EXPUNGE",
    "tag OK Moved",
  ]);
  assert.deepEqual(await client.ok("UID SEARCH ALL"), ["* SEARCH 2 4"]);
  assert.equal(await client.tagged("UID COPY 99 Trash"), "tag OK Copied");
  assert.match(await client.tagged("COPY 1 nope"), /^tag NO \[TRYCREATE\]/);
  assert.match(await client.tagged("MOVE 9 Trash"), /^tag BAD/);
});

test("EXPUNGE announces from the last to the first; UID EXPUNGE only takes what it names", async (t) => {
  const sandbox = await sandboxFor(t);
  fillInbox(sandbox, 5);
  const client = await selected(t, sandbox);
  await client.ok("STORE 1,3:5 +FLAGS.SILENT \\Deleted");
  assert.deepEqual(await client.ok("UID EXPUNGE 2:3"), ["* 3 EXPUNGE"]);
  assert.deepEqual(await client.ok("EXPUNGE"), ["* 4 EXPUNGE", "* 3 EXPUNGE", "* 1 EXPUNGE"]);
});

test("a full account says so", async (t) => {
  const sandbox = await sandboxFor(t);
  const inbox = sandbox.store.account("alice")?.inbox;
  inbox?.append(Buffer.alloc(40 * 1024 * 1024, "x"));
  const client = await selected(t, sandbox);
  assert.match(await client.tagged("COPY 1 Trash"), /^tag NO \[OVERQUOTA\]/);
});

test("a client that does not read holds up its own FETCH and nobody else's", async (t) => {
  const sandbox = await sandboxFor(t);
  const inbox = sandbox.store.account("alice")?.inbox;
  const [first, second] = [
    inbox?.append(Buffer.alloc(20 * 1024 * 1024, "y")),
    inbox?.append(Buffer.from("z")),
  ];
  const slow = await selected(t, sandbox);
  slow.wire.pause();
  await slow.wire.sendRaw("a FETCH 1:2 BODY[]\r\n");
  await eventually("the first message to be read", () => first?.flags.has("\\Seen"));
  const other = await selected(t, sandbox);
  await other.ok("FETCH 2 BODY.PEEK[]");
  await pause(100);
  assert.equal(second?.flags.has("\\Seen"), false);
});
