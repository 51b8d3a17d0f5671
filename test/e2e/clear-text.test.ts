import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { connect } from "../support/conversation.ts";
import { openDoor } from "../support/door.ts";
import { startScriptedBackend } from "../support/scripted-backend.ts";

const USER = "alice@example.org";
const PASSWORD = "only inside TLS";
const PLAIN = Buffer.from(`\0${USER}\0${PASSWORD}`).toString("base64");

test("a password before TLS is refused, and not looked at", async (t) => {
  const authority = await certificateAuthority();
  await using backend = await startScriptedBackend({ tls: "none" });
  await using door = await openDoor({
    authority,
    backends: { backend },
    users: { [USER]: PASSWORD },
    config: { routes: [{ to: "backend" }] },
  });

  await t.test("the greeting and CAPABILITY say so", async () => {
    await using client = await connect({ port: door.ports.starttls });
    const lists = [await client.expect("* OK [CAPABILITY ")];
    await client.send("a CAPABILITY");
    lists.push(await client.expect("* CAPABILITY "));
    await client.expect("a OK ");
    for (const list of lists) {
      assert.match(list, / STARTTLS\b/);
      assert.match(list, / LOGINDISABLED\b/);
      assert.doesNotMatch(list, / AUTH=/);
    }
  });

  await t.test("inside TLS they say the opposite", async () => {
    for (const enter of ["secured", "greetedInTls"] as const) {
      await using client = await door[enter]();
      await client.send("a CAPABILITY");
      const list = await client.expect("* CAPABILITY ");
      assert.doesNotMatch(list, / (STARTTLS|LOGINDISABLED)\b/);
      assert.match(list, / AUTH=PLAIN\b/);
    }
  });

  const tries = {
    "LOGIN, right": [`try LOGIN ${USER} "${PASSWORD}"`],
    "LOGIN, wrong": [`try LOGIN ${USER} wrong`],
    "LOGIN, unknown": [`try LOGIN nobody@example.org "${PASSWORD}"`],
    "LOGIN by literals that wait": [`try LOGIN {${USER.length}}`],
    "LOGIN by literals that do not wait": [
      `try LOGIN {${USER.length}+}`,
      `${USER} {${PASSWORD.length}+}`,
      PASSWORD,
    ],
    "AUTHENTICATE PLAIN with its initial response": [`try AUTHENTICATE PLAIN ${PLAIN}`],
    "AUTHENTICATE PLAIN": ["try AUTHENTICATE PLAIN"],
    "AUTHENTICATE LOGIN": ["try AUTHENTICATE LOGIN"],
  };
  for (const [way, lines] of Object.entries(tries)) {
    await t.test(way, async () => {
      await using client = await door.greeted();
      for (const line of lines) await client.send(line);
      await client.expect("try NO [PRIVACYREQUIRED] ");
      await client.send("n NOOP");
      await client.expect("n OK ");
    });
  }

  await t.test("nothing of it came to the backend", () => {
    assert.ok(backend.connections >= 1, "the door has asked the backend what it offers");
    assert.equal(backend.heard(PASSWORD), false);
    assert.equal(backend.heard(USER), false);
  });
});

test("bytes behind STARTTLS end the session, and nothing of them runs", async (t) => {
  const authority = await certificateAuthority();
  await using backend = await startScriptedBackend({ tls: "none" });
  await using door = await openDoor({
    authority,
    backends: { backend },
    users: { [USER]: PASSWORD },
    config: { routes: [{ to: "backend" }] },
  });
  const behind = {
    "a command": "b NOOP\r\n",
    "a login": `b LOGIN ${USER} "${PASSWORD}"\r\n`,
    "half a command": `b LOGIN ${USER} `,
    "one byte": "b",
    "a line end": "\r\n",
    "the beginning of a handshake": "\x16\x03\x01\x02\x00",
  };
  for (const [what, bytes] of Object.entries(behind)) {
    await t.test(what, async () => {
      await using client = await door.greeted();
      await client.sendRaw(`a STARTTLS\r\n${bytes}`);
      const lines = await client.readToClose();
      assert.ok(!lines.some((line) => line.startsWith("a OK") || line.startsWith("b ")), lines.join("\n"));
      assert.ok(
        lines.every((line) => line.startsWith("* BYE")),
        lines.join("\n"),
      );
    });
  }
  await t.test("each was counted, and nobody signed in", async () => {
    const count = Object.keys(behind).length;
    await door.gateway.metricIs("postern_refusals_total", count, { kind: "bytesAfterStartTls" });
    await door.gateway.metricIs("postern_sessions_open", 0);
    assert.equal(backend.heard(USER), false);
  });

  await t.test("in TLS, STARTTLS is an order of things that cannot be", async () => {
    await using client = await door.secured();
    await client.send("a STARTTLS");
    await client.expect("a BAD ");
    await client.send("b LOGOUT");
    await client.expectUntil("b OK ");
  });

  await t.test("an argument behind STARTTLS is BAD, and no handshake begins", async () => {
    await using client = await door.greeted();
    await client.send("a STARTTLS now");
    await client.expect("a BAD ");
    await client.send("b NOOP");
    await client.expect("b OK ");
  });
});

test("who speaks clear text where TLS begins hears none", async (t) => {
  const authority = await certificateAuthority();
  await using backend = await startScriptedBackend({ tls: "none" });
  await using door = await openDoor({
    authority,
    backends: { backend },
    users: { [USER]: PASSWORD },
    config: { routes: [{ to: "backend" }], timeouts: { handshake: "1s" } },
  });
  for (const [what, bytes] of Object.entries({
    IMAP: `a LOGIN ${USER} "${PASSWORD}"\r\n`,
    HTTP: "GET / HTTP/1.1\r\nHost: door.example.org\r\n\r\n",
    nothing: "",
  })) {
    await t.test(what, async () => {
      await using client = await connect({ port: door.ports.implicit });
      await client.sendRaw(bytes);
      for (const line of await client.readToClose())
        assert.doesNotMatch(line, /^[ -~]+$/, "words in clear text");
    });
  }
  await t.test("other protocols at the clear port are turned away with nothing of theirs", async () => {
    await using client = await door.greeted();
    await client.sendRaw("GET /?<script> HTTP/1.1\r\nHost: door.example.org\r\n\r\n");
    const said = (await client.readToClose()).join("\n");
    assert.match(said, /BYE/);
    assert.doesNotMatch(said, /script/);
  });
  await t.test("the door serves on", async () => {
    await using _client = await door.signedIn(USER, PASSWORD);
    await door.gateway.metricIs("postern_sessions_open", 1);
  });
});
