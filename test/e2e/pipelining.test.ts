import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { type Door, openDoor } from "../support/door.ts";
import { startDovecot } from "../support/dovecot.ts";
import { message } from "../support/mail.ts";
import { type Act, startScriptedBackend } from "../support/scripted-backend.ts";

const USER = "alice@example.org";
const PASSWORD = 'p"w\\1';
const PLAIN = Buffer.from(`\0${USER}\0${PASSWORD}`).toString("base64");

/** A login and the commands behind it, all in one segment; `pluses` is how many continuations the login asks for. */
const SEGMENTS = [
  {
    what: "LOGIN with literals that wait",
    login: `a LOGIN {${USER.length}}\r\n${USER} {${PASSWORD.length}}\r\n${PASSWORD}\r\n`,
    pluses: 2,
  },
  {
    what: "LOGIN with literals that do not wait",
    login: `a LOGIN {${USER.length}+}\r\n${USER} {${PASSWORD.length}+}\r\n${PASSWORD}\r\n`,
    pluses: 0,
  },
  {
    what: "LOGIN with a name and a literal",
    login: `a LOGIN ${USER} {${PASSWORD.length}+}\r\n${PASSWORD}\r\n`,
    pluses: 0,
  },
  { what: "LOGIN with quoted strings", login: `a LOGIN "${USER}" "p\\"w\\\\1"\r\n`, pluses: 0 },
  {
    what: "AUTHENTICATE PLAIN with its initial response",
    login: `a AUTHENTICATE PLAIN ${PLAIN}\r\n`,
    pluses: 0,
  },
  { what: "AUTHENTICATE PLAIN", login: `a AUTHENTICATE PLAIN\r\n${PLAIN}\r\n`, pluses: 1 },
];

/** Another whole session passes through the same gateway: whatever it was about to do, it has had its turns. */
async function letTheDoorWork(door: Door): Promise<void> {
  await using other = await door.greetedInTls();
  await other.send("o NOOP");
  await other.expect("o OK ");
  await other.send("z LOGOUT");
  await other.expectUntil("z OK ");
  await other.expectClosed();
}

test("commands behind a login reach the backend only after its OK", async (t) => {
  const authority = await certificateAuthority();
  let held = Promise.withResolvers<Act | undefined>();
  await using backend = await startScriptedBackend({ tls: "none", acts: { login: () => held.promise } });
  await using door = await openDoor({
    authority,
    backends: { backend },
    users: { [USER]: PASSWORD },
    config: { routes: [{ to: "backend" }] },
  });

  for (const { what, login, pluses } of SEGMENTS) {
    for (const bytewise of [false, true]) {
      await t.test(`${what}${bytewise ? ", byte by byte" : ""}`, async () => {
        held = Promise.withResolvers();
        backend.forget();
        await using client = await door.greetedInTls({ bytewise });
        await client.sendRaw(`${login}b SELECT INBOX\r\nc NOOP\r\n`);
        for (let plus = 0; plus < pluses; plus++) await client.expect("+");
        await backend.hears("AUTHENTICATE");
        await letTheDoorWork(door);
        assert.doesNotMatch(backend.received(), /SELECT|NOOP/, backend.transcript());

        held.resolve(undefined);
        await client.expect("a OK ");
        await client.expectUntil("b OK ");
        await client.expect("c OK ");
        assert.deepEqual(backend.commands(), ["ID", "AUTHENTICATE", "SELECT", "NOOP"]);
        assert.match(backend.received(), /\r\nb SELECT INBOX\r\nc NOOP\r\n$/);
      });
    }
  }

  for (const { what, login, pluses } of SEGMENTS) {
    await t.test(`after the backend's NO they are answered here: ${what}`, async () => {
      held = Promise.withResolvers();
      backend.forget();
      await using client = await door.greetedInTls();
      await client.sendRaw(`${login}b SELECT INBOX\r\nc NOOP\r\n`);
      for (let plus = 0; plus < pluses; plus++) await client.expect("+");
      await backend.hears("AUTHENTICATE");
      held.resolve({ say: "{tag} NO [AUTHENTICATIONFAILED] no\r\n" });
      await client.expect("a NO [AUTHENTICATIONFAILED] ");
      await client.expect(/^b (BAD|NO) /);
      await client.expect("c OK ");
      assert.doesNotMatch(backend.received(), /SELECT|NOOP/, backend.transcript());
    });
  }

  await t.test("after the door's own NO nothing at all goes to the backend", async () => {
    backend.forget();
    await using client = await door.greetedInTls();
    await client.sendRaw(`a LOGIN ${USER} {5+}\r\nwrong\r\nb SELECT INBOX\r\nc LOGOUT\r\n`);
    await client.expect("a NO [AUTHENTICATIONFAILED] ");
    await client.expect(/^b (BAD|NO) /);
    await client.expectUntil("c OK ");
    await client.expectClosed();
    assert.equal(backend.received(), "");
  });
});

test("a whole session in one segment comes out in order, at a real server", async (t) => {
  const authority = await certificateAuthority();
  await using store = await startDovecot({ tls: "none", users: { [USER]: PASSWORD } });
  await store.deliver(USER, message("pipelined"));
  await using door = await openDoor({
    authority,
    backends: { store },
    users: { [USER]: PASSWORD },
    config: { routes: [{ to: "store" }] },
  });
  for (const { what, login, pluses } of SEGMENTS) {
    await t.test(what, async () => {
      await using client = await door.greetedInTls();
      await client.sendRaw(
        `${login}b SELECT INBOX\r\nc FETCH 1 (BODY.PEEK[HEADER.FIELDS (SUBJECT)])\r\nd LOGOUT\r\n`,
      );
      for (let plus = 0; plus < pluses; plus++) await client.expect("+");
      const lines = await client.readToClose();
      const tagged = lines.filter((line) => /^[abcd] /.test(line));
      assert.deepEqual(
        tagged.map((line) => line.slice(0, 5)),
        ["a OK ", "b OK ", "c OK ", "d OK "],
        lines.join("\n"),
      );
      assert.ok(lines.includes("Subject: pipelined"), lines.join("\n"));
    });
  }
});

test("literals that cannot be are refused before anything is kept for them", async (t) => {
  const authority = await certificateAuthority();
  await using backend = await startScriptedBackend({ tls: "none" });
  await using door = await openDoor({
    authority,
    backends: { backend },
    users: { [USER]: PASSWORD },
    config: { routes: [{ to: "backend" }] },
  });
  for (const size of ["4294967296", "99999999999999999999", "-1", "1e9", ""]) {
    await t.test(`{${size}}`, async () => {
      await using client = await door.greetedInTls();
      await client.send(`a LOGIN {${size}}`);
      await client.expect(/^a (BAD|NO \[TOOBIG\]) ?/);
      await client.send("b NOOP");
      await client.expect("b OK ");
    });
  }
  await t.test("{2147483647+} and a stream end the session", async () => {
    await using client = await door.greetedInTls();
    await client.send("a LOGIN {2147483647+}");
    const stream = "x".repeat(16_384);
    for (let sent = 0; sent < 1_048_576; sent += stream.length) await client.sendRaw(stream);
    const said = await client.readToClose();
    assert.ok(
      said.every((line) => /^(a BAD|\* BYE|\* BAD)/.test(line)),
      said.join("\n"),
    );
  });
  await t.test("the door serves on", async () => {
    await using _client = await door.greetedInTls();
    await door.gateway.metricIs("postern_sessions_open", 1);
  });
});
