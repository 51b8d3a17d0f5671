import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { sieve } from "../../../src/protocols/sieve/index.ts";
import type { Rooms } from "../../../src/session/run-session.ts";
import type { Frontend } from "../../../src/session/session.ts";
import {
  base64,
  type FrontDoor,
  type FrontDoorOptions,
  frontDoor,
  refusing,
} from "../../session/front-door.ts";
import { certificateAuthority } from "../../support/certificates.ts";
import type { Conversation, ConversationOptions } from "../../support/conversation.ts";
import { backendByHand, type Visit } from "../../upstream/backend-by-hand.ts";

const authority = await certificateAuthority();
const certificate = await authority.issue(["localhost", "127.0.0.1"]);
const trust = { ca: authority.ca, servername: "localhost" };

const PLAIN = base64("\0alice\0secret");
const WRONG = base64("\0alice\0wrong");
const BACKEND =
  '"IMPLEMENTATION" "by hand"\r\n"SIEVE" "fileinto"\r\n"SASL" "PLAIN"\r\n"VERSION" "1.0"\r\nOK\r\n';

async function sieveDoor(
  t: TestContext,
  options: FrontDoorOptions = {},
  more: Partial<Frontend> = {},
): Promise<FrontDoor & { greeted(with_?: Partial<ConversationOptions>): Promise<Conversation> }> {
  const door = await frontDoor(t, {
    ...options,
    frontend: {
      protocol: sieve,
      backendCapabilities: () => ["SIEVE fileinto", "SIEVE vacation", "VERSION 1.0"],
      ...more,
    },
  });
  return {
    ...door,
    async greeted(client) {
      const conversation = await door.connect(client);
      await conversation.expectUntil("OK ");
      return conversation;
    },
  };
}

/** Says this, and hears one line that begins so. */
async function ask(client: Conversation, said: string, heard: string | RegExp): Promise<void> {
  await client.sendRaw(`${said}\r\n`);
  await client.expect(heard);
}

/** A backend of one visit that greets and takes the password. */
async function letsIn(visit: Visit, answer = 'OK "Logged in."\r\n'): Promise<string> {
  visit.say(BACKEND);
  const command = await visit.hear(/^AUTHENTICATE "PLAIN" /);
  visit.say(answer);
  return command;
}

test("the greeting is the capabilities and OK, and CAPABILITY says the same", async (t) => {
  const door = await sieveDoor(t);
  const client = await door.connect();
  const greeting = await client.expectUntil("OK ");
  assert.deepEqual(greeting, [
    '"IMPLEMENTATION" "Postern"',
    '"SIEVE" "fileinto vacation"',
    '"VERSION" "1.0"',
    '"SASL" "PLAIN LOGIN"',
    'OK "door.example.org ready"',
  ]);
  await client.send("capability");
  assert.deepEqual((await client.expectUntil("OK ")).slice(0, -1), greeting.slice(0, -1));
  await ask(client, "LOGOUT", "OK ");
  await client.expectClosed();
});

test("STARTTLS: no mechanism before it, the capabilities again behind it", async (t) => {
  const backend = await backendByHand(t);
  const door = await sieveDoor(t, { certificate, backend }, { requireTls: true });
  const client = await door.connect();
  const before = await client.expectUntil("OK ");
  assert.ok(before.includes('"SASL" ""') && before.includes('"STARTTLS"'), before.join("\n"));
  await ask(client, "STARTTLS now", "NO ");
  await ask(client, "STARTTLS", 'OK "');
  await client.startTls(trust);
  // RFC 5804 2.2: without being asked.
  const inside = await client.expectUntil("OK ");
  assert.ok(inside.includes('"SASL" "PLAIN LOGIN"') && !inside.includes('"STARTTLS"'), inside.join("\n"));
  await ask(client, "STARTTLS", "NO ");
  await client.send(`AUTHENTICATE "PLAIN" "${PLAIN}"`);
  await letsIn(await backend.visit());
  await client.expect("OK ");
});

test("a password before TLS is refused, whatever it comes as, and not looked at", async (t) => {
  const asked: unknown[] = [];
  const authenticate: Rooms["auth"]["authenticate"] = async (credential) => {
    asked.push(credential);
    return { user: "alice" };
  };
  const door = await sieveDoor(t, { certificate, authenticate }, { requireTls: true });
  const client = await door.greeted();
  for (const said of [
    'AUTHENTICATE "PLAIN"',
    'AUTHENTICATE "LOGIN"',
    `AUTHENTICATE "PLAIN" "${PLAIN}"`,
    `AUTHENTICATE "PLAIN" {${PLAIN.length}+}\r\n${PLAIN}`,
    `AUTHENTICATE {5+}\r\nPLAIN {${PLAIN.length}+}\r\n${PLAIN}`,
  ]) {
    await ask(client, said, "NO (ENCRYPT-NEEDED) ");
  }
  await ask(client, "NOOP", "OK ");
  assert.deepEqual(asked, []);
});

for (const [what, behind] of Object.entries({
  "a command": "NOOP\r\n",
  "a login": `AUTHENTICATE "PLAIN" "${PLAIN}"\r\n`,
  "half a command": "NOO",
  "a line's end": "\r\n",
  "the beginning of a handshake": "\x16\x03\x01\x02\0",
})) {
  test(`${what} behind STARTTLS ends the session, and nothing of it runs`, async (t) => {
    const door = await sieveDoor(t, { certificate });
    const client = await door.greeted();
    await client.sendRaw(`STARTTLS\r\n${behind}`);
    assert.deepEqual(await client.readToClose(), ['BYE "Bytes behind STARTTLS"']);
    await door.closed(1);
    assert.deepEqual(door.refusals(), ["bytesAfterStartTls"]);
  });
}

test("without a certificate there is no STARTTLS", async (t) => {
  const door = await sieveDoor(t);
  const client = await door.connect();
  assert.ok(!(await client.expectUntil("OK ")).includes('"STARTTLS"'));
  await ask(client, "STARTTLS", "NO ");
});

test("NOOP says its tag again, by RFC 5804 2.13", async (t) => {
  const client = await (await sieveDoor(t)).greeted();
  await ask(client, "NOOP", /^OK "[^"(]*"$/);
  await ask(client, 'NOOP "STARTTLS-RESYNC-CAPA"', 'OK (TAG "STARTTLS-RESYNC-CAPA") ');
  await ask(client, 'NOOP "a\\"b"', 'OK (TAG "a\\"b") ');
  await ask(client, "NOOP {3+}\r\nabc", 'OK (TAG "abc") ');
  await ask(client, "NOOP {5+}\r\na\r\nOK", "OK (TAG {5}");
  await client.expect("a");
  await client.expect("OK) ");
  await ask(client, `NOOP {1024+}\r\n${"x".repeat(1024)}`, `OK (TAG "${"x".repeat(1024)}") `);
  for (const wrong of ["NOOP tag", 'NOOP "a" "b"', 'NOOP "\xff"', `NOOP {1025+}\r\n${"x".repeat(1025)}`])
    await ask(client, wrong, 'NO "');
});

for (const [form, say] of Object.entries({
  "a quoted initial response": [`AUTHENTICATE "PLAIN" "${PLAIN}"`],
  "in small letters": [`authenticate "plain" "${PLAIN}"`],
  "a literal initial response": [`AUTHENTICATE "PLAIN" {${PLAIN.length}+}\r\n${PLAIN}`],
  "a literal as servers write it": [`AUTHENTICATE "PLAIN" {${PLAIN.length}}\r\n${PLAIN}`],
  "two literals": [`AUTHENTICATE {5+}\r\nPLAIN {${PLAIN.length}+}\r\n${PLAIN}`],
  "a response of its own": ['AUTHENTICATE "PLAIN"', '""', `"${PLAIN}"`],
  "a literal response of its own": ['AUTHENTICATE "PLAIN"', '""', `{${PLAIN.length}+}\r\n${PLAIN}`],
  LOGIN: [
    'AUTHENTICATE "LOGIN"',
    `"${base64("Username:")}"`,
    `"${base64("alice")}"`,
    `"${base64("Password:")}"`,
    `{8+}\r\n${base64("secret")}`,
  ],
})) {
  for (const bytewise of [false, true]) {
    test(`AUTHENTICATE by ${form}${bytewise ? ", one byte at a time" : ""}`, async (t) => {
      const backend = await backendByHand(t);
      const door = await sieveDoor(t, { backend });
      const client = await door.greeted({ bytewise });
      for (const [n, line] of say.entries()) {
        if (n % 2 === 0) await client.sendRaw(`${line}\r\n`);
        else assert.equal(await client.expect(line), line);
      }
      const visit = await backend.visit();
      assert.equal(await letsIn(visit), `AUTHENTICATE "PLAIN" "${PLAIN}"`);
      await client.expect('OK "Logged in"');
      // From here on bytes pass untouched.
      await client.sendRaw('PUTSCRIPT "x" {6+}\r\nkeep;\n\r\n');
      await visit.hear('PUTSCRIPT "x" {6+}');
      assert.equal(await visit.hearBytes(8), "keep;\n\r\n");
      visit.say("NO {3}\r\na\r\n\r\n");
      await client.expect("NO {3}");
      assert.equal((await client.readExact(5)).toString(), "a\r\n\r\n");
    });
  }
}

test("the client hears OK only after the backend's, and what it sent meanwhile goes there", async (t) => {
  const backend = await backendByHand(t);
  const door = await sieveDoor(t, { backend });
  const client = await door.greeted();
  await client.sendRaw(`AUTHENTICATE "PLAIN" "${PLAIN}"\r\nLISTSCRIPTS\r\n`);
  const visit = await backend.visit();
  visit.say(BACKEND);
  await visit.hear(/^AUTHENTICATE /);
  assert.doesNotMatch(client.transcript(), /Logged in/);
  assert.doesNotMatch(visit.everything, /LISTSCRIPTS/);
  visit.say('OK (SASL "") "in"\r\n');
  await client.expect("OK ");
  await visit.hear("LISTSCRIPTS");
});

test("an exchange that goes wrong is refused, and the client may try again", async (t) => {
  const door = await sieveDoor(t);
  for (const [what, lines, heard] of [
    ['a "*"', ['AUTHENTICATE "PLAIN"', '"*"'], 'NO "Authentication cancelled"'],
    ["a * in a literal", ['AUTHENTICATE "PLAIN"', "{1+}\r\n*"], 'NO "Authentication cancelled"'],
    ["a bare *", ['AUTHENTICATE "PLAIN"', "*"], 'NO "Authentication cancelled"'],
    ["no string", ['AUTHENTICATE "PLAIN"', PLAIN], 'NO "Command not understood"'],
    ["two strings", ['AUTHENTICATE "PLAIN"', `"${PLAIN}" "x"`], 'NO "Command not understood"'],
    ["no base64", ['AUTHENTICATE "PLAIN"', '"!!!"'], 'NO "Command not understood"'],
    ["base64 cut in the middle", ['AUTHENTICATE "PLAIN" "AGE"'], 'NO "Command not understood"'],
    ["no NULs", [`AUTHENTICATE "PLAIN" "${base64("alice")}"`], 'NO "Command not understood"'],
    ["an empty response", ['AUTHENTICATE "PLAIN" ""'], 'NO "Command not understood"'],
    ["a quoted response too long", [`AUTHENTICATE "PLAIN" "${"A".repeat(1028)}"`], 'NO "Too long"'],
    ["a mechanism of no string", [`AUTHENTICATE PLAIN "${PLAIN}"`], 'NO "Command not understood"'],
    ["no mechanism", ["AUTHENTICATE"], 'NO "Command not understood"'],
    ["one argument too many", ['AUTHENTICATE "PLAIN" "" ""'], 'NO "Command not understood"'],
    ["an unknown mechanism", ['AUTHENTICATE "SCRAM-SHA-1" "biws"'], 'NO "SASL mechanism not offered"'],
    ["a mechanism of another kind", ['AUTHENTICATE "__proto__"'], 'NO "SASL mechanism not offered"'],
    // RFC 5804 2.1: MUST, where the server speaks first.
    [
      "an initial response to LOGIN",
      [`AUTHENTICATE "LOGIN" "${base64("alice")}"`],
      'NO "Command not understood"',
    ],
  ] as const) {
    await t.test(what, async () => {
      const client = await door.greeted();
      const [command, response] = lines;
      await client.send(command);
      if (response) {
        await client.expect('""');
        await client.sendRaw(`${response}\r\n`);
      }
      assert.equal(await client.expect("NO "), heard);
      await ask(client, "NOOP", "OK ");
    });
  }
});

test("a wrong password, an unknown user and a forbidden name hear the same", async (t) => {
  const door = await sieveDoor(t);
  const client = await door.greeted();
  for (const response of [
    WRONG,
    base64("\0nobody\0secret"),
    base64("\0ali\nce\0secret"),
    base64("bob\0alice\0wrong"),
  ]) {
    await client.send(`AUTHENTICATE "PLAIN" "${response}"`);
    assert.equal(await client.expect("NO "), 'NO "Authentication failed"');
  }
});

for (const [kind, heard] of Object.entries({
  notAllowed: 'NO "This account may not sign in here"',
  unavailable: "NO (TRYLATER) ",
  tooFast: "NO (TRYLATER) ",
  tooManySessions: "NO (TRYLATER) ",
} as const)) {
  test(`${kind} is said in its own words, and the session goes on`, async (t) => {
    const door = await sieveDoor(t, { authenticate: refusing(kind as "notAllowed") });
    const client = await door.greeted();
    await ask(client, `AUTHENTICATE "PLAIN" "${PLAIN}"`, heard);
    await ask(client, "NOOP", "OK ");
  });
}

test("a ban ends the session with BYE", async (t) => {
  const door = await sieveDoor(t, { authenticate: refusing("banned") });
  const client = await door.greeted();
  await client.send(`AUTHENTICATE "PLAIN" "${PLAIN}"`);
  assert.match((await client.readToClose()).join("\n"), /^BYE \(TRYLATER\) "[^"]*"$/);
});

test("before login, commands of later are refused, and their literals are no commands", async (t) => {
  const client = await (await sieveDoor(t)).greeted();
  const script = 'NOOP "smuggled"\r\n';
  for (const said of [
    "LISTSCRIPTS",
    'GETSCRIPT "x"',
    'HAVESPACE "x" 5',
    "UNAUTHENTICATE",
    `PUTSCRIPT "x" {${script.length}+}\r\n${script}`,
    `PUTSCRIPT "x" {${script.length}}\r\n${script}`,
    `PUTSCRIPT {1+}\r\nx {60000+}\r\n${script.repeat(4000).slice(0, 60_000)}`,
    `CHECKSCRIPT {${script.length}+}\r\n${script}`,
  ]) {
    await ask(client, said, 'NO "Sign in first"');
  }
  await ask(client, "NOOP", /^OK "/);
});

test("literals of hostile sizes are eaten within bounds, or the session ends", async (t) => {
  const door = await sieveDoor(t);
  for (const size of ["65537", "2147483647", "4294967295", "4294967296", "99999999999999999999"]) {
    for (const command of ["NOOP", 'PUTSCRIPT "x"', 'AUTHENTICATE "PLAIN"']) {
      const client = await door.greeted();
      await client.sendRaw(`${command} {${size}+}\r\nNOOP "smuggled"\r\n`);
      assert.deepEqual(await client.readToClose(), ['BYE "Too long"'], `${command} {${size}+}`);
    }
  }
  const client = await door.greeted();
  const long = "A".repeat(12_289);
  await ask(client, `AUTHENTICATE "PLAIN" {${long.length}+}\r\n${long}`, 'NO "Too long"');
  await ask(client, 'AUTHENTICATE "PLAIN"', '""');
  await ask(client, `{${long.length}+}\r\n${long}`, 'NO "Too long"');
  await ask(client, 'AUTHENTICATE "PLAIN" {0+}\r\n {0+}\r\n {0+}\r\n', 'NO "Too long"');
  for (const size of ["", "-1", "1e9", "0x10", "5 "])
    await ask(client, `NOOP {${size}+}`, 'NO "Command not understood"');
  await ask(client, "NOOP", "OK ");
});

test("a line without an end, and literals without an end, end the session", async (t) => {
  const door = await sieveDoor(t);
  for (const flood of [`NOOP "${"x".repeat(8_200)}`, `NOOP ${"{0+}\r\n ".repeat(20_000)}`]) {
    const client = await door.greeted();
    await client.sendRaw(flood);
    assert.equal((await client.readToClose()).at(-1), 'BYE "Too long"');
  }
});

test("another protocol's words end the session, and nothing of theirs comes back", async (t) => {
  const door = await sieveDoor(t);
  for (const words of ["GET /<script> HTTP/1.1", "EHLO <script>", "a1 LOGIN <script> x", "USER <script>"]) {
    const client = await door.greeted();
    await client.sendRaw(`${words}\r\nHost: door.example.org\r\n\r\n`);
    assert.deepEqual(await client.readToClose(), ['BYE "This is a ManageSieve server"'], words);
  }
});

test("too many errors end the session", async (t) => {
  const client = await (await sieveDoor(t)).greeted();
  await ask(client, "NOOP", "OK ");
  for (let n = 0; n < 12; n += 1) await client.send(n % 2 ? "WHAT" : '"');
  const said = await client.readToClose();
  assert.equal(said.at(-1), 'BYE "Too many errors"');
  assert.ok(
    said.every((line) => line.startsWith("NO ") || line.startsWith("BYE ")),
    said.join("\n"),
  );
});

test("pipelined commands are answered in order, and none behind LOGOUT", async (t) => {
  const client = await (await sieveDoor(t)).greeted();
  await client.sendRaw("NOOP\r\nCAPABILITY\r\nLOGOUT\r\nNOOP\r\n");
  const said = await client.readToClose();
  assert.equal(
    said.filter((line) => line.startsWith("OK ")).length,
    3,
    "RFC 5804 2.3: nothing behind LOGOUT is answered",
  );
});
