import assert from "node:assert/strict";
import { connect as connectTcp } from "node:net";
import { test } from "node:test";
import { Refused } from "../../src/refusal.ts";
import { certificateAuthority } from "../support/certificates.ts";
import { eventually, within } from "../support/waiting.ts";
import { backendByHand } from "../upstream/backend-by-hand.ts";
import { base64, frontDoor } from "./front-door.ts";

const certificate = await (await certificateAuthority()).issue(["localhost"]);

/** A byte now and then until the returned function is called. */
function drip(send: () => unknown): () => void {
  const timer = setInterval(send, 10);
  return () => clearInterval(timer);
}

const STATES: Record<string, string> = {
  "a command": "a NOOP ",
  "a quoted string": 'a LOGIN "',
  "a literal": "a LOGIN {4000+}\r\n",
  "a SASL response": "a AUTHENTICATE PLAIN\r\n",
};

for (const [where, opening] of Object.entries(STATES)) {
  test(`the login deadline is one for everything: a drip inside ${where} does not stretch it`, async (t) => {
    const door = await frontDoor(t, { frontend: { loginTimeoutMs: 300 } });
    const began = performance.now();
    const client = await door.greeted();
    await client.sendRaw(opening);
    const stop = drip(() => client.sendRaw("A"));
    t.after(stop);
    const lines = await client.expectUntil("* BYE ");
    assert.ok(lines.length <= 2);
    assert.ok(performance.now() - began >= 290);
    stop();
    await client.readToClose();
    const [record] = await door.closed(1);
    assert.equal(record?.["reason"], "loginTimeout");
  });
}

test("commands that are answered do not stretch the login deadline", async (t) => {
  const door = await frontDoor(t, { frontend: { loginTimeoutMs: 300 } });
  const client = await door.greeted();
  const stop = drip(() => client.sendRaw("a NOOP\r\n"));
  t.after(stop);
  await client.expectUntil("* BYE ");
});

test("a client that never says a word is told, and gone", async (t) => {
  const door = await frontDoor(t, { frontend: { loginTimeoutMs: 100 } });
  const client = await door.greeted();
  await client.expect("* BYE ");
  await client.expectClosed();
});

test("a failed login does not begin a new deadline", async (t) => {
  const door = await frontDoor(t, { frontend: { loginTimeoutMs: 300 } });
  const began = performance.now();
  const client = await door.greeted();
  const timer = setInterval(() => void client.sendRaw("a LOGIN alice wrong\r\n"), 100);
  t.after(() => clearInterval(timer));
  await client.expectUntil("* BYE ");
  assert.ok(performance.now() - began < 2_000);
});

test("a client that asks and asks and never reads is cut at the login deadline", async (t) => {
  const door = await frontDoor(t, {
    // A megabyte of answer for each of its commands, so that no kernel takes them all.
    frontend: {
      loginTimeoutMs: 300,
      backendCapabilities: () => ["IMAP4rev1", ...Array(10_000).fill("X".repeat(100))],
    },
  });
  const client = connectTcp({ port: door.port, host: "127.0.0.1" });
  client.on("error", () => {});
  t.after(() => client.destroy());
  client.write("a CAPABILITY\r\n".repeat(100));
  const began = performance.now();
  await door.closed(1);
  assert.ok(performance.now() - began < 5_000);
  assert.equal(door.live.size, 0);
});

test("a handshake that never ends is over at its own deadline", async (t) => {
  const door = await frontDoor(t, { certificate, frontend: { implicitTls: true, handshakeTimeoutMs: 200 } });
  const client = connectTcp({ port: door.port, host: "127.0.0.1" });
  client.on("error", () => {});
  t.after(() => client.destroy());
  const hello = Buffer.from("16030100c8010000c40303", "hex");
  client.write(hello);
  const stop = drip(() => client.write("\0"));
  t.after(stop);
  const began = performance.now();
  let heard = 0;
  client.on("data", (chunk) => {
    heard += chunk.length;
  });
  const [record] = await door.closed(1);
  assert.ok(performance.now() - began < 2_000);
  assert.equal(record?.["reason"], "loginTimeout");
  assert.equal(heard, 0, "nothing is said in clear text on a port of TLS");
});

test("the handshake after STARTTLS does not stretch the login deadline", async (t) => {
  const door = await frontDoor(t, {
    certificate,
    frontend: { loginTimeoutMs: 300, handshakeTimeoutMs: 4_000 },
  });
  const client = await door.greeted();
  await client.send("a STARTTLS");
  await client.expect("a OK ");
  const began = performance.now();
  await door.closed(1);
  assert.ok(performance.now() - began < 2_000);
});

test("a backend that says nothing is an outage in its own time, not in the client's", async (t) => {
  const backend = await backendByHand(t);
  const door = await frontDoor(t, { backend, connectTimeoutMs: 200 });
  const client = await door.greeted();
  await client.send("a LOGIN alice secret");
  await client.expect("a NO [UNAVAILABLE] ");
  await client.send("b NOOP");
  await client.expect("b OK ");
});

test("a backend that is slow to let in costs no more than what the client has left", async (t) => {
  const backend = await backendByHand(t);
  const door = await frontDoor(t, { backend, frontend: { loginTimeoutMs: 400 } });
  const began = performance.now();
  const client = await door.greeted();
  await client.send("a LOGIN alice secret");
  const visit = await backend.visit();
  visit.say("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\n");
  await visit.hear(/^A AUTHENTICATE/);
  await client.readToClose();
  assert.ok(performance.now() - began < 3_000);
  await visit.hearsEnd();
});

test("after login the login deadline is over", async (t) => {
  const backend = await backendByHand(t);
  const door = await frontDoor(t, { backend, frontend: { loginTimeoutMs: 250 } });
  const client = await door.greeted();
  await client.send("a LOGIN alice secret");
  const visit = await backend.signedIn();
  await client.expect("a OK");
  await new Promise((resolve) => setTimeout(resolve, 350));
  visit.say("* 1 EXISTS\r\n");
  await client.expect("* 1 EXISTS");
});

test("a relay in which nothing moves ends with a BYE", async (t) => {
  const backend = await backendByHand(t);
  const door = await frontDoor(t, { backend, idleMs: 100 });
  const client = await door.greeted();
  await client.send("a LOGIN alice secret");
  const visit = await backend.signedIn();
  await client.expect("a OK");
  await client.expect("* BYE ");
  await client.expectClosed();
  await visit.hearsEnd();
  const [record] = await door.closed(1);
  assert.equal(record?.["reason"], "idle");
});

const shutdown = new Refused("shutdown", "the gateway stops");

test("a stop says BYE to whoever is not signed in, and to whoever is", async (t) => {
  const backend = await backendByHand(t);
  const door = await frontDoor(t, { backend });
  const waiting = await door.greeted();
  const midway = await door.greeted();
  await midway.send("a AUTHENTICATE PLAIN");
  await midway.expect("+ ");
  const inside = await door.greeted();
  await inside.send("a LOGIN alice secret");
  const visit = await backend.signedIn();
  await inside.expect("a OK");
  const stopped = door.live.stop(shutdown, 5_000);
  for (const client of [waiting, midway, inside]) {
    await client.expectUntil("* BYE Shutting down");
    await client.expectClosed();
  }
  await visit.hearsEnd();
  await within(5_000, "everybody to leave", stopped);
  assert.deepEqual(new Set(door.accounts().map((record) => record["reason"])), new Set(["shutdown"]));
});

test("a stop that comes while the session waits for the policy is not forgotten", async (t) => {
  const admitted = Promise.withResolvers<AsyncDisposable>();
  const door = await frontDoor(t, { policy: { connection: () => admitted.promise } });
  const client = await door.connect();
  await eventually("the session", () => door.live.size === 1);
  for (const session of door.live) session.stop(shutdown);
  admitted.resolve({ async [Symbol.asyncDispose]() {} });
  await client.expectUntil("* BYE Shutting down");
  await client.expectClosed();
});

test("a stop that comes while the password is looked at ends the session, whatever comes of it", async (t) => {
  for (const right of [true, false]) {
    const backend = await backendByHand(t);
    const looked = Promise.withResolvers<void>();
    const door = await frontDoor(t, {
      backend,
      authenticate: async () => {
        await looked.promise;
        if (right) return { user: "alice" };
        throw new Refused("badCredential", "wrong");
      },
    });
    const client = await door.greeted();
    await client.send(`a AUTHENTICATE PLAIN ${base64("\0alice\0secret")}`);
    await eventually("the password to be looked at", () =>
      [...door.live].some(({ stage }) => stage === "authenticating"),
    );
    for (const session of door.live) session.stop(shutdown);
    looked.resolve();
    if (right) await backend.signedIn();
    await client.expectUntil("* BYE Shutting down");
    await client.expectClosed();
  }
});
