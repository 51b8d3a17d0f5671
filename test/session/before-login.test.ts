import assert from "node:assert/strict";
import { test } from "node:test";
import { backendByHand } from "../upstream/backend-by-hand.ts";
import { base64, frontDoor } from "./front-door.ts";

test("the greeting says who is there and what it can do; CAPABILITY says the same", async (t) => {
  const door = await frontDoor(t);
  const client = await door.connect();
  const greeting = await client.expect("* OK [CAPABILITY IMAP4rev1 ");
  assert.match(greeting, /\] door\.example\.org ready$/);
  const listed = /\[CAPABILITY (.*)\]/.exec(greeting)?.[1];
  await client.send("a CAPABILITY");
  assert.equal(await client.expect("* CAPABILITY "), `* CAPABILITY ${listed}`);
  await client.expect("a OK ");
  for (const capability of ["SASL-IR", "ID", "AUTH=PLAIN", "AUTH=LOGIN"])
    assert.match(` ${listed} `, new RegExp(` ${capability} `));
});

test("where TLS is asked for, LOGINDISABLED stands and no mechanism does", async (t) => {
  const door = await frontDoor(t, { frontend: { requireTls: true } });
  const client = await door.connect();
  const greeting = await client.expect("* OK ");
  assert.match(greeting, / LOGINDISABLED/);
  assert.doesNotMatch(greeting, /AUTH=/);
});

test("NOOP, ID and LOGOUT are answered here", async (t) => {
  const door = await frontDoor(t);
  const client = await door.greeted();
  await client.send("a NOOP");
  await client.expect("a OK ");
  await client.send('b ID ("name" "Thunderbird" "version" NIL)');
  await client.expect('* ID ("name" "Postern")');
  await client.expect("b OK ");
  await client.send("c ID NIL");
  await client.expectUntil("c OK ");
  await client.send("d ID ({4}");
  await client.expect("+ ");
  await client.send("name NIL)");
  await client.expectUntil("d OK ");
  await client.send("e LOGOUT");
  await client.expect("* BYE ");
  await client.expect("e OK ");
  await client.expectClosed();
  const [record] = await door.closed(1);
  assert.deepEqual([record?.["outcome"], record?.["reason"]], ["none", "client left"]);
});

for (const given of [
  "ID",
  "ID ()x",
  'ID ("name")',
  "ID name",
  "ID (name x)",
  "ID (NIL",
  `ID (${'"a" "b" '.repeat(31).trimEnd()})`,
]) {
  test(`${given.slice(0, 20)} is no ID`, async (t) => {
    const client = await (await frontDoor(t)).greeted();
    await client.send(`a ${given}`);
    await client.expect("a BAD ");
  });
}

for (const given of [
  "NOOP x",
  "CAPABILITY x",
  "LOGOUT x",
  "STARTTLS x",
  "LOGIN",
  "LOGIN a",
  "LOGIN a b c",
  "LOGIN (a b)",
  'LOGIN "" x',
  "AUTHENTICATE",
  'AUTHENTICATE "PLAIN"',
  "AUTHENTICATE PLAIN x y",
]) {
  test(`${given} is answered BAD, and the session goes on`, async (t) => {
    const client = await (await frontDoor(t)).greeted();
    await client.send(`a ${given}`);
    await client.expect("a BAD ");
    await client.send("b NOOP");
    await client.expect("b OK ");
  });
}

test("a command of later is in the wrong order, not unknown", async (t) => {
  const door = await frontDoor(t);
  const client = await door.greeted();
  for (const command of ["SELECT INBOX", "IDLE", 'LIST "" *', "uid FETCH 1 ALL", "UNAUTHENTICATE"]) {
    await client.send(`a ${command}`);
    await client.expect("a BAD Sign in first");
  }
  assert.deepEqual(new Set(door.refusals()), new Set());
});

test("STARTTLS without a certificate is in the wrong order", async (t) => {
  const client = await (await frontDoor(t)).greeted();
  await client.send("a STARTTLS");
  await client.expect("a BAD ");
});

for (const first of [
  "GET / HTTP/1.1",
  "POST /a LOGIN HTTP/1.1",
  "EHLO example.org",
  "USER alice",
  "a FROBNICATE",
  "a constructor",
  "a __proto__",
  "a toString",
]) {
  test(`a first command of ${JSON.stringify(first)} is not our protocol, and ends the session`, async (t) => {
    const door = await frontDoor(t);
    const client = await door.greeted();
    await client.sendRaw(`${first}\r\nHost: <script>alert(1)</script>\r\n\r\na LOGIN alice secret\r\n`);
    const lines = await client.readToClose();
    assert.equal(lines.length, 1);
    assert.match(lines[0] ?? "", /^\* BYE /);
    assert.doesNotMatch(lines[0] ?? "", /GET|HTTP|script|EHLO|USER|FROB/);
    const [record] = await door.closed(1);
    assert.equal(record?.["reason"], "notOurProtocol");
  });
}

test("an unknown command behind one that made sense is only answered BAD", async (t) => {
  const client = await (await frontDoor(t)).greeted();
  await client.send("a NOOP");
  await client.expect("a OK ");
  await client.send("b FROBNICATE");
  await client.expect("b BAD ");
  await client.send("c NOOP");
  await client.expect("c OK ");
});

test("a TLS ClientHello in clear text ends in a BAD or a BYE, and is not given back", async (t) => {
  const door = await frontDoor(t);
  const client = await door.greeted();
  const hello = Buffer.from(`160301020001fc0303${"ab".repeat(500)}`, "hex");
  await client.sendRaw(Buffer.concat([hello, Buffer.from("\n")]));
  await client.expect(/^\* (BAD|BYE) [ -~]+$/);
});

test("ten bad commands end the session; nine do not", async (t) => {
  const door = await frontDoor(t);
  const client = await door.greeted();
  await client.sendRaw(
    "a NOOP\r\n".concat("b SELECT INBOX\r\n".repeat(9), "c NOOP\r\n", "d FROB\r\n", "e NOOP\r\n"),
  );
  await client.expectUntil("c OK ");
  await client.expect("d BAD ");
  await client.expect("* BYE ");
  await client.expectClosed();
  const [record] = await door.closed(1);
  assert.equal(record?.["reason"], "tooManyErrors");
});

test("ten failed logins end the session", async (t) => {
  const door = await frontDoor(t);
  const client = await door.greeted();
  for (let tries = 0; tries < 10; tries += 1) {
    await client.send("a LOGIN alice wrong");
    await client.expect("a NO [AUTHENTICATIONFAILED] ");
  }
  await client.expect("* BYE ");
  await client.expectClosed();
});

test("failed logins and bad commands are counted together", async (t) => {
  const client = await (await frontDoor(t)).greeted();
  await client.sendRaw(
    "a LOGIN alice wrong\r\n".repeat(5).concat("b SELECT x\r\n".repeat(4), "c CREATE x\r\n"),
  );
  await client.expectUntil("c BAD ");
  await client.expect("* BYE ");
});

// Item 51.
for (const size of ["4294967296", "99999999999999999999", "-1", "1e9", "", "5000", "4097"]) {
  test(`a LOGIN with a literal of {${size}} is refused without a "+"`, async (t) => {
    const client = await (await frontDoor(t)).greeted();
    await client.send(`a LOGIN {${size}}`);
    await client.expect("a BAD ");
    await client.send("b NOOP");
    await client.expect("b OK ");
  });
}

test('two literals that are too long together are refused without a second "+"', async (t) => {
  const client = await (await frontDoor(t)).greeted();
  await client.send("a LOGIN {3000}");
  await client.expect("+ ");
  await client.send(`${"x".repeat(3_000)} {3000}`);
  await client.expect("a BAD ");
});

// Item 52.
test("a non-synchronising literal of two gigabytes ends the session at once", async (t) => {
  const door = await frontDoor(t);
  const client = await door.greeted();
  await client.sendRaw(`a LOGIN {2147483647+}\r\n${"x".repeat(100_000)}`);
  const lines = await client.readToClose();
  assert.match(lines.at(-1) ?? "", /^\* BYE /);
  const [record] = await door.closed(1);
  assert.equal(record?.["reason"], "tooLong");
});

test("a non-synchronising literal beyond what is read and forgotten ends the session before it has come", async (t) => {
  const client = await (await frontDoor(t)).greeted();
  await client.send("a LOGIN {65537+}");
  const lines = await client.readToClose();
  assert.match(lines.at(-1) ?? "", /^\* BYE /);
});

test("a non-synchronising literal that is refused is not taken for commands", async (t) => {
  const door = await frontDoor(t);
  const client = await door.greeted();
  const trap = "x LOGIN alice secret\r\n".repeat(300);
  await client.sendRaw(`a LOGIN {${trap.length}+}\r\n${trap} y\r\nb NOOP\r\n`);
  await client.expect("a BAD ");
  await client.expect("b OK ");
});

test("a literal of a command that has none is refused, and its bytes are no commands", async (t) => {
  const client = await (await frontDoor(t)).greeted();
  await client.sendRaw("a NOOP\r\nb APPEND INBOX {20+}\r\nx LOGIN mallory pw\r\n\r\nc NOOP\r\n");
  await client.expect("a OK ");
  await client.expect("b BAD ");
  await client.expect("c OK ");
});

// Item 54.
test("a line that never ends is refused at its limit", async (t) => {
  const door = await frontDoor(t);
  const client = await door.greeted();
  await client.sendRaw(`a NOOP ${"(".repeat(10_000)}`);
  const lines = await client.readToClose();
  assert.match(lines[0] ?? "", /^\* (BAD|BYE) /);
  assert.match(lines.at(-1) ?? "", /^\* BYE /);
});

test("eight thousand parentheses in a line are answered BAD", async (t) => {
  const client = await (await frontDoor(t)).greeted();
  await client.send(`a NOOP ${"(".repeat(8_000)}`);
  await client.expect("a BAD ");
});

test("a hundred literals in one command are one BAD", async (t) => {
  const client = await (await frontDoor(t)).greeted();
  await client.sendRaw(`a LOGIN${" {1+}\r\nx".repeat(100)}\r\nb NOOP\r\n`);
  await client.expect("a BAD ");
  await client.expect("b OK ");
});

// Item 55.
for (const tag of ["", "*", "+", "t".repeat(1024), "a\\", 'a"', "a{", "a\0", "\xe9", "a(", "\x1b[31m"]) {
  test(`the tag ${JSON.stringify(tag.slice(0, 12))} is answered untagged and never given back`, async (t) => {
    const client = await (await frontDoor(t)).greeted();
    await client.sendRaw(`${tag} NOOP\r\n`);
    assert.match(await client.expect("* BAD "), /^\* BAD [ -~]+$/);
    await client.send("b NOOP");
    await client.expect("b OK ");
  });
}

// Item 57.
for (const [what, command] of Object.entries({
  LOGIN: "LOGIN alice secret",
  "LOGIN with a literal": "LOGIN {5}",
  "AUTHENTICATE PLAIN": "AUTHENTICATE PLAIN",
  "AUTHENTICATE PLAIN with its initial response": `AUTHENTICATE PLAIN ${base64("\0alice\0secret")}`,
  "AUTHENTICATE LOGIN": "AUTHENTICATE LOGIN",
})) {
  test(`${what} before TLS is answered PRIVACYREQUIRED, and nobody looks at the password`, async (t) => {
    let looked = 0;
    const door = await frontDoor(t, {
      frontend: { requireTls: true },
      authenticate: async () => {
        looked += 1;
        return { user: "alice" };
      },
    });
    const client = await door.greeted();
    await client.send(`a ${command}`);
    await client.expect("a NO [PRIVACYREQUIRED] ");
    await client.send("b NOOP");
    await client.expect("b OK ");
    assert.equal(looked, 0);
  });
}

test("non-synchronising literals of a LOGIN before TLS are read and forgotten", async (t) => {
  const door = await frontDoor(t, { frontend: { requireTls: true } });
  const client = await door.greeted();
  await client.sendRaw("a LOGIN {5+}\r\nalice {6+}\r\nsecret\r\nb NOOP\r\n");
  await client.expect("a NO [PRIVACYREQUIRED] ");
  await client.expect("b OK ");
});

// Item 58.
for (const [what, response] of Object.entries({
  "a star": "*",
  "bad base64": "!!!",
  "base64 with a hole": "AAA=AAA=",
  "an empty response": "",
  "a star that is not alone": "* ",
})) {
  test(`AUTHENTICATE PLAIN answered by ${what} is BAD, and the session goes on`, async (t) => {
    const client = await (await frontDoor(t)).greeted();
    await client.send("a AUTHENTICATE PLAIN");
    await client.expect("+ ");
    await client.send(response);
    await client.expect("a BAD ");
    await client.send("b NOOP");
    await client.expect("b OK ");
  });
}

for (const initial of ["=", "!!!", "*", "AAAA", "====", base64("\0alice\0secret").replace(/=*$/, "x")]) {
  test(`AUTHENTICATE PLAIN with the initial response ${initial} is BAD`, async (t) => {
    const client = await (await frontDoor(t)).greeted();
    await client.send(`a AUTHENTICATE PLAIN ${initial}`);
    await client.expect("a BAD ");
  });
}

test("AUTHENTICATE LOGIN is taken back at its second question", async (t) => {
  const client = await (await frontDoor(t)).greeted();
  await client.send("a AUTHENTICATE LOGIN");
  await client.expect("+ ");
  await client.send(base64("alice"));
  await client.expect("+ ");
  await client.send("*");
  await client.expect("a BAD ");
});

test("a SASL response of twenty kilobytes is refused, and the session ends", async (t) => {
  const client = await (await frontDoor(t)).greeted();
  await client.send("a AUTHENTICATE PLAIN");
  await client.expect("+ ");
  await client.send("A".repeat(20_000));
  const lines = await client.readToClose();
  assert.match(lines[0] ?? "", /^(a|\*) (BAD|BYE) /);
  assert.match(lines.at(-1) ?? "", /^\* BYE /);
});

for (const mechanism of ["CRAM-MD5", "EXTERNAL", "XOAUTH2", "constructor"]) {
  test(`the mechanism ${mechanism} is not offered, and answered NO`, async (t) => {
    const client = await (await frontDoor(t)).greeted();
    await client.send(`a AUTHENTICATE ${mechanism}`);
    await client.expect("a NO ");
    await client.send(`b AUTHENTICATE ${mechanism} AAAA`);
    await client.expect("b NO ");
  });
}

// Items 22 and 71.
for (const [what, command] of Object.entries({
  "a CRLF": `AUTHENTICATE PLAIN ${base64("\0bob\r\nAuth-Status: OK\0pw")}`,
  "a LF in a literal": "LOGIN {5+}\r\nal\nce x",
  "a NUL in a literal": "LOGIN {5+}\r\nal\0ce x",
  "8-bit bytes that are no UTF-8": "LOGIN {5+}\r\nal\xff\xfe! x",
  "latin1 in a quoted string": 'LOGIN "j\xfcrgen" x',
  "a TAB": `AUTHENTICATE PLAIN ${base64("\0al\tice\0pw")}`,
  "300 letters": `LOGIN ${"a".repeat(300)} x`,
})) {
  test(`a name with ${what} is nobody's, and no source of users hears it`, async (t) => {
    let asked = 0;
    const door = await frontDoor(t, {
      authenticate: async () => {
        asked += 1;
        return { user: "alice" };
      },
    });
    const client = await door.greeted();
    await client.send(`a ${command}`);
    await client.expect("a NO [AUTHENTICATIONFAILED] ");
    assert.equal(asked, 0);
    assert.doesNotMatch(JSON.stringify(door.log), /Auth-Status/);
  });
}

test("8-bit bytes outside a string are BAD", async (t) => {
  const client = await (await frontDoor(t)).greeted();
  await client.send("a LOGIN j\xfcrgen x");
  await client.expect("a BAD ");
});

test("a session may not send more before login than any honest one does", async (t) => {
  const door = await frontDoor(t);
  const client = await door.greeted();
  await client.sendRaw("a NOOP\r\n".repeat(40_000));
  await client.expectUntil(/^\* BYE /);
  const [record] = await door.closed(1);
  assert.equal(record?.["reason"], "tooLong");
});

test("every byte in a segment of its own is the same conversation", async (t) => {
  const backend = await backendByHand(t);
  const door = await frontDoor(t, { backend });
  const client = await door.greeted({ bytewise: true });
  await client.sendRaw(
    "a ID NIL\r\nb LOGIN {5+}\r\nalice {5+}\r\nwrong\r\nc LOGIN alice {6+}\r\nsecret\r\nd SELECT x\r\n",
  );
  await client.expectUntil("a OK ");
  await client.expect("b NO [AUTHENTICATIONFAILED] ");
  const visit = await backend.signedIn();
  await client.expect("c OK ");
  await visit.hear("d SELECT x");
});
