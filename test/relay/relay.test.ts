import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import type { Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { Channel } from "../../src/io/channel.ts";
import { Refused } from "../../src/refusal.ts";
import { IdleWatch } from "../../src/relay/idle-watch.ts";
import { type Relay, startRelay } from "../../src/relay/relay.ts";
import { listenTo, settle, socketPair } from "../io/loopback.ts";
import { eventually, within } from "../support/waiting.ts";

const shutdown = new Refused("shutdown", "for a test");
const BYE = "* BYE Shutting down\r\n";

interface Relayed {
  readonly relay: Relay;
  /** The ends that the test plays: the mail program, and the mail server. */
  readonly client: Socket;
  readonly backend: Socket;
  /** The ends that are ours. */
  readonly nearClient: Socket;
  readonly nearBackend: Socket;
}

interface Start {
  readonly restOfClient?: string;
  readonly restOfBackend?: string;
  readonly idleMs?: number;
  readonly before?: (ends: { client: Socket; backend: Socket }) => Promise<void>;
}

/** Two TCP connections, and the relay between them. */
async function relayed(t: TestContext, start: Start = {}): Promise<Relayed> {
  const left = await socketPair();
  const right = await socketPair();
  t.after(() => {
    left[Symbol.dispose]();
    right[Symbol.dispose]();
  });
  const channels = [new Channel(left.near, 1 << 20), new Channel(right.near, 1 << 20)] as const;
  await start.before?.({ client: left.far, backend: right.far });
  const [client, upstream] = channels.map((channel) => channel.detach());
  assert.ok(client && upstream);
  const relay = startRelay(
    {
      client: { ...client, rest: Buffer.concat([client.rest, Buffer.from(start.restOfClient ?? "")]) },
      upstream: { ...upstream, rest: Buffer.concat([upstream.rest, Buffer.from(start.restOfBackend ?? "")]) },
    },
    new IdleWatch(start.idleMs ?? 3_600_000),
    () => BYE,
  );
  return { relay, client: left.far, backend: right.far, nearClient: left.near, nearBackend: right.near };
}

const over = (relay: Relay): Promise<string> => within(5_000, "the relay to end", relay.done);

test("bytes pass both ways as they came", async (t) => {
  const { relay, client, backend } = await relayed(t);
  const heard = { client: listenTo(client), backend: listenTo(backend) };
  client.write("a NOOP\r\n\0\xff");
  await heard.backend.until("a NOOP\r\n");
  backend.write("a OK\r\n* half a li");
  await heard.client.until("half a li");
  assert.equal(heard.backend.heard(), "a NOOP\r\n\0\xc3\xbf");
  client.end();
  backend.end();
  assert.equal(await over(relay), "client left");
});

test("what was read before goes first, in both directions", async (t) => {
  const { client, backend } = await relayed(t, {
    restOfClient: "b SELECT INBOX\r\n",
    restOfBackend: "* 7 EXISTS\r\n",
  });
  const heard = { client: listenTo(client), backend: listenTo(backend) };
  client.write("c NOOP\r\n");
  backend.write("b OK\r\n");
  await heard.backend.until("c NOOP\r\n");
  await heard.client.until("b OK\r\n");
  assert.equal(heard.backend.heard(), "b SELECT INBOX\r\nc NOOP\r\n");
  assert.equal(heard.client.heard(), "* 7 EXISTS\r\nb OK\r\n");
});

for (const slow of ["client", "backend"] as const) {
  test(`a ${slow} that reads nothing stops the other side, and memory stays small`, async (t) => {
    const ends = await relayed(t);
    const [reader, writer, near] =
      slow === "client"
        ? [ends.client, ends.backend, ends.nearClient]
        : [ends.backend, ends.client, ends.nearBackend];
    reader.pause();
    const chunk = randomBytes(1 << 20);
    const total = 48;
    let taken = 0;
    const pour = (async () => {
      for (; taken < total; taken += 1) if (!writer.write(chunk)) await once(writer, "drain");
    })();
    // Until the kernels' buffers are full and nothing moves any more.
    let before = -1;
    await eventually(
      "the stream to stand still",
      async () => {
        const still = taken === before;
        before = taken;
        return still;
      },
      { everyMs: 100 },
    );
    assert.ok(taken < total, "the writer could write everything: nobody stopped it");
    assert.ok(near.writableLength <= 1 << 20, `${near.writableLength} bytes stand in our memory`);
    let read = 0;
    reader.on("data", (piece) => {
      read += piece.length;
    });
    reader.resume();
    await within(10_000, "everything to be written", pour);
    await eventually("everything to arrive", () => read === total * chunk.length);
  });
}

test("a backend's long answer arrives whole, and in order, after the client's FIN", async (t) => {
  const { relay, client, backend } = await relayed(t);
  const answer = randomBytes(3 << 20);
  const pieces: Buffer[] = [];
  client.on("data", (piece: Buffer) => pieces.push(piece));
  const asked = listenTo(backend);
  client.end("a LOGOUT\r\n");
  await asked.ended;
  assert.equal(asked.heard(), "a LOGOUT\r\n");
  backend.end(answer);
  await within(5_000, "the client to hear the end", once(client, "end"));
  assert.ok(Buffer.concat(pieces).equals(answer));
  assert.equal(await over(relay), "client left");
});

test("a backend that ends ends the session behind its last byte", async (t) => {
  const { relay, client, backend } = await relayed(t);
  const heard = listenTo(client);
  backend.end("* BYE see you\r\na OK\r\n");
  await heard.ended;
  assert.equal(heard.heard(), "* BYE see you\r\na OK\r\n");
  client.end();
  assert.equal(await over(relay), "backend closed");
});

test("a client that stays when its backend has gone is cut in the end", { timeout: 10_000 }, async (t) => {
  const { relay, client, backend, nearClient } = await relayed(t);
  t.mock.timers.enable({ apis: ["setTimeout"] });
  client.resume();
  backend.resetAndDestroy();
  await once(client, "end");
  client.write("a NOOP\r\n");
  await settle(20);
  t.mock.timers.tick(4_999);
  assert.equal(nearClient.destroyed, false, "it has time to read what is left for it");
  t.mock.timers.tick(1);
  assert.equal(nearClient.destroyed, true);
  await relay.done;
});

for (const side of ["client", "backend"] as const) {
  test(`a ${side} that breaks takes the other side with it at once`, async (t) => {
    const { relay, ...ends } = await relayed(t);
    const other = side === "client" ? ends.backend : ends.client;
    const heard = listenTo(other);
    ends[side].resetAndDestroy();
    await heard.ended;
    other.end();
    assert.equal(await over(relay), side === "client" ? "client left" : "backend closed");
  });

  test(`a ${side} that had broken before the relay began ends it too`, async (t) => {
    const ends = await relayed(t, {
      before: async (sockets) => {
        sockets[side].resetAndDestroy();
        await settle(50);
      },
    });
    ends.client.resume().end();
    ends.backend.resume().end();
    await over(ends.relay);
  });

  test(`a ${side} that had said FIN before the relay began has said it to the other side`, async (t) => {
    const { relay, client, backend } = await relayed(t, {
      before: async (sockets) => {
        sockets[side].end(side === "client" ? "a LOGOUT\r\n" : "* BYE\r\n");
        await settle(50);
      },
    });
    const [other, own] = side === "client" ? [backend, client] : [client, backend];
    const heard = listenTo(other);
    own.resume();
    await heard.ended;
    assert.equal(heard.heard(), side === "client" ? "a LOGOUT\r\n" : "* BYE\r\n");
    other.end();
    await over(relay);
  });
}

test("a stop says goodbye to the client, and nothing to the backend", async (t) => {
  const { relay, client, backend } = await relayed(t);
  const heard = { client: listenTo(client), backend: listenTo(backend) };
  backend.write("* 1 EXISTS\r\n");
  await heard.client.until("EXISTS\r\n");
  relay.stop(shutdown);
  await heard.client.ended;
  await heard.backend.ended;
  assert.equal(heard.client.heard(), `* 1 EXISTS\r\n${BYE}`);
  assert.equal(heard.backend.heard(), "");
  client.end();
  assert.equal(await over(relay), "shutdown");
});

for (const [where, start, said] of [
  ["in what the backend had sent last", {}, "* 1 FETCH (BODY[] {100}\r\nhalf a mess"],
  ["in what had been read before the relay", { restOfBackend: "* 1 FETCH (BODY[] {100}\r\nhalf a mess" }, ""],
] as const) {
  test(`a stop in the middle of a line says nothing: half a line stands ${where}`, async (t) => {
    const { relay, client, backend } = await relayed(t, start);
    const heard = listenTo(client);
    backend.write(said);
    await heard.until("half a mess");
    relay.stop(shutdown);
    await heard.ended;
    assert.doesNotMatch(heard.heard(), /BYE/);
    client.end();
    backend.destroy();
    assert.equal(await over(relay), "shutdown");
  });
}

test("a stop does not say goodbye behind bytes that the client has not taken", async (t) => {
  const { relay, client, backend, nearClient } = await relayed(t);
  client.pause();
  const line = Buffer.from(`${"x".repeat(1022)}\r\n`);
  await eventually(
    "our buffer for the client to fill",
    () => {
      for (let lines = 0; lines < 256; lines += 1) backend.write(line);
      return nearClient.writableLength > 0;
    },
    { everyMs: 5 },
  );
  relay.stop(shutdown);
  const heard = listenTo(client);
  client.resume();
  await heard.ended;
  assert.doesNotMatch(heard.heard(), /BYE/);
  client.end();
  await over(relay);
});

test("a second stop says nothing more", async (t) => {
  const { relay, client } = await relayed(t);
  const heard = listenTo(client);
  relay.stop(shutdown);
  relay.stop(new Refused("idle", "later"));
  await heard.ended;
  assert.equal(heard.heard(), BYE);
  client.end();
  assert.equal(await over(relay), "shutdown");
});

test("bytes are counted from the connection's beginning to its end", async (t) => {
  const { relay, client, backend } = await relayed(t, {
    before: async (ends) => {
      ends.client.write("a LOGIN alice x\r\n");
      await settle(20);
    },
  });
  const heard = { client: listenTo(client), backend: listenTo(backend) };
  client.write("b NOOP\r\n");
  await heard.backend.until("b NOOP\r\n");
  backend.write("b OK\r\n");
  await heard.client.until("b OK\r\n");
  assert.deepEqual(relay.bytes(), { in: 25, out: 6 });
  client.end();
  backend.end();
  await over(relay);
  assert.deepEqual(relay.bytes(), { in: 25, out: 6 }, "and stay when it is over");
});

test("a thousand relays leave no listener, no timer and no socket behind", async () => {
  const watch = new IdleWatch(60_000);
  const before = process.getActiveResourcesInfo().filter((name) => name !== "Immediate").length;
  const one = async (number: number): Promise<void> => {
    const left = await socketPair();
    const right = await socketPair();
    const client = new Channel(left.near, 1_000).detach();
    const upstream = new Channel(right.near, 1_000).detach();
    const relay = startRelay({ client, upstream }, watch, () => BYE);
    left.far.resume();
    right.far.resume();
    left.far.write("a NOOP\r\n");
    const endings = [
      () => left.far.end(),
      () => right.far.end(),
      () => left.far.resetAndDestroy(),
      () => right.far.resetAndDestroy(),
      () => relay.stop(shutdown),
    ];
    endings[number % endings.length]?.();
    // Each side hangs up once the other has.
    left.far.once("end", () => left.far.end());
    right.far.once("end", () => right.far.end());
    await within(8_000, `relay ${number} to end`, relay.done);
    assert.ok(left.near.destroyed && right.near.destroyed);
    left.far.destroy();
    right.far.destroy();
  };
  for (let round = 0; round < 20; round += 1) {
    await Promise.all(Array.from({ length: 50 }, (_, number) => one(number)));
  }
  await eventually(
    () => `nothing to be left: ${process.getActiveResourcesInfo()}`,
    () => process.getActiveResourcesInfo().filter((name) => name !== "Immediate").length <= before + 1,
  );
});
