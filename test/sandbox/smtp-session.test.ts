import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Sandbox } from "../../src/sandbox/sandbox.ts";
import { certificateAuthority } from "../support/certificates.ts";
import { type Conversation, connect } from "../support/conversation.ts";
import { eventually } from "../support/waiting.ts";
import { sandboxFor } from "./support.ts";

const ACCOUNTS = [
  { name: "alice@example.org", password: "wonder" },
  { name: "bob@example.org", password: "builder" },
];
const EXTENSIONS = ["PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING", "SIZE 52427776"];
const MIB = 1024 * 1024;

function base64(text: string): string {
  return Buffer.from(text).toString("base64");
}

type Options = Parameters<typeof sandboxFor>[1];

function mailSandbox(t: TestContext, options: Options = {}): Promise<Sandbox> {
  return sandboxFor(t, { accounts: ACCOUNTS, ...options });
}

async function greeted(t: TestContext, port: number): Promise<Conversation> {
  const client = await connect({ port });
  t.after(() => client[Symbol.asyncDispose]());
  await client.expect("220 north ESMTP ready");
  return client;
}

/** Sends a line and gives its whole reply. */
async function say(client: Conversation, line: string): Promise<string[]> {
  await client.send(line);
  return client.expectUntil(/^\d{3} /);
}

/** Lines, each with what its reply must begin with. */
async function converse(client: Conversation, lines: readonly (readonly [string, string])[]): Promise<void> {
  for (const [line, expected] of lines) {
    await client.send(line);
    await client.expect(expected);
  }
}

/** Another server, that has said who it is. */
async function server(t: TestContext, sandbox: Sandbox): Promise<Conversation> {
  const client = await greeted(t, sandbox.smtpPort);
  await say(client, "EHLO mx.harbour.example");
  return client;
}

/** Alice, signed in for submission. */
async function alice(t: TestContext, sandbox: Sandbox): Promise<Conversation> {
  const client = await greeted(t, sandbox.submissionPort);
  await say(client, "EHLO laptop");
  await client.send(`AUTH PLAIN ${base64("\0alice@example.org\0wonder")}`);
  await client.expect("235 2.7.0");
  return client;
}

/** The INBOX as texts, without what differs from run to run. */
function inbox(sandbox: Sandbox, user = "bob@example.org"): string[] {
  const messages = sandbox.store.account(user)?.inbox.messages ?? [];
  return messages.map(({ raw }) => raw.toString("latin1").replace(/ id [0-9a-f]{12}; .* \+0000\r\n/, "\r\n"));
}

function trace(by: string): string {
  return `Received: from laptop\r\n\tby north with ${by}\r\n`;
}

test("submission says what it can, signs in, and puts a message into the INBOX", async (t) => {
  const sandbox = await mailSandbox(t);
  const client = await greeted(t, sandbox.submissionPort);
  const offers = [...EXTENSIONS, "AUTH PLAIN LOGIN"];
  assert.deepEqual(await say(client, "EHLO laptop"), [
    "250-north",
    ...offers.slice(0, -1).map((offer) => `250-${offer}`),
    "250 AUTH PLAIN LOGIN",
  ]);
  await converse(client, [
    ["MAIL FROM:<alice@example.org>", "530 5.7.0"],
    [`AUTH PLAIN ${base64("\0alice@example.org\0wonder")}`, "235 2.7.0"],
    [`AUTH PLAIN ${base64("\0alice@example.org\0wonder")}`, "503 5.5.1"],
    ["MAIL FROM:<alice@example.org> SIZE=40 BODY=8BITMIME AUTH=<>", "250 2.1.0"],
    ["RCPT TO:<bob@EXAMPLE.org>", "250 2.1.5"],
    ["RCPT TO:<carol@example.org>", "550 5.1.1"],
    ["RCPT TO:<bob@example.org>", "250 2.1.5"],
    ["DATA", "354 "],
    ["Subject: hi\r\n\r\n..\r\n...x\r\n.", "250 2.0.0"],
    ["QUIT", "221 2.0.0"],
  ]);
  await client.expectClosed();
  const expected = `Return-Path: <alice@example.org>\r\n${trace("ESMTPA")}Subject: hi\r\n\r\n.\r\n..x\r\n`;
  assert.deepEqual(inbox(sandbox), [expected]);
});

test("Received names a time that mail programs understand", async (t) => {
  const sandbox = await mailSandbox(t);
  const client = await server(t, sandbox);
  await converse(client, [
    ["MAIL FROM:<>", "250"],
    ["RCPT TO:<bob@example.org>", "250"],
    ["DATA", "354"],
    [".", "250"],
  ]);
  const raw = sandbox.store.account("bob@example.org")?.inbox.messages[0]?.raw.toString() ?? "";
  const lines =
    /^Return-Path: <>\r\nReceived: from mx\.harbour\.example\r\n\tby north with ESMTP id [0-9a-f]{12}; (.*)\r\n$/;
  const date = lines.exec(raw)?.[1] ?? assert.fail(raw);
  assert.match(date, /^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d \+0000$/);
  assert.ok(Math.abs(Date.parse(date) - Date.now()) < 60_000);
});

test("AUTH by PLAIN and LOGIN, at once, asked for, cancelled, and broken", async (t) => {
  const sandbox = await mailSandbox(t);
  const client = await greeted(t, sandbox.submissionPort);
  await converse(client, [
    ["AUTH PLAIN", "503 5.5.1"],
    ["HELO laptop", "250 north"],
    ["AUTH", "501 5.5.4"],
    ["AUTH GSSAPI", "504 5.5.4"],
    ["AUTH PLAIN a b", "501 5.5.4"],
    ["AUTH PLAIN =", "501 5.5.2"],
    ["AUTH PLAIN", "334 "],
    ["*", "501 5.7.0"],
    ["AUTH LOGIN", "334 VXNlcm5hbWU6"],
    [base64("alice@example.org"), "334 UGFzc3dvcmQ6"],
    ["?", "501 5.5.2"],
    [`AUTH PLAIN ${base64("\0alice@example.org\0builder")}`, "535 5.7.8"],
    [`AUTH PLAIN ${base64("\0nobody\0wonder")}`, "535 5.7.8"],
    [`AUTH login ${base64("alice@example.org")}`, "334 UGFzc3dvcmQ6"],
    [base64("wonder"), "235 2.7.0"],
  ]);
});

test("a master user sends as another", async (t) => {
  const sandbox = await mailSandbox(t, { masterUser: { user: "root", password: "toor", separator: "*" } });
  const client = await greeted(t, sandbox.submissionPort);
  await say(client, "EHLO laptop");
  await converse(client, [[`AUTH PLAIN ${base64("bob@example.org\0root\0toor")}`, "235"]]);
});

test("at the MX nobody signs in, and only those who live here get mail", async (t) => {
  const sandbox = await mailSandbox(t, { accountElsewhere: () => assert.fail("it was asked") });
  const client = await greeted(t, sandbox.smtpPort);
  assert.deepEqual(await say(client, "EHLO mx.harbour.example"), [
    "250-north",
    ...EXTENSIONS.slice(0, -1).map((offer) => `250-${offer}`),
    `250 ${EXTENSIONS.at(-1)}`,
  ]);
  await converse(client, [
    ["AUTH PLAIN", "500 5.5.1"],
    ["MAIL FROM:<zoe@harbour.example> AUTH=<>", "555 5.5.4"],
    ["MAIL FROM:<zoe@harbour.example>", "250"],
    ["RCPT TO:<somebody@elsewhere.example>", "550 5.1.1"],
    ["RCPT TO:<alice>", "501 5.1.3"],
    ["DATA", "554 5.5.1"],
    ["RCPT TO:<bob@example.org>", "250"],
    ["RCPT TO:<Postmaster>", "250"],
    ["DATA", "354"],
    ["Subject: both\r\n\r\n.", "250"],
  ]);
  for (const user of ["alice@example.org", "bob@example.org"])
    assert.match(inbox(sandbox, user)[0] ?? "", /^Return-Path: <zoe@.*Subject: both\r\n\r\n$/s);
});

test("a user's mail reaches who lives in another sandbox, in memory", async (t) => {
  const south = await sandboxFor(t, { accounts: [{ name: "dora@example.net", password: "x" }] });
  const north = await mailSandbox(t, { accountElsewhere: (address) => south.store.account(address) });
  const client = await alice(t, north);
  await converse(client, [
    ["MAIL FROM:<alice@example.org>", "250"],
    ["RCPT TO:<dora@Example.NET>", "250"],
    ["RCPT TO:<erin@example.net>", "550 5.1.1"],
    ["DATA", "354"],
    ["Subject: over there\r\n.", "250"],
  ]);
  assert.match(inbox(south, "dora@example.net")[0] ?? "", /Subject: over there\r\n$/);
});

test("commands out of order, and with what they do not take", async (t) => {
  const client = await greeted(t, (await mailSandbox(t)).smtpPort);
  await converse(client, [
    ["MAIL FROM:<a@b.example>", "503 5.5.1"],
    ["NOOP ignored", "250 2.0.0"],
    ["EHLO", "501 5.5.4"],
    ["EHLO (x)", "501 5.5.4"],
    ["HELO mx", "250 north"],
    ["RCPT TO:<bob@example.org>", "503 5.5.1"],
    ["DATA", "503 5.5.1"],
    ["STARTTLS", "503 5.5.1"],
    ["QUIT now", "501 5.5.4"],
    ["VRFY bob", "252 2.1.5"],
    ["EXPN all", "502 5.5.1"],
    ["HELP", "214 2.0.0"],
    ["XCLIENT ADDR=127.0.0.1", "500 5.5.1"],
    ["MAIL FROM:<a@b.example> SIZE=52427777", "552 5.3.4"],
    ["MAIL FROM:<a@b.example> SIZE=much", "501 5.5.4"],
    ["MAIL FROM:<a@b.example> BODY=BINARYMIME", "501 5.5.4"],
    ["MAIL FROM:<a@b.example> RET=HDRS", "555 5.5.4"],
    ["MAIL FROM:<a@b.example>", "250"],
    ["MAIL FROM:<a@b.example>", "503 5.5.1"],
    ["RCPT TO:<bob@example.org> NOTIFY=NEVER", "555 5.5.4"],
    ["RCPT TO:<bob@example.org>", "250"],
    ["HELO mx", "250"],
    ["DATA", "503 5.5.1"],
    ["MAIL FROM:<a@b.example>", "250"],
    ["RSET", "250"],
    ["RCPT TO:<bob@example.org>", "503 5.5.1"],
  ]);
});

test("addresses beyond ASCII need SMTPUTF8", async (t) => {
  const sandbox = await mailSandbox(t, { accounts: [{ name: "zoë@example.org", password: "x" }] });
  const client = await server(t, sandbox);
  const sends = async (line: string, expected: string): Promise<void> => {
    await client.sendRaw(Buffer.from(`${line}\r\n`));
    await client.expect(expected);
  };
  await sends("MAIL FROM:<josé@b.example>", "553 5.6.7");
  await sends("MAIL FROM:<jose@b.example>", "250");
  await sends("RCPT TO:<zoë@example.org>", "553 5.6.7");
  await sends("RSET", "250");
  await sends("MAIL FROM:<josé@b.example> SMTPUTF8 BODY=8BITMIME", "250");
  await sends("RCPT TO:<zoë@example.org>", "250");
  await sends("DATA", "354");
  await sends("Subject: été\r\n.", "250");
  const text = Buffer.from(inbox(sandbox, "zoë@example.org")[0] ?? "", "latin1").toString();
  assert.match(
    text,
    /^Return-Path: <josé@b\.example>\r\nReceived: .*\r\n\tby north with UTF8SMTP\r\nSubject: été\r\n$/,
  );
});

test("BDAT takes any bytes by their number", async (t) => {
  const sandbox = await mailSandbox(t);
  const client = await server(t, sandbox);
  await client.sendRaw("BDAT 6\r\nRSET\r\n");
  await client.expect("503 5.5.1");
  await converse(client, [["MAIL FROM:<>", "250"]]);
  await client.sendRaw("BDAT 6 LAST\r\nRSET\r\n");
  await client.expect("554 5.5.1");
  await converse(client, [["RCPT TO:<bob@example.org>", "250"]]);
  await client.sendRaw("BDAT 8\r\n.\r\n..\r\nyBDAT 0\r\nBDAT 2 LAST\r\n\r\nNOOP\r\n");
  for (const expected of ["250 2.0.0 8 octets", "250 2.0.0 0 octets", "250 2.0.0 Delivered", "250"])
    await client.expect(expected);
  assert.match(inbox(sandbox)[0] ?? "", /\tby north with ESMTP\r\n\.\r\n\.\.\r\ny\r\n$/);
  await converse(client, [
    ["MAIL FROM:<>", "250"],
    ["RCPT TO:<bob@example.org>", "250"],
    ["BDAT 3\r\nx", "250"],
    ["DATA", "503 5.5.1"],
    ["RCPT TO:<alice@example.org>", "503 5.5.1"],
    ["RSET", "250"],
    ["BDAT", "421 4.5.4"],
  ]);
  await client.expectClosed();
});

test("a whole pipeline is answered in order", async (t) => {
  const sandbox = await mailSandbox(t);
  const client = await server(t, sandbox);
  const lines = ["MAIL FROM:<>", "RCPT TO:<carol@x>", "RCPT TO:<bob@example.org>", "DATA", "a", ".", "QUIT"];
  await client.sendRaw(lines.map((line) => `${line}\r\n`).join(""));
  const replies = await client.readToClose();
  assert.deepEqual(
    replies.map((line) => line.slice(0, 3)),
    ["250", "550", "250", "354", "250", "221"],
  );
  assert.equal(inbox(sandbox).length, 1);
});

test("as much as SIZE says arrives, one byte more is refused and read to its end", async (t) => {
  const sandbox = await mailSandbox(t);
  const client = await server(t, sandbox);
  const most = Buffer.alloc(50 * MIB - 1024, "0123456789abcde\r\n");
  for (const [more, expected] of [
    ["x", "552 5.3.4"],
    ["", "250 2.0.0"],
  ] as const) {
    await converse(client, [
      ["MAIL FROM:<>", "250"],
      ["RCPT TO:<bob@example.org>", "250"],
    ]);
    await client.send(`BDAT ${most.length + more.length} LAST`);
    await client.sendRaw(most);
    await client.sendRaw(more);
    await client.expect(expected);
  }
  await converse(client, [
    ["MAIL FROM:<>", "250"],
    ["RCPT TO:<bob@example.org>", "250"],
    ["DATA", "354"],
  ]);
  await client.sendRaw(most);
  await converse(client, [["\r\n.", "552 5.3.4"]]);
  const [message, ...others] = sandbox.store.account("bob@example.org")?.inbox.messages ?? [];
  assert.equal(others.length, 0);
  assert.ok(message?.raw.subarray(-most.length).equals(most));
});

test("when one recipient's mailbox is full, no recipient gets the message", async (t) => {
  const sandbox = await mailSandbox(t);
  const full = sandbox.store.account("alice@example.org");
  full?.inbox.append(Buffer.alloc(49 * MIB));
  full?.inbox.append(Buffer.alloc(14 * MIB));
  const client = await server(t, sandbox);
  await converse(client, [
    ["MAIL FROM:<>", "250"],
    ["RCPT TO:<bob@example.org>", "250"],
    ["RCPT TO:<alice@example.org>", "250"],
  ]);
  await client.sendRaw(`BDAT ${2 * MIB} LAST\r\n${"x".repeat(2 * MIB)}`);
  await client.expect("452 4.2.2");
  assert.equal(inbox(sandbox).length, 0);
  assert.equal(sandbox.store.account("bob@example.org")?.quota.bytes, 0);
});

test("STARTTLS makes the session private and forgets what was said", async (t) => {
  const authority = await certificateAuthority();
  const sandbox = await mailSandbox(t, { tls: await authority.issue(["localhost"]) });
  for (const port of [sandbox.submissionPort, sandbox.smtpPort]) {
    const client = await greeted(t, port);
    assert.ok((await say(client, "EHLO laptop")).some((line) => line.endsWith("STARTTLS")));
    await converse(client, [
      ["STARTTLS now", "501 5.5.4"],
      ["STARTTLS", "220 2.0.0"],
    ]);
    await client.startTls({ ca: authority.ca, servername: "localhost" });
    await converse(client, [["MAIL FROM:<>", "503 5.5.1 EHLO first"]]);
    assert.ok(!(await say(client, "EHLO laptop")).some((line) => line.endsWith("STARTTLS")));
    await converse(client, [["STARTTLS", "503 5.5.1"]]);
    if (port === sandbox.submissionPort)
      await converse(client, [[`AUTH PLAIN ${base64("\0alice@example.org\0wonder")}`, "235"]]);
    await converse(client, [
      ["MAIL FROM:<alice@example.org>", "250"],
      ["RCPT TO:<bob@example.org>", "250"],
      ["DATA", "354"],
      ["x\r\n.", "250"],
    ]);
  }
  const start = "Return-Path: <alice@example.org>\r\n";
  assert.deepEqual(inbox(sandbox), [`${start}${trace("ESMTPSA")}x\r\n`, `${start}${trace("ESMTPS")}x\r\n`]);
});

test("bytes behind STARTTLS end the session (RFC 3207 4.2)", async (t) => {
  const authority = await certificateAuthority();
  const sandbox = await mailSandbox(t, { tls: await authority.issue(["localhost"]) });
  const client = await greeted(t, sandbox.submissionPort);
  await client.sendRaw("STARTTLS\r\nEHLO injected\r\n");
  assert.deepEqual(await client.readToClose(), ["421 4.7.0 Bytes behind STARTTLS"]);
});

test("who sends nothing but nonsense, or no end of a line, is shown the door", async (t) => {
  const sandbox = await mailSandbox(t);
  const browser = await greeted(t, sandbox.smtpPort);
  await browser.sendRaw("GET / HTTP/1.1\r\n".repeat(20));
  assert.equal((await browser.readToClose()).at(-1), "421 4.7.0 Too many bad commands");
  const guesser = await greeted(t, sandbox.submissionPort);
  await say(guesser, "EHLO laptop");
  await guesser.sendRaw(`AUTH PLAIN ${base64("\0alice@example.org\0x")}\r\n`.repeat(20));
  assert.equal((await guesser.readToClose()).at(-1), "421 4.7.0 Too many bad commands");
  const talker = await greeted(t, sandbox.smtpPort);
  await talker.sendRaw("x".repeat(12_290));
  assert.deepEqual(await talker.readToClose(), ["421 4.7.0 Line too long"]);
});

test("a message without its end is no message, and a client that vanishes leaves nothing behind", async (t) => {
  const sandbox = await mailSandbox(t);
  for (const last of ["DATA\r\nhalf\r\n", "DATA\r\nhalf\r\n.\r", "BDAT 10 LAST\r\nhalf", "BDAT 4\r\nhalf"]) {
    const client = await server(t, sandbox);
    await client.sendRaw(`MAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\n${last}`);
    if (last.includes("half\r\n.")) client.end();
    else client.vanish();
  }
  const stopped = await greeted(t, sandbox.submissionPort);
  await stopped.sendRaw("EHLO laptop\r\nAUTH LOGIN\r\n");
  stopped.vanish();
  await eventually("all sessions to end", () => sandbox.sessions() === 0);
  assert.deepEqual(inbox(sandbox), []);
});

test("one session sends many messages, and IMAP and POP3 serve them", async (t) => {
  const sandbox = await mailSandbox(t);
  const client = await alice(t, sandbox);
  for (const number of [1, 2, 3]) {
    await converse(client, [
      ["MAIL FROM:<alice@example.org>", "250"],
      ["RCPT TO:<bob@example.org>", "250"],
      ["DATA", "354"],
      [`Subject: ${number}\r\n\r\n..\r\n.`, "250"],
    ]);
  }
  const imap = await connect({ port: sandbox.imapPort });
  t.after(() => imap[Symbol.asyncDispose]());
  await imap.sendRaw('a LOGIN bob@example.org builder\r\nb SELECT INBOX\r\nc SEARCH SUBJECT "3"\r\n');
  await imap.expectUntil("* SEARCH 3");
  const pop3 = await connect({ port: sandbox.pop3Port });
  t.after(() => pop3[Symbol.asyncDispose]());
  await pop3.sendRaw("USER bob@example.org\r\nPASS builder\r\nRETR 2\r\n");
  const lines = await pop3.expectUntil(/^\.$/);
  assert.deepEqual(lines.slice(-4), ["Subject: 2", "", "..", "."]);
});
