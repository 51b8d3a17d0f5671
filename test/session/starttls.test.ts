import assert from "node:assert/strict";
import { test } from "node:test";
import type { TLSSocket } from "node:tls";
import { createPolicy } from "../../src/policy/engine.ts";
import { MemoryStore } from "../../src/policy/store/memory.ts";
import { type Rooms, runSession } from "../../src/session/run-session.ts";
import { listenTo, pipePair, settle } from "../io/loopback.ts";
import { certificateAuthority } from "../support/certificates.ts";
import { within } from "../support/waiting.ts";
import { backendByHand } from "../upstream/backend-by-hand.ts";
import { base64, frontDoor } from "./front-door.ts";
import { sessionOn } from "./stub-session.ts";

const authority = await certificateAuthority();
const certificate = await authority.issue(["localhost", "127.0.0.1"]);
const trust = { ca: authority.ca, servername: "localhost" };

test("STARTTLS, and then everything goes on inside", async (t) => {
  const backend = await backendByHand(t);
  const door = await frontDoor(t, { certificate, backend, frontend: { requireTls: true } });
  const client = await door.connect();
  assert.match(await client.expect("* OK "), / STARTTLS LOGINDISABLED\]/);
  await client.send("a STARTTLS");
  await client.expect("a OK ");
  await client.startTls(trust);
  await client.send("b CAPABILITY");
  const inside = await client.expect("* CAPABILITY ");
  assert.doesNotMatch(inside, /STARTTLS|LOGINDISABLED/);
  assert.match(inside, / AUTH=PLAIN/);
  await client.expect("b OK ");
  await client.send("c STARTTLS");
  await client.expect("c BAD ");
  await client.send("d LOGIN alice secret");
  const visit = await backend.signedIn();
  await client.expect("d OK ");
  visit.end();
  await client.expectClosed();
  const [record] = await door.closed(1);
  assert.equal(record?.["tls"], "TLSv1.3");
});

test("bytes before and after STARTTLS are both in the account", async (t) => {
  const backend = await backendByHand(t);
  const door = await frontDoor(t, { certificate, backend });
  const client = await door.connect();
  let sent = 0;
  const say = async (line: string) => {
    sent += line.length + 2;
    await client.send(line);
  };
  let heard = (await client.expect("* OK ")).length + 2;
  await say("a STARTTLS");
  heard += (await client.expect("a OK ")).length + 2;
  await client.startTls(trust);
  await say("b LOGIN alice secret");
  const visit = await backend.signedIn();
  heard += (await client.expect("b OK ")).length + 2;
  await say("c NOOP");
  await visit.hear("c NOOP");
  visit.say("c OK\r\n");
  heard += (await client.expect("c OK")).length + 2;
  visit.end();
  await client.expectClosed();
  const [record] = await door.closed(1);
  assert.deepEqual(record?.["bytes"], { in: sent, out: heard });
  const metrics = await door.metrics();
  assert.match(metrics, new RegExp(`postern_bytes_total{listener="imap-143",direction="in"} ${sent}\n`));
});

// Item 15.
for (const behind of ["b NOOP\r\n", "b LOGIN alice secret\r\n", "\r\n", "b", "\0"]) {
  test(`${JSON.stringify(behind)} behind STARTTLS in one segment ends the session before TLS`, async (t) => {
    const door = await frontDoor(t, { certificate });
    const client = await door.greeted();
    await client.sendRaw(`a STARTTLS\r\n${behind}`);
    await client.expect("* BYE ");
    await client.expectClosed();
    const [record] = await door.closed(1);
    assert.equal(record?.["reason"], "bytesAfterStartTls");
  });
}

test("clear bytes behind the OK make the handshake fail, and are never run", async (t) => {
  const door = await frontDoor(t, { certificate });
  const client = await door.greeted();
  await client.send("a STARTTLS");
  await client.expect("a OK ");
  await client.sendRaw("b NOOP\r\nc LOGIN alice secret\r\n");
  const lines = await client.readToClose();
  assert.doesNotMatch(lines.join("\n"), /^[bc] /m);
  const [record] = await door.closed(1);
  assert.equal(record?.["outcome"], "none");
});

test("what a man in the middle says in clear while the OK waits to be read is never run inside TLS", async () => {
  // Our own buffer takes eight bytes, so the OK waits until the other side reads.
  const { near, far } = pipePair(8);
  let wrapped = false;
  const session = sessionOn(near, {
    tls: {
      wrap: (socket) => {
        wrapped = true;
        return {
          socket: Object.assign(socket as TLSSocket, { getProtocol: () => "TLSv1.3" }),
          secured: Promise.resolve(undefined),
        };
      },
    },
  });
  const rooms = {
    policy: createPolicy({
      limits: [],
      mode: "enforce",
      exempt: [],
      ipv6Prefix: 64,
      store: new MemoryStore(),
      observer: { wouldRefuse: () => {}, delayed: () => {}, banned: () => {} },
    }),
    telemetry: { refused: () => {}, loggedIn: () => {}, failed: () => {}, closed: () => {} },
  } as unknown as Rooms;
  const story = runSession(session, rooms);
  const heard = listenTo(far);
  await heard.until(" ready\r\n");
  far.pause();
  far.write("a STARTTLS\r\n");
  await settle(20);
  far.write("evil NOOP\r\n");
  await settle(20);
  far.resume();
  await settle(20);
  far.end();
  await within(5_000, "the session to end", story);
  assert.doesNotMatch(heard.heard(), /evil/);
  assert.equal(wrapped, false, "TLS began over clear text");
});

test("an exchange that was begun in clear is forgotten", async (t) => {
  const door = await frontDoor(t, { certificate });
  const client = await door.greeted();
  await client.send("a AUTHENTICATE LOGIN");
  await client.expect("+ ");
  await client.send(base64("alice"));
  await client.expect("+ ");
  await client.send("*");
  await client.expect("a BAD ");
  await client.send("b STARTTLS");
  await client.expect("b OK ");
  await client.startTls(trust);
  await client.send(base64("secret"));
  await client.expect(/ BAD /);
  assert.deepEqual(door.refusals(), []);
});

test("errors made in clear are not forgotten by STARTTLS", async (t) => {
  const door = await frontDoor(t, { certificate });
  const client = await door.greeted();
  await client.sendRaw("x SELECT y\r\n".repeat(6));
  for (let lines = 0; lines < 6; lines += 1) await client.expect("x BAD ");
  await client.send("a STARTTLS");
  await client.expect("a OK ");
  await client.startTls(trust);
  await client.sendRaw("x SELECT y\r\n".repeat(4));
  for (let lines = 0; lines < 4; lines += 1) await client.expect("x BAD ");
  await client.expect("* BYE ");
});

test("a literal in clear that holds STARTTLS is no STARTTLS", async (t) => {
  const door = await frontDoor(t, { certificate });
  const client = await door.greeted();
  await client.sendRaw("a LOGIN {12+}\r\nb STARTTLS\r\n x\r\nc NOOP\r\n");
  await client.expect("a NO [AUTHENTICATIONFAILED] ");
  await client.expect("c OK ");
  assert.equal(client.encrypted, false);
});

test("a client that refuses our certificate ends its session, and does not keep it for the handshake's whole time", async (t) => {
  const door = await frontDoor(t, { certificate, frontend: { handshakeTimeoutMs: 3_000 } });
  const client = await door.greeted();
  await client.send("a STARTTLS");
  await client.expect("a OK ");
  await assert.rejects(client.startTls({ servername: "localhost" }), /certificate/);
  const [record] = await door.closed(1);
  assert.notEqual(record?.["reason"], "loginTimeout");
});
