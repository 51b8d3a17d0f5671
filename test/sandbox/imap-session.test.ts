import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { certificateAuthority } from "../support/certificates.ts";
import { connect } from "../support/conversation.ts";
import { eventually } from "../support/waiting.ts";
import { greeted, sandboxFor, selected, signedIn } from "./support.ts";

const CAPABILITIES =
  "IMAP4rev1 SASL-IR LITERAL+ ID ENABLE IDLE UIDPLUS MOVE UNSELECT SPECIAL-USE NAMESPACE CHILDREN";

function plain(...fields: string[]): string {
  return Buffer.from(fields.join("\0")).toString("base64");
}

test("the greeting names the backend and what it can do; after login it can no longer log in", async (t) => {
  const sandbox = await sandboxFor(t);
  const wire = await connect({ port: sandbox.imapPort });
  t.after(() => wire[Symbol.asyncDispose]());
  await wire.expect(`* OK [CAPABILITY ${CAPABILITIES} AUTH=PLAIN] north ready`);
  await wire.send("a LOGIN alice wonder");
  await wire.expect(`a OK [CAPABILITY ${CAPABILITIES}] Logged in`);
  assert.equal(sandbox.sessions(), 1);
  await wire.send("b LOGOUT");
  await wire.expect("* BYE");
  await wire.expect("b OK");
  await wire.expectClosed();
});

test("a wrong password and an unknown user read alike", async (t) => {
  const client = await greeted(t, await sandboxFor(t));
  const refused = ["tag NO [AUTHENTICATIONFAILED] Wrong user or password"];
  assert.deepEqual(await client.send("LOGIN alice builder"), refused);
  assert.deepEqual(await client.send("LOGIN nobody wonder"), refused);
  assert.deepEqual(await client.send(`AUTHENTICATE PLAIN ${plain("bob", "alice", "wonder")}`), refused);
  await client.ok("LOGIN alice wonder");
});

test("AUTHENTICATE PLAIN, with the response at once, asked for, cancelled, and broken", async (t) => {
  const client = await greeted(t, await sandboxFor(t));
  assert.match(await client.tagged("AUTHENTICATE GSSAPI"), /^tag NO \[CANNOT\]/);
  assert.match(await client.tagged("AUTHENTICATE PLAIN ="), /^tag BAD/);
  assert.match(await client.tagged(`AUTHENTICATE PLAIN ${plain("a", "b")}`), /^tag BAD/);
  await client.wire.send("a AUTHENTICATE PLAIN");
  await client.wire.expect(/^\+ $/);
  await client.wire.send("*");
  await client.wire.expect("a BAD");
  await client.wire.send("b AUTHENTICATE PLAIN");
  await client.wire.expect(/^\+ $/);
  await client.wire.send(plain("", "alice", "wonder"));
  await client.wire.expect("b OK [CAPABILITY ");
});

test("names and passwords may be literals of UTF-8", async (t) => {
  const sandbox = await sandboxFor(t, { accounts: [{ name: "zoë", password: 'a "b" \\' }] });
  const client = await greeted(t, sandbox);
  await client.wire.sendRaw("a LOGIN {4}\r\n");
  await client.wire.expect("+ ");
  await client.wire.sendRaw(Buffer.from('zoë {7+}\r\na "b" \\\r\n'));
  await client.wire.expect("a OK");
});

test("a master user enters another's mailbox", async (t) => {
  const sandbox = await sandboxFor(t, { masterUser: { user: "root", password: "toor", separator: "*" } });
  await (await greeted(t, sandbox)).ok('LOGIN "alice*root" toor');
  await (await greeted(t, sandbox)).ok(`AUTHENTICATE PLAIN ${plain("bob", "root", "toor")}`);
});

test("STARTTLS makes the session private and is then no longer offered", async (t) => {
  const authority = await certificateAuthority();
  const client = await greeted(t, await sandboxFor(t, { tls: await authority.issue(["localhost"]) }));
  await client.wire.send("a STARTTLS");
  await client.wire.expect("a OK");
  await client.wire.startTls({ ca: authority.ca, servername: "localhost" });
  assert.deepEqual(await client.ok("CAPABILITY"), [`* CAPABILITY ${CAPABILITIES} AUTH=PLAIN`]);
  assert.match(await client.tagged("STARTTLS"), /^tag BAD/);
  await client.ok("LOGIN alice wonder");
  await client.ok("SELECT INBOX");
});

test("bytes behind STARTTLS end the session (RFC 3501 6.2.1)", async (t) => {
  const authority = await certificateAuthority();
  const sandbox = await sandboxFor(t, { tls: await authority.issue(["localhost"]) });
  const client = await greeted(t, sandbox);
  await client.wire.sendRaw("a STARTTLS\r\nb LOGIN alice wonder\r\n");
  assert.deepEqual(await client.wire.readToClose(), ["* BYE Bytes behind STARTTLS"]);
});

test("commands in the wrong state get BAD", async (t) => {
  const client = await greeted(t, await sandboxFor(t));
  for (const command of ["SELECT INBOX", "IDLE", "FETCH 1 FLAGS", "STARTTLS"]) {
    assert.match(await client.tagged(command), /^tag BAD/, command);
  }
  await client.ok("LOGIN alice wonder");
  for (const command of ["LOGIN alice wonder", "STARTTLS", "CLOSE", "STORE 1 FLAGS ()"]) {
    assert.match(await client.tagged(command), /^tag BAD/, command);
  }
  await client.ok("SELECT INBOX");
  await client.ok("UNSELECT");
  assert.match(await client.tagged("CHECK"), /^tag BAD/);
});

test("who sends nothing but nonsense is shown the door", async (t) => {
  const client = await greeted(t, await sandboxFor(t));
  await client.wire.sendRaw("GET / HTTP/1.1\r\n".repeat(20));
  const lines = await client.wire.readToClose();
  assert.equal(lines.at(-1), "* BYE Too many bad commands");
});

test("too large is refused before it is read, small before login and large after", async (t) => {
  const sandbox = await sandboxFor(t);
  const client = await greeted(t, sandbox);
  assert.match(await client.tagged("LOGIN {100000}"), /^tag BAD Literal/);
  await client.ok("LOGIN alice wonder");
  assert.match(await client.tagged("APPEND INBOX {99999999}"), /^tag NO \[TOOBIG\]/);
  await client.ok("NOOP");
  await client.wire.send("z APPEND INBOX {99999999+}");
  assert.deepEqual(await client.wire.readToClose(), ["* BYE Command is too large"]);
  const talker = await greeted(t, sandbox);
  await talker.wire.sendRaw("x".repeat(70_000));
  assert.deepEqual(await talker.wire.readToClose(), ["* BYE Command is too large"]);
});

test("pipelined commands are answered in order, also one byte at a time", async (t) => {
  const sandbox = await sandboxFor(t);
  const wire = await connect({ port: sandbox.imapPort, bytewise: true });
  t.after(() => wire[Symbol.asyncDispose]());
  await wire.expect("* OK");
  await wire.sendRaw(
    'a LOGIN {5+}\r\nalice "wonder"\r\nb NAMESPACE\r\nc ID NIL\r\nd ENABLE X\r\ne LOGOUT\r\n',
  );
  await wire.expect("a OK");
  await wire.expect('* NAMESPACE (("" "/")) NIL NIL');
  await wire.expect("b OK");
  await wire.expect('* ID ("name" "Postern sandbox")');
  await wire.expect("c OK");
  await wire.expect("* ENABLED");
  await wire.expect("d OK");
  await wire.expect("* BYE");
  await wire.expect("e OK");
  await wire.expectClosed();
});

test("a client that closes its side at once still gets its answers", async (t) => {
  const client = await greeted(t, await sandboxFor(t));
  await client.wire.sendRaw("a LOGIN alice wonder\r\nb NOOP\r\n");
  client.wire.end();
  await client.wire.expect("a OK");
  await client.wire.expect("b OK");
  await client.wire.expectClosed();
});

test("closing the sandbox ends its sessions", async (t) => {
  const sandbox = await sandboxFor(t);
  const client = await selected(t, sandbox);
  await client.wire.send("a IDLE");
  await client.wire.expect("+ ");
  await sandbox.close();
  await client.wire.expectClosed();
  assert.equal(sandbox.sessions(), 0);
});

test("a client that vanishes in the middle of anything leaves nothing behind", async (t) => {
  const sandbox = await sandboxFor(t);
  for (const last of [
    "a IDLE\r\n",
    "a APPEND INBOX {10}\r\nabc",
    "a FETCH 1:* BODY[]\r\n",
    "a AUTHENTICATE PLAIN\r\n",
  ]) {
    const client = await signedIn(t, sandbox);
    await client.wire.sendRaw(last);
    client.wire.vanish();
  }
  await eventually("all sessions to end", () => sandbox.sessions() === 0);
});

test("no commands in no order make a session fail", async (t) => {
  const sandbox = await sandboxFor(t);
  const words = fc.constantFrom(
    ...'LOGIN alice wonder|SELECT INBOX|EXAMINE Sent|UNSELECT|CLOSE|FETCH 1:* (FLAGS BODY[] BODYSTRUCTURE ENVELOPE)|UID FETCH * BODY[1.MIME]<0.5>|STORE 1:* +FLAGS (\\Deleted k)|UID STORE 1:9 FLAGS ()|EXPUNGE|UID EXPUNGE 1:*|COPY 1:* Trash|UID MOVE 1:* INBOX|MOVE * Trash|SEARCH TEXT b|SEARCH NOT 1:3 LARGER 5|LIST "" *|LSUB "" %|CREATE a/b|RENAME a x|DELETE x/b|RENAME INBOX y|DELETE y|STATUS INBOX (UNSEEN)|APPEND INBOX {12+}\r\nA: b\r\n\r\nx\r\n\r\n|IDLE\r\nDONE|NOOP|SUBSCRIBE q'.split(
      "|",
    ),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(words, { maxLength: 25 }), async (commands) => {
      const client = await signedIn(t, sandbox);
      await client.wire.sendRaw(commands.map((command, index) => `c${index} ${command}\r\n`).join(""));
      await client.wire.send("end LOGOUT");
      await client.wire.expectUntil("end OK");
    }),
    { numRuns: 150 },
  );
});
