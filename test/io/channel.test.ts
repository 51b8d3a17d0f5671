import assert from "node:assert/strict";
import { once } from "node:events";
import type { Socket } from "node:net";
import { type TestContext, test } from "node:test";
import type { TLSSocket } from "node:tls";
import { Channel, ChannelClosed } from "../../src/io/channel.ts";
import { Refused } from "../../src/refusal.ts";
import { within } from "../support/waiting.ts";
import { listenTo, pipePair, settle, socketPair } from "./loopback.ts";

const PATIENCE = 3_000;
const BUDGET = 64 * 1024;
const late = new Refused("loginTimeout", "too late");

const refusedAs = (kind: string) => (error: unknown) =>
  error instanceof Refused && error.refusal.kind === kind;
const closed = (error: unknown) => error instanceof ChannelClosed;
const soon = <T>(what: string, promise: Promise<T>): Promise<T> => within(PATIENCE, what, promise);

/** Settles when a socket has closed, for whatever reason. */
function closing(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    socket.once("close", () => resolve());
  });
}

/** What a promise has come to by now, without waiting for it. */
async function state(promise: Promise<unknown>): Promise<"pending" | "kept" | "broken"> {
  let now: "pending" | "kept" | "broken" = "pending";
  promise.then(
    () => {
      now = "kept";
    },
    () => {
      now = "broken";
    },
  );
  await settle();
  return now;
}

function holdTime(t: TestContext): { pass(ms: number): void } {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let now = performance.now();
  t.mock.method(performance, "now", () => now);
  return {
    pass(ms) {
      now += ms;
      t.mock.timers.tick(ms);
    },
  };
}

test("lines and exact lengths come out as asked for, however they came in", async () => {
  using pair = await socketPair();
  const channel = new Channel(pair.near, BUDGET);
  pair.far.write("one\r\ntw");
  assert.equal((await soon("a line", channel.readLine(10))).toString(), "one");
  const second = channel.readLine(10);
  pair.far.write("o\nabc");
  assert.equal((await soon("a line", second)).toString(), "two");
  const exact = channel.readExact(5);
  pair.far.write("dexyz");
  assert.equal((await soon("five bytes", exact)).toString(), "abcde");
  assert.equal(channel.pending, 3);
  assert.equal(channel.bytesRead, 17);
});

test("a line beyond its limit is refused before its end has come", async () => {
  using pair = await socketPair();
  const channel = new Channel(pair.near, BUDGET);
  pair.far.write("x".repeat(100));
  await assert.rejects(soon("a refusal", channel.readLine(50)), refusedAs("tooLong"));
});

test("the deadline is one for all bytes: a drip does not push it back", async (t) => {
  const time = holdTime(t);
  using pair = await socketPair();
  const channel = new Channel(pair.near, BUDGET);
  channel.setDeadline(1_000, () => late);
  const line = channel.readLine(100);
  line.catch(() => {});
  for (let second = 0; second < 9; second += 1) {
    pair.far.write("x");
    await settle();
    time.pass(110);
    assert.equal(await state(line), "pending");
  }
  pair.far.write("x");
  await settle();
  time.pass(10);
  await assert.rejects(line, late);
  await assert.rejects(channel.readExact(1_000), late, "and every later wait ends with it too");
});

test("a deadline that passes while nobody waits ends the next wait", async (t) => {
  const time = holdTime(t);
  using pair = await socketPair();
  const channel = new Channel(pair.near, BUDGET);
  channel.setDeadline(10, () => late);
  time.pass(10);
  await assert.rejects(channel.readLine(10), late);
});

test("a cleared deadline ends nothing", async (t) => {
  const time = holdTime(t);
  using pair = await socketPair();
  const channel = new Channel(pair.near, BUDGET);
  channel.setDeadline(10, () => late);
  channel.clearDeadline();
  time.pass(100);
  const line = channel.readLine(10);
  pair.far.write("ok\r\n");
  assert.equal((await line).toString(), "ok");
});

test("beyond the budget nothing is read any more", async () => {
  using pair = await socketPair();
  const channel = new Channel(pair.near, 20);
  pair.far.write("12345678\r\n12345678\r\nx\r\n");
  await soon("a line", channel.readLine(10));
  await soon("a line", channel.readLine(10));
  await assert.rejects(soon("a refusal", channel.readLine(10)), refusedAs("tooLong"));
});

test("a length beyond the budget is refused before a byte of it is waited for", async () => {
  using pair = await socketPair();
  const channel = new Channel(pair.near, 20);
  const asks: (() => Promise<unknown>)[] = [
    () => channel.readExact(21),
    () => channel.discard(4_294_967_295),
  ];
  for (const ask of asks) {
    await assert.rejects(soon("a refusal", ask()), refusedAs("tooLong"));
  }
  await assert.rejects(channel.discard(Number.POSITIVE_INFINITY), refusedAs("tooLong"));
});

test("while nobody asks, a peer that sends on is stopped", async () => {
  using pair = await socketPair();
  const channel = new Channel(pair.near, 1 << 30);
  const first = channel.readLine(10);
  pair.far.write("go\r\n");
  await soon("a line", first);
  // More than both kernels' buffers take.
  const chunk = Buffer.alloc(1 << 20, 0x61);
  for (let sent = 0; sent < 32; sent += 1) pair.far.write(chunk);
  await settle(200);
  assert.ok(channel.pending < 256 * 1024, `${channel.pending} bytes stand in memory`);
  assert.ok(pair.far.writableLength > 1 << 20, "the peer's bytes stay with the peer");
});

test("a large count is forgotten as it comes", async () => {
  using pair = await socketPair();
  const channel = new Channel(pair.near, 1 << 30);
  const size = 64 << 20;
  let most = 0;
  const watch = setInterval(() => {
    most = Math.max(most, channel.pending);
  }, 1);
  const discarded = channel.discard(size);
  const chunk = Buffer.alloc(1 << 20, 0x61);
  for (let sent = 0; sent < size; sent += chunk.length) {
    if (!pair.far.write(chunk)) await soon("the channel to take it", once(pair.far, "drain"));
  }
  pair.far.write("next\r\n");
  await soon("all to be forgotten", discarded);
  clearInterval(watch);
  assert.equal((await soon("a line", channel.readLine(10))).toString(), "next");
  assert.ok(most <= 256 * 1024, `${most} bytes stood in memory`);
});

test("a write waits while the other side takes nothing", async () => {
  const { near, far } = pipePair(1024);
  const channel = new Channel(near, BUDGET);
  const written = channel.write(Buffer.alloc(8 * 1024));
  assert.equal(await state(written), "pending");
  far.resume();
  await soon("the write", written);
  far.destroy();
});

test("a write that waits ends at the deadline", async (t) => {
  const time = holdTime(t);
  const { near, far } = pipePair(1024);
  const channel = new Channel(near, BUDGET);
  channel.setDeadline(1_000, () => late);
  const written = channel.write(Buffer.alloc(8 * 1024));
  written.catch(() => {});
  assert.equal(await state(written), "pending");
  time.pass(1_000);
  await assert.rejects(written, late);
  far.destroy();
});

test("the last words after the deadline do not wait for a peer that takes nothing", async (t) => {
  const time = holdTime(t);
  const { near, far } = pipePair(1024);
  const channel = new Channel(near, BUDGET);
  channel.setDeadline(1_000, () => late);
  const written = channel.write(Buffer.alloc(8 * 1024));
  written.catch(() => {});
  await settle();
  time.pass(1_000);
  await assert.rejects(written, late);
  const lastWords = channel.write("* BYE No login in time\r\n");
  lastWords.catch(() => {});
  time.pass(3_600_000);
  assert.notEqual(await state(lastWords), "pending", "nothing bounds this wait any more");
  far.destroy();
});

test("a peer that talks while we wait for it to read piles nothing up on the socket", async () => {
  const { near, far } = pipePair(1024);
  const channel = new Channel(near, BUDGET);
  const first = channel.readLine(10);
  far.write("go\r\n");
  await soon("a line", first);
  const written = channel.write(Buffer.alloc(8 * 1024));
  for (let sent = 0; sent < 50; sent += 1) {
    far.write("x");
    await settle(2);
  }
  assert.ok(near.listenerCount("drain") < 5, `${near.listenerCount("drain")} listeners wait for one event`);
  far.resume();
  await soon("the write", written);
  far.destroy();
});

test("a write that waits ends when the connection does", async () => {
  const { near, far } = pipePair(1024);
  const channel = new Channel(near, BUDGET);
  const written = channel.write(Buffer.alloc(8 * 1024));
  written.catch(() => {});
  await settle();
  near.destroy();
  await assert.rejects(soon("the write", written), closed);
  far.destroy();
});

test("after the peer's FIN what had come is still read, and then it is over", async () => {
  using pair = await socketPair();
  const channel = new Channel(pair.near, BUDGET);
  pair.far.end("one\r\nhalf");
  assert.equal((await soon("a line", channel.readLine(10))).toString(), "one");
  await assert.rejects(soon("the end", channel.readLine(10)), closed);
  await assert.rejects(soon("the end", channel.readExact(5)), closed);
  const heard = listenTo(pair.far);
  await channel.write("still here\r\n");
  channel.end();
  await heard.ended;
  assert.equal(heard.heard(), "still here\r\n");
});

test("end says everything that was written, then FIN", async () => {
  using pair = await socketPair();
  const channel = new Channel(pair.near, BUDGET);
  const words = "x".repeat(4 << 20);
  const written = channel.write(words);
  channel.end();
  const heard = listenTo(pair.far);
  await heard.ended;
  assert.equal(heard.heard().length, words.length);
  written.catch(() => {});
});

test("end cuts a peer that stays off, and only after its time", async (t) => {
  const time = holdTime(t);
  using pair = await socketPair();
  const channel = new Channel(pair.near, BUDGET);
  await channel.write("bye\r\n");
  channel.end(2_000);
  await settle(20);
  time.pass(1_999);
  assert.equal(pair.near.destroyed, false);
  time.pass(1);
  assert.equal(pair.near.destroyed, true);
});

test("end cuts a peer that has said FIN and takes nothing", async (t) => {
  const time = holdTime(t);
  const { near, far } = pipePair(1024);
  const channel = new Channel(near, BUDGET);
  const line = channel.readLine(10);
  far.end();
  await assert.rejects(soon("the end", line), closed);
  channel.write(Buffer.alloc(8 * 1024)).catch(() => {});
  channel.end(2_000);
  await settle();
  time.pass(2_000);
  await settle();
  assert.equal(near.destroyed, true);
  far.destroy();
});

test("end leaves no socket and no timer behind when the peer leaves too", async () => {
  using pair = await socketPair();
  const channel = new Channel(pair.near, BUDGET);
  const gone = closing(pair.near);
  channel.end(600_000);
  pair.far.resume();
  pair.far.end();
  await soon("the socket to close", gone);
  assert.deepEqual(
    process.getActiveResourcesInfo().filter((name) => name === "Timeout"),
    [],
  );
});

test("everything that reached us is handed over on detach, and nothing of ours stays on the socket", async () => {
  using pair = await socketPair();
  const channel = new Channel(pair.near, BUDGET);
  channel.setDeadline(60_000, () => late);
  channel.onLeave(() => assert.fail("the socket is not the channel's any more"));
  pair.far.write("login\r\nnext\r\nand so on");
  await soon("a line", channel.readLine(10));
  const { socket, rest } = channel.detach();
  assert.equal(rest.toString(), "next\r\nand so on");
  assert.equal(socket, pair.near);
  assert.deepEqual(
    ["data", "end", "close", "drain"].map((event) => socket.listenerCount(event)),
    [0, socket.listenerCount("end"), 0, 0],
  );
  assert.equal(socket.isPaused(), true);
  assert.deepEqual(
    process.getActiveResourcesInfo().filter((name) => name === "Timeout"),
    [],
  );
  pair.far.write(", later");
  const [more] = (await soon("what comes later", Promise.all([once(socket, "data"), socket.resume()])).then(
    ([event]) => event,
  )) as [Buffer];
  assert.equal(more.toString(), ", later");
});

test("onLeave calls back once, also for a connection that is gone already, and can be taken back", async () => {
  using pair = await socketPair();
  const channel = new Channel(pair.near, BUDGET);
  let calls = 0;
  const takeBack = channel.onLeave(() => assert.fail("taken back"));
  channel.onLeave(() => {
    calls += 1;
  });
  takeBack();
  pair.far.resetAndDestroy();
  channel.readLine(10).catch(() => {});
  await soon("the close", closing(pair.near));
  assert.equal(calls, 1);
  const told = Promise.withResolvers<void>();
  channel.onLeave(told.resolve);
  await soon("a call at once", told.promise);
});

test("what is taken back at once is not called, on a connection that is gone already", async () => {
  using pair = await socketPair();
  const channel = new Channel(pair.near, BUDGET);
  channel.destroy();
  let calls = 0;
  channel.onLeave(() => {
    calls += 1;
  })();
  await settle();
  assert.equal(calls, 0);
});

/** What a channel may be doing when its peer resets the connection; each gives what it waits for. */
const DOING: Record<string, (channel: Channel, near: Socket) => Promise<unknown>> = {
  nothing: async () => {},
  "reading a line": (channel) => channel.readLine(10),
  "reading exactly": (channel) => channel.readExact(10),
  discarding: (channel) => channel.discard(10),
  writing: (channel) => channel.write(Buffer.alloc(32 << 20)),
  ending: async (channel, near) => {
    channel.end();
    await closing(near);
  },
  "starting TLS": (channel) =>
    channel.startTls((socket) => ({ socket: socket as TLSSocket, secured: new Promise(() => {}) })),
  detached: async (channel) => {
    const { socket } = channel.detach();
    socket.resume();
    await closing(socket);
  },
  destroyed: async (channel) => channel.destroy(),
};

for (const [what, act] of Object.entries(DOING)) {
  test(`a reset while ${what} throws nothing but its own end`, async () => {
    using pair = await socketPair();
    const channel = new Channel(pair.near, BUDGET);
    const gone = closing(pair.near);
    const doing = act(channel, pair.near).then(
      () => undefined,
      (error: unknown) => error,
    );
    await settle();
    pair.far.resetAndDestroy();
    // Whoever reads nothing learns of a reset only by writing.
    if (what === "nothing") await channel.readLine(10).catch(() => {});
    await soon("the close", gone);
    const error = await soon("its end", doing);
    if (error !== undefined)
      assert.ok(error instanceof ChannelClosed || "code" in (error as Error), `${error}`);
    await assert.rejects(channel.write("too late\r\n"), closed);
    // Whoever has ended or handed over a channel reads no more on it.
    if (what !== "ending" && what !== "detached") {
      await assert.rejects(soon("the end", channel.readLine(10)), closed);
    }
    channel.end();
    channel.destroy();
  });
}

test("bytes that came behind a line in one segment are pending, wherever they stand", async () => {
  using pair = await socketPair();
  const channel = new Channel(pair.near, BUDGET);
  const command = channel.readLine(100);
  pair.far.write("a STARTTLS\r\nb NOOP\r\n");
  await soon("the command", command);
  assert.equal(channel.pending, 8);
  await channel.readLine(100);
  assert.equal(channel.pending, 0);
});
