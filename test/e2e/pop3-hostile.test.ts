import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { type Conversation, connect } from "../support/conversation.ts";
import { startDovecot } from "../support/dovecot.ts";
import { message, sha256 } from "../support/mail.ts";
import { openPop3Door, type Pop3Door, pop3Of } from "../support/pop3-door.ts";
import { type Pop3Act, startScriptedPop3 } from "../support/scripted-pop3.ts";
import { eventually } from "../support/waiting.ts";

/** The numbers are those of the catalogue of hostile inputs. */
const USER = "alice@example.org";
const PASSWORD = "open sesame";
const PLAIN = Buffer.from(`\0${USER}\0${PASSWORD}`).toString("base64");
const MD5 = (text: string) => createHash("md5").update(text).digest("hex");

async function leave(client: Conversation): Promise<void> {
  await client.send("QUIT");
  await client.expect("+OK");
  await client.expectClosed();
}

/** Another whole session passes through the same gateway: whatever it was about to do, it has had its turns. */
async function letTheDoorWork(door: Pop3Door): Promise<void> {
  await using other = await door.greetedInTls();
  await leave(other);
}

test("74: PASS before USER is -ERR, and spaces in a password are its own", async (t) => {
  const authority = await certificateAuthority();
  await using backend = await startScriptedPop3({ tls: "none", capabilities: ["USER"] });
  const passwords = ["  two  spaces ", " ", "   ", " x", "x ", "a b"];
  const user = (n: number) => `user${n}@example.org`;
  await using door = await openPop3Door({
    authority,
    backends: { backend },
    users: Object.fromEntries(passwords.map((password, n) => [user(n), `{PLAIN}${password}`])),
  });
  await t.test("PASS first, and again after a wrong one", async () => {
    await using client = await door.greetedInTls();
    await client.send("PASS x");
    await client.expect("-ERR ");
    await client.send(`USER ${user(0)}`);
    await client.expect("+OK ");
    await client.send("PASS two  spaces");
    await client.expect("-ERR [AUTH] ");
    await client.send(`PASS ${passwords[0]}`);
    await client.expect("-ERR Not allowed now");
  });
  for (const [n, password] of passwords.entries()) {
    await t.test(JSON.stringify(password), async () => {
      for (const other of [password.trim(), `${password} `, ` ${password}`]) {
        if (other === password) continue;
        await using client = await door.greetedInTls();
        await client.sendRaw(`USER ${user(n)}\r\nPASS ${other}\r\n`);
        await client.expect("+OK ");
        await client.expect("-ERR [AUTH] ");
      }
      backend.forget();
      await using client = await door.greetedInTls();
      await client.sendRaw(`USER ${user(n)}\r\nPASS ${password}\r\n`);
      await client.expect("+OK ");
      await client.expect("+OK ");
      assert.equal(await backend.hears("PASS"), `PASS ${password}`);
    });
  }
});

test("75: USER hears +OK whoever it is; only PASS says no, in the same words", async () => {
  const authority = await certificateAuthority();
  await using backend = await startScriptedPop3({ tls: "none" });
  await using door = await openPop3Door({ authority, backends: { backend }, users: { [USER]: PASSWORD } });
  const heard = new Set<string>();
  for (const name of [
    USER,
    "nobody@example.org",
    "x",
    "two words",
    "\xff\xfe",
    "tab\there",
    "n".repeat(248),
  ]) {
    await using client = await door.greetedInTls();
    await client.sendRaw(`USER ${name}\r\nPASS wrong\r\n`);
    heard.add(`${await client.expect("+OK ")} / ${await client.expect("-ERR [AUTH] ")}`);
  }
  assert.equal(heard.size, 1, [...heard].join("\n"));
});

test("76: bytes behind STLS end the session; STLS inside TLS and after login is -ERR", async (t) => {
  const authority = await certificateAuthority();
  await using backend = await startScriptedPop3({ tls: "none", acts: { STLS: { say: "-ERR not now\r\n" } } });
  await using door = await openPop3Door({ authority, backends: { backend }, users: { [USER]: PASSWORD } });
  const behind = {
    "a command": `USER ${USER}\r\n`,
    "half a command": "US",
    "a line end": "\r\n",
    "the beginning of a handshake": "\x16\x03\x01\x02\x00",
  };
  for (const [what, bytes] of Object.entries(behind)) {
    await t.test(what, async () => {
      await using client = await door.greeted();
      await client.sendRaw(`STLS\r\n${bytes}`);
      const lines = await client.readToClose();
      assert.ok(lines.length <= 1 && lines.every((line) => line.startsWith("-ERR ")), lines.join("\n"));
    });
  }
  await t.test("each was counted", () =>
    door.gateway.metricIs("postern_refusals_total", Object.keys(behind).length, {
      kind: "bytesAfterStartTls",
    }),
  );
  await t.test("with an argument it is -ERR, and no handshake begins", async () => {
    await using client = await door.greeted();
    await client.send("STLS now");
    await client.expect("-ERR ");
    await leave(client);
  });
  await t.test("inside TLS", async () => {
    await using client = await door.secured();
    await client.send("STLS");
    await client.expect("-ERR ");
    await leave(client);
  });
  await t.test("after login it is the backend's to refuse", async () => {
    await using client = await door.signedIn(USER, PASSWORD);
    await client.send("STLS");
    await client.expect("-ERR ");
  });
  await t.test("what USER said before TLS is forgotten", async () => {
    await using open = await openPop3Door({
      authority,
      backends: { backend },
      users: { [USER]: PASSWORD },
      listenerKeys: { requireTls: false },
    });
    await using client = await open.greeted();
    await client.send(`USER ${USER}`);
    await client.expect("+OK ");
    await client.send("STLS");
    await client.expect("+OK ");
    await client.startTls(open.trust);
    await client.send(`PASS ${PASSWORD}`);
    await client.expect("-ERR Not allowed now");
  });
});

test("77: a cancelled exchange, an unknown mechanism, nonsense and lines too long are -ERR", async (t) => {
  const authority = await certificateAuthority();
  await using backend = await startScriptedPop3({ tls: "none" });
  await using door = await openPop3Door({ authority, backends: { backend }, users: { [USER]: PASSWORD } });
  const responses = ["*", "!!!", "AAA=AAA=", "_-8=", "YQ", Buffer.from("alice").toString("base64")];
  for (const response of responses) {
    await t.test(`AUTH PLAIN, then ${response}`, async () => {
      await using client = await door.greetedInTls();
      await client.send("AUTH PLAIN");
      await client.expect("+ ");
      await client.send(response);
      await client.expect(/^-ERR (?!\[)/);
      await leave(client);
    });
  }
  for (const line of [
    "AUTH CRAM-MD5",
    "AUTH __proto__",
    "AUTH PLAIN =",
    "AUTH PLAIN !!!",
    "AUTH PLAIN a b",
    "AUTH ",
    "USER",
    "QUIT now",
    "CAPA ",
    "STAT",
    "RETR 1",
    "NOOP",
    "",
    " USER x",
    "APOP alice",
    `APOP alice ${"A".repeat(32)}`,
  ]) {
    await t.test(JSON.stringify(line), async () => {
      await using client = await door.greetedInTls();
      await client.send("CAPA");
      await client.expectUntil(/^\.$/);
      await client.send(line);
      await client.expect(/^-ERR (?!\[)/);
      await leave(client);
    });
  }
  await t.test("a command of 255 octets is one, and of 256 is none", async () => {
    await using client = await door.greetedInTls();
    await client.send(`USER ${"u".repeat(248)}`);
    await client.expect("+OK ");
    await client.send(`USER ${"u".repeat(249)}`);
    assert.deepEqual(await client.readToClose(), ["-ERR Too long"]);
  });
  await t.test("a line without end", async () => {
    await using client = await door.greetedInTls();
    await client.sendRaw("x".repeat(1_000_000));
    assert.deepEqual(await client.readToClose(), ["-ERR Too long"]);
  });
  await t.test("a response of 12,288 octets is read, and one more is not", async () => {
    await using client = await door.greetedInTls();
    await client.send("AUTH PLAIN");
    await client.expect("+ ");
    await client.send(Buffer.alloc(9216, "a").toString("base64"));
    await client.expect("-ERR Command not understood");
    await client.send("AUTH PLAIN");
    await client.expect("+ ");
    await client.send(`${Buffer.alloc(9216, "a").toString("base64")}a`);
    await client.expect("-ERR Too long");
    await client.send("AUTH PLAIN");
    await client.expect("+ ");
    await client.send("a".repeat(20_000));
    assert.deepEqual(await client.readToClose(), ["-ERR Too long"]);
  });
  await t.test("another protocol is turned away, with nothing of its own", async () => {
    for (const opening of [
      "GET /<script> HTTP/1.1\r\nHost: door\r\n\r\n",
      "EHLO <script>\r\nMAIL FROM:<>\r\n",
    ]) {
      await using client = await door.greeted();
      await client.sendRaw(opening);
      assert.deepEqual(await client.readToClose(), ["-ERR This is a POP3 server"]);
    }
  });
  await t.test("ten errors end the session", async () => {
    await using client = await door.greetedInTls();
    await client.send("CAPA");
    await client.expectUntil(/^\.$/);
    await client.sendRaw("NONSENSE\r\n".repeat(20));
    const lines = await client.readToClose();
    assert.equal(lines.length, 11, lines.join("\n"));
    assert.equal(lines.at(-1), "-ERR Too many errors");
  });
  await t.test("nothing of all this came to the backend, and the door serves on", async () => {
    assert.deepEqual(
      backend.lines().filter((line) => !["CAPA", "QUIT"].includes(line)),
      [],
    );
    await using _client = await door.signedIn(USER, PASSWORD);
  });
});

test("80: a backend that dies before its reply to QUIT is never +OK", async (t) => {
  const authority = await certificateAuthority();
  const endings: Record<string, Pop3Act> = {
    closes: "close",
    resets: "reset",
    "closes in the middle of its reply": { say: "+O", next: "close" },
  };
  for (const [what, act] of Object.entries(endings)) {
    await t.test(what, async () => {
      await using backend = await startScriptedPop3({ tls: "none", acts: { QUIT: act } });
      await using door = await openPop3Door({
        authority,
        backends: { backend },
        users: { [USER]: PASSWORD },
      });
      await using client = await door.signedIn(USER, PASSWORD);
      await client.send("DELE 1");
      await client.expect("+OK");
      await client.send("QUIT");
      const rest = (await client.readToClose()).join("\n");
      assert.ok(!rest.includes("+OK"), rest);
    });
  }
  await t.test("killed, a real one", async () => {
    await using store = await startDovecot({ pop3: true, tls: "none", users: { [USER]: PASSWORD } });
    await store.deliver(USER, message("stays"));
    await using door = await openPop3Door({
      authority,
      backends: { store: pop3Of(store) },
      users: { [USER]: PASSWORD },
    });
    await using client = await door.signedIn(USER, PASSWORD);
    await client.send("DELE 1");
    await client.expect("+OK");
    const [pid = 0] = await store.sessionProcesses();
    process.kill(pid, "SIGSTOP");
    await client.send("QUIT");
    process.kill(pid, "SIGKILL");
    assert.deepEqual(await client.readToClose(), []);
    assert.equal((await store.messages(USER)).length, 1);
  });
});

test("81: a whole session in one segment is answered in order, and nothing of it overtakes the login", async (t) => {
  const authority = await certificateAuthority();
  await t.test("at a real server", async () => {
    await using store = await startDovecot({ pop3: true, tls: "none", users: { [USER]: PASSWORD } });
    await store.deliver(USER, message("one"));
    await using door = await openPop3Door({
      authority,
      backends: { store: pop3Of(store) },
      users: { [USER]: PASSWORD },
    });
    for (const bytewise of [false, true]) {
      for (const login of [`USER ${USER}\r\nPASS ${PASSWORD}\r\n`, `CAPA\r\nAUTH PLAIN ${PLAIN}\r\n`]) {
        await using client = await door.greetedInTls({ bytewise });
        await client.sendRaw(`${login}STAT\r\nQUIT\r\n`);
        const said = (await client.readToClose()).filter((line) => /^(\+OK|-ERR)/.test(line));
        assert.equal(said.length, 4, said.join("\n"));
        assert.match(said[2] ?? "", /^\+OK 1 \d+$/);
        assert.ok(
          said.every((line) => line.startsWith("+OK")),
          said.join("\n"),
        );
      }
    }
  });

  let held = Promise.withResolvers<Pop3Act | undefined>();
  await using backend = await startScriptedPop3({ tls: "none", acts: { AUTH: () => held.promise } });
  await using door = await openPop3Door({ authority, backends: { backend }, users: { [USER]: PASSWORD } });
  await t.test("STAT reaches the backend only after its +OK", async () => {
    await using client = await door.greetedInTls();
    await client.sendRaw(`USER ${USER}\r\nPASS ${PASSWORD}\r\nSTAT\r\nQUIT\r\n`);
    await client.expect("+OK ");
    await backend.hears("AUTH");
    await letTheDoorWork(door);
    assert.ok(!backend.lines().includes("STAT"), backend.transcript());
    held.resolve(undefined);
    await client.expect("+OK Logged in");
    await client.expect("+OK 0 0");
    await client.expect("+OK bye");
    await client.expectClosed();
    assert.deepEqual(backend.lines().slice(-2), ["STAT", "QUIT"]);
  });
  await t.test("after the backend's -ERR they are answered here", async () => {
    held = Promise.withResolvers();
    backend.forget();
    await using client = await door.greetedInTls();
    await client.sendRaw(`USER ${USER}\r\nPASS ${PASSWORD}\r\nSTAT\r\nQUIT\r\n`);
    await client.expect("+OK ");
    await backend.hears("AUTH");
    held.resolve({ say: "-ERR [AUTH] no\r\n" });
    await client.expect("-ERR [AUTH] ");
    await client.expect("-ERR ");
    await client.expect("+OK ");
    await client.expectClosed();
    assert.ok(!backend.lines().includes("STAT"), backend.transcript());
  });
});

test("82: what RETR brings is passed on byte for byte", async () => {
  const body = [
    "...stuffed",
    "..",
    "NUL \0 and 8-bit \xff\xfe",
    `${"x".repeat(1_048_576)}`,
    "bare \r and bare \n",
    "....",
  ].join("\r\n");
  const reply = `+OK message follows\r\nSubject: odd\r\n\r\n${body}\r\n.\r\n`;
  const authority = await certificateAuthority();
  await using backend = await startScriptedPop3({ tls: "none", acts: { RETR: { say: reply } } });
  await using door = await openPop3Door({ authority, backends: { backend }, users: { [USER]: PASSWORD } });
  await using client = await door.signedIn(USER, PASSWORD);
  for (let round = 0; round < 3; round += 1) {
    await client.send("RETR 1");
    const bytes = await client.readExact(reply.length);
    assert.equal(sha256(bytes), sha256(Buffer.from(reply, "latin1")));
  }
  await leave(client);
});

test("83: APOP is offered only where it can be verified, over a stamp that is unique and ours alone", async (t) => {
  const authority = await certificateAuthority();
  await using backend = await startScriptedPop3({ tls: "none" });
  const hashed =
    "{SHA512-CRYPT}$6$rounds=1000$abcdefgh$gZVJCnHZMXNTcY9B8sQ1vNB.SJEy7Zt8qBJBSdmPeMLDgr1YgqJDVD1xFyHhqoY0OyzdCGbmCpWLMhn1hHLTt.";
  await using door = await openPop3Door({
    authority,
    backends: { backend },
    users: { [USER]: PASSWORD, "hashed@example.org": hashed },
  });
  const greet = async () => {
    const client = await connect({ port: door.ports.implicit, tls: door.trust });
    return { client, banner: await client.expect("+OK ") };
  };
  const STAMP = /^\+OK door\.example\.org ready (<[0-9a-f]{24}\.\d{13}@door\.example\.org>)$/;

  await t.test("no two sessions have one", async () => {
    const stamps = new Set<string>();
    for (let count = 0; count < 50; count += 1) {
      const { client, banner } = await greet();
      await using _closing = client;
      stamps.add(STAMP.exec(banner)?.[1] ?? assert.fail(banner));
    }
    assert.equal(stamps.size, 50);
  });

  await t.test("every wrong digest hears the same, and a right one is in", async () => {
    const { client, banner } = await greet();
    await using _closing = client;
    const stamp = STAMP.exec(banner)?.[1] ?? "";
    const heard = new Set<string>();
    for (const [user, digest] of [
      [USER, MD5(`${stamp}wrong`)],
      [USER, MD5(PASSWORD)],
      [USER, MD5(stamp)],
      ["nobody@example.org", MD5(`${stamp}${PASSWORD}`)],
      ["hashed@example.org", MD5(`${stamp}${PASSWORD}`)],
      ["hashed@example.org", MD5(`${stamp}${hashed}`)],
    ]) {
      await client.send(`APOP ${user} ${digest}`);
      heard.add(await client.expect("-ERR [AUTH] "));
    }
    assert.equal(heard.size, 1);
    await client.send(`APOP ${USER} ${MD5(`${stamp}${PASSWORD}`)}`);
    await client.expect("+OK ");
    assert.equal(backend.heard(PASSWORD), true, "the backend takes the password itself");
  });

  await t.test("a digest over another session's stamp is none", async () => {
    const first = await greet();
    await using _first = first.client;
    const second = await greet();
    await using _second = second.client;
    const stamp = STAMP.exec(first.banner)?.[1] ?? "";
    await second.client.send(`APOP ${USER} ${MD5(`${stamp}${PASSWORD}`)}`);
    await second.client.expect("-ERR [AUTH] ");
  });

  await t.test("where all passwords are hashed there is no stamp, and APOP is -ERR", async () => {
    await door.gateway.writeUsers({ "hashed@example.org": hashed });
    await eventually("the new users to be in force", async () => {
      const { client, banner } = await greet();
      await using _closing = client;
      return !banner.includes("<");
    });
    const { client, banner } = await greet();
    await using _closing = client;
    assert.equal(banner, "+OK door.example.org ready");
    await client.send(`APOP hashed@example.org ${MD5(hashed)}`);
    await client.expect("-ERR Not allowed now");
  });
});

test("84: XCLIENT from a client is -ERR and goes nowhere", async () => {
  const authority = await certificateAuthority();
  await using backend = await startScriptedPop3({ tls: "none" });
  await using door = await openPop3Door({ authority, backends: { backend }, users: { [USER]: PASSWORD } });
  for (const enter of ["greeted", "greetedInTls"] as const) {
    await using client = await door[enter]();
    for (const line of ["XCLIENT ADDR=10.0.0.1", "XOIP 10.0.0.1"]) {
      await client.send(line);
      await client.expect("-ERR ");
    }
    await leave(client);
  }
  assert.equal(backend.heard("10.0.0.1"), false);
});

test("85: who is idle in TRANSACTION is left in peace for his time, then closed without a word or a deletion", async () => {
  const authority = await certificateAuthority();
  await using store = await startDovecot({ pop3: true, tls: "none", users: { [USER]: PASSWORD } });
  await store.deliver(USER, message("stays"));
  await using door = await openPop3Door({
    authority,
    backends: { store: pop3Of(store) },
    users: { [USER]: PASSWORD },
    config: { timeouts: { pop3Idle: "2s" } },
  });
  await using client = await door.signedIn(USER, PASSWORD);
  await client.send("DELE 1");
  await client.expect("+OK");
  const since = performance.now();
  await client.expectClosed();
  const waited = performance.now() - since;
  assert.ok(waited > 1_900, `closed after ${waited} ms`);
  await eventually("the backend's session to end", async () => (await store.sessions()).length === 0);
  assert.equal((await store.messages(USER)).length, 1);
  const account = await door.gateway.account((record) => record.user === USER);
  assert.equal(account.reason, "idle");
});

test("a client that vanishes after DELE deletes nothing, and one that says QUIT does", async (t) => {
  const authority = await certificateAuthority();
  await using store = await startDovecot({ pop3: true, tls: "none", users: { [USER]: PASSWORD } });
  await store.deliver(USER, message("stays"));
  await using door = await openPop3Door({
    authority,
    backends: { store: pop3Of(store) },
    users: { [USER]: PASSWORD },
  });
  const endings: Record<string, (client: Conversation) => void> = {
    "by a reset": (client) => client.vanish(),
    "by a close": (client) => client.end(),
    "in the middle of QUIT": (client) => {
      void client.sendRaw("QUI");
      client.end();
    },
  };
  for (const [how, end] of Object.entries(endings)) {
    await t.test(how, async () => {
      await using client = await door.signedIn(USER, PASSWORD);
      await client.send("DELE 1");
      await client.expect("+OK");
      end(client);
      await door.gateway.metricIs("postern_sessions_open", 0);
      await eventually("the backend's session to end", async () => (await store.sessions()).length === 0);
      assert.equal((await store.messages(USER)).length, 1);
    });
  }
  await t.test("QUIT", async () => {
    await using client = await door.signedIn(USER, PASSWORD);
    await client.send("DELE 1");
    await client.expect("+OK");
    await leave(client);
    assert.equal((await store.messages(USER)).length, 0);
  });
});

test("a name or a password with control bytes goes nowhere", async () => {
  const authority = await certificateAuthority();
  await using backend = await startScriptedPop3({ tls: "none" });
  await using door = await openPop3Door({ authority, backends: { backend }, users: { [USER]: PASSWORD } });
  await using client = await door.greetedInTls();
  for (const lines of [
    `USER ${USER}\rX\r\nPASS ${PASSWORD}\r\n`,
    `USER ${USER}\r\nPASS ${PASSWORD}\0\r\n`,
    `USER a\0${USER}\r\nPASS ${PASSWORD}\r\n`,
  ]) {
    await client.sendRaw(lines);
    await client.expect("+OK ");
    await client.expect("-ERR [AUTH] ");
  }
  assert.equal(backend.heard(PASSWORD), false);
});
