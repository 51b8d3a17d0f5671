import assert from "node:assert/strict";
import { once } from "node:events";
import type { Socket } from "node:net";
import { PassThrough } from "node:stream";
import { mock, test } from "node:test";
import { Valve } from "../../src/relay/valve.ts";

/** One direction of a relay, between streams that are always ready, with a clock of its own. */
function direction() {
  const from = new PassThrough({ highWaterMark: 1 << 30 });
  const to = new PassThrough({ highWaterMark: 1 << 30 });
  const valve = new Valve(from as unknown as Socket, to as unknown as Socket);
  let passed = 0;
  from.on("data", (chunk: Buffer) => {
    passed += chunk.length;
  });
  const settle = () => new Promise<void>((resolve) => setImmediate(() => setImmediate(resolve)));
  return { from, to, valve, passed: () => passed, settle };
}

test("so many bytes a second pass, and what came too much is made up for", async (t) => {
  mock.timers.enable({ apis: ["setInterval"] });
  t.after(() => mock.timers.reset());
  const { from, valve, passed, settle } = direction();
  valve.set(1_000);
  for (let chunks = 0; chunks < 100; chunks += 1) from.write(Buffer.alloc(100));
  await settle();
  for (let quarters = 0; quarters < 8; quarters += 1) {
    mock.timers.tick(250);
    await settle();
  }
  // Two seconds, and the first share that was there at once; a chunk may stand above.
  assert.ok(passed() >= 2_000 && passed() <= 2_350, String(passed()));
  valve.set(undefined);
  await settle();
  assert.equal(passed(), 10_000);
  assert.equal(from.listenerCount("data"), 1);
});

test("silence gives no credit", async (t) => {
  mock.timers.enable({ apis: ["setInterval"] });
  t.after(() => mock.timers.reset());
  const { from, valve, passed, settle } = direction();
  valve.set(1_000);
  mock.timers.tick(60_000);
  for (let chunks = 0; chunks < 100; chunks += 1) from.write(Buffer.alloc(50));
  await settle();
  assert.ok(passed() <= 300, String(passed()));
});

test("a valve does not read for a side that is behind", () => {
  const { from, to, valve } = direction();
  from.pause();
  Object.defineProperty(to, "writableNeedDrain", { value: true });
  valve.resume();
  assert.ok(from.isPaused());
});

test("a valve leaves nothing behind when its side closes", async () => {
  const { from, valve } = direction();
  valve.set(10);
  from.destroy();
  await once(from, "close");
  assert.equal(from.listenerCount("data"), 1);
});
