import assert from "node:assert/strict";
import { readFile, stat, writeFile } from "node:fs/promises";
import { mock, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";
import { readCounters, writeCounters } from "../../src/policy/store/counter-file.ts";
import { countersOf, Keeper } from "../../src/policy/store/keeper.ts";
import type { KeeperObserver } from "../../src/policy/store/kept-file.ts";
import { MemoryStore } from "../../src/policy/store/memory.ts";
import type { Bucket, Outcome, Visitor } from "../../src/policy/store/store.ts";
import { temporaryFolder } from "../support/temp.ts";
import { eventually } from "../support/waiting.ts";
import { Clock } from "./engine-kit.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const messages: Bucket = { key: "messages\u0000user=alice", points: 200, windowMs: DAY, soft: false };
const guesses: Bucket = { key: "guesses\u0000ip=192.0.2.1", points: 10, windowMs: 10 * MINUTE, soft: false };
const ofName: Bucket = { ...guesses, key: "attacked\u0000user=alice", ofName: true };
const seats: Bucket = { key: "open\u0000user=alice", points: 5, soft: false };
const alice: Visitor = { user: "alice", network: "192.0.2.1" };

interface Life {
  readonly clock: Clock;
  readonly store: MemoryStore;
}

let lives = 0;

/** A process: its monotonic clock begins anywhere. */
function life(maxKeys?: number): Life {
  const clock = new Clock();
  lives += 1;
  clock.now = (lives * 7_919) % DAY;
  return { clock, store: new MemoryStore(clock.read, maxKeys) };
}

async function take(store: MemoryStore, bucket: Bucket, times = 1): Promise<void> {
  for (let n = 0; n < times; n += 1) await store.take({ bans: [], buckets: [bucket] });
}

async function settle({ store }: Life, bucket: Bucket, outcome: Outcome, visitor: Visitor): Promise<number> {
  const answer = await store.take({ bans: [], buckets: [bucket], visitor, guess: true });
  assert.ok(!("ban" in answer));
  await store.settle(answer.receipts, outcome, visitor);
  return answer.receipts.length;
}

async function standing({ store }: Life, bucket: Bucket): Promise<{ taken?: number; leftMs?: number }> {
  const { taken, leftMs } = (await store.look({ bans: [], buckets: [bucket] })).counts[0] ?? {};
  return { ...(taken !== undefined && { taken }), ...(leftMs !== undefined && { leftMs }) };
}

async function isKnown({ store }: Life, visitor: Visitor): Promise<boolean> {
  return (await store.look({ bans: [], buckets: [], visitor })).known;
}

/** Runs what is asked while the wall clock shows this. */
async function at<T>(ms: number, ask: () => Promise<T>): Promise<T> {
  mock.timers.enable({ apis: ["Date"], now: ms });
  try {
    return await ask();
  } finally {
    mock.timers.reset();
  }
}

const WRITTEN = Date.UTC(2026, 0, 1);

/** Writes one life's counters, and begins another with them so much later by the wall clock. */
async function reborn(before: Life, laterMs = 0): Promise<Life> {
  await using folder = await temporaryFolder();
  const path = folder.at("data", "counters.bin");
  await at(WRITTEN, () => writeCounters(path, before.store));
  const after = life();
  assert.equal(await at(WRITTEN + laterMs, () => readCounters(path, after.store)), true);
  return after;
}

test("what is counted in long windows is counted on after a restart, until the window ends", async () => {
  const before = life();
  await take(before.store, messages, 7);
  await take(before.store, guesses, 3);
  before.clock.pass(4 * MINUTE);
  const after = await reborn(before, MINUTE);
  assert.deepEqual(await standing(after, messages), { taken: 7, leftMs: DAY - 5 * MINUTE });
  assert.deepEqual(await standing(after, guesses), { taken: 3, leftMs: 5 * MINUTE });
  await take(after.store, messages);
  assert.deepEqual(await standing(after, messages), { taken: 8, leftMs: DAY - 5 * MINUTE });
  after.clock.pass(5 * MINUTE);
  assert.equal((await standing(after, guesses)).taken, 0);
});

test("seats end with the process", async () => {
  const before = life();
  await take(before.store, seats, 5);
  assert.equal((await standing(await reborn(before), seats)).taken, 0);
});

test("a guess that nobody finished stays counted, and bans nobody by itself", async () => {
  const before = life();
  const question = { bans: [], buckets: [guesses], visitor: alice, guess: true };
  const left = await before.store.take(question);
  const after = await reborn(before);
  assert.equal((await standing(after, guesses)).taken, 1);
  // Its receipt is worth nothing there.
  assert.ok(!("ban" in left));
  await after.store.settle(left.receipts, "undecided", alice);
  assert.deepEqual(await after.store.bans(), []);
});

test("a network that a name is known from stays known, and no other", async () => {
  const before = life();
  await settle(before, ofName, "right", alice);
  before.clock.pass(20 * DAY);
  const after = await reborn(before, DAY);
  assert.equal(await isKnown(after, alice), true);
  assert.equal(await isKnown(after, { ...alice, network: "192.0.2.2" }), false);
  assert.equal(await isKnown(after, { ...alice, user: "bob" }), false);
  after.clock.pass(9 * DAY);
  assert.equal(await isKnown(after, alice), false);
});

test("a wrong password that was counted is no new guess after a restart", async () => {
  const before = life();
  const visitor = { ...alice, fingerprint: "abc" };
  assert.equal(await settle(before, guesses, "wrong", visitor), 1);
  const after = await reborn(before);
  assert.equal(await settle(after, guesses, "wrong", visitor), 0);
  assert.equal((await standing(after, guesses)).taken, 1);
  assert.equal(await settle(after, guesses, "wrong", { ...visitor, fingerprint: "abd" }), 1);
});

test("a restart does not tell whose a name is: the bucket of nobody's name is as full as before, too", async () => {
  const over = async (outcome: Outcome): Promise<unknown> => {
    const before = life();
    for (let n = 0; n < 10; n += 1)
      await settle(before, ofName, outcome, { ...alice, fingerprint: String(n) });
    const { store } = await reborn(before);
    return (await store.look({ bans: [], buckets: [ofName] })).counts[0]?.over;
  };
  assert.deepEqual([await over("wrong"), await over("unknownName")], [true, true]);
});

test("how many networks a user has begins anew after a restart: none that was counted is counted twice", async () => {
  const networks = (ip: string): Bucket => ({
    ...{ key: "roaming\u0000user=alice", points: 2, windowMs: DAY, soft: false },
    distinct: ip,
  });
  const refused = async ({ store }: Life, ip: string): Promise<boolean> => {
    const answer = await store.take({ bans: [], buckets: [networks(ip)] });
    return "ban" in answer || answer.refused;
  };
  const before = life();
  const home = ["192.0.2.1", "192.0.2.2"];
  for (const ip of [...home, ...home]) assert.equal(await refused(before, ip), false);
  assert.equal(await refused(before, "192.0.2.3"), true);
  const after = await reborn(before, MINUTE);
  for (const ip of [...home, ...home]) assert.equal(await refused(after, ip), false, ip);
  assert.equal(await refused(after, "192.0.2.3"), true);
});

test("a clock that went back makes no window longer, and one that went on ends them", async () => {
  const before = life();
  await take(before.store, messages);
  before.clock.pass(HOUR);
  for (const [later, left] of [
    [-400 * DAY, 23 * HOUR],
    [-HOUR, 23 * HOUR],
    [2 * HOUR, 21 * HOUR],
    [23 * HOUR, DAY],
    [400 * DAY, DAY],
  ] as const) {
    const after = await reborn(before, later);
    const taken = later < 23 * HOUR ? 1 : 0;
    assert.deepEqual(await standing(after, messages), { taken, leftMs: left });
  }
});

test("a hundred thousand keys come back as they were, in no more than 24 bytes each", async () => {
  await using folder = await temporaryFolder();
  const path = folder.at("counters.bin");
  const before = life();
  const bucket = (n: number): Bucket => ({
    ...guesses,
    key: `guesses\u0000ip=${n}`,
    points: 1e9,
    cost: n + 1,
  });
  for (let n = 0; n < 100_000; n += 1) await take(before.store, bucket(n));
  await writeCounters(path, before.store);
  assert.ok((await stat(path)).size < 24 * 100_000 + 2_000);
  const after = life();
  await readCounters(path, after.store);
  for (let n = 0; n < 100_000; n += 997) assert.equal((await standing(after, bucket(n))).taken, n + 1);
  // A store with less room takes what it has room for.
  const small = life(1_000);
  await readCounters(path, small.store);
  assert.ok(small.store.size <= 1_000, `${small.store.size}`);
});

test("nothing waits long while a large store is written", async () => {
  await using folder = await temporaryFolder();
  const { store } = life();
  for (let n = 0; n < 300_000; n += 1) await take(store, { ...guesses, key: `guesses\u0000ip=${n}` });
  let writing = true;
  let turns = 0;
  const written = writeCounters(folder.at("counters.bin"), store).finally(() => {
    writing = false;
  });
  while (writing) {
    turns += 1;
    await turn();
  }
  await written;
  assert.ok(turns >= 16, `${turns} turns for others`);
});

/** Everything that can be seen of a store. */
async function seen(store: MemoryStore): Promise<unknown> {
  const counts = (await store.look({ bans: [], buckets: [messages, guesses, ofName], visitor: alice }))
    .counts;
  return { taken: counts.map(({ taken }) => taken), size: store.size };
}

test("whatever happened to the file, it is read whole or not at all, and nothing breaks", async () => {
  await using folder = await temporaryFolder();
  const path = folder.at("counters.bin");
  const before = life();
  await take(before.store, messages, 3);
  await settle(before, guesses, "wrong", { ...alice, fingerprint: "abc" });
  await settle(before, ofName, "right", alice);
  await writeCounters(path, before.store);
  const good = await readFile(path);
  const own = await seen(before.store);
  const index = fc.nat(good.length - 1);
  const mutation = fc.oneof(
    index.map((end) => good.subarray(0, end)),
    fc.tuple(index, fc.integer({ min: 1, max: 255 })).map(([where, bits]) => {
      const bytes = Buffer.from(good);
      bytes[where] = (bytes[where] ?? 0) ^ bits;
      return bytes;
    }),
    fc
      .tuple(index, fc.uint8Array({ minLength: 1, maxLength: 64 }))
      .map(([where, more]) => Buffer.concat([good.subarray(0, where), more, good.subarray(where)])),
    fc
      .tuple(index, index)
      .map(([one, other]) => Buffer.concat([good.subarray(0, one), good.subarray(other)])),
    fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
    fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.concat([good.subarray(0, 48), bytes])),
  );
  await fc.assert(
    fc.asyncProperty(mutation, async (bytes) => {
      await writeFile(path, bytes);
      const { store } = life();
      await take(store, messages);
      const untouched = await seen(store);
      const isRead = await readCounters(path, store).catch((error: Error) => {
        assert.match(
          error.message,
          /^it (is damaged|ends too early|holds no counters|is of another version)/,
        );
        return false;
      });
      assert.equal(isRead, bytes.equals(good));
      assert.deepEqual(await seen(store), isRead ? own : untouched);
    }),
    { numRuns: 1_000 },
  );
});

function witness(): KeeperObserver & { readonly heard: string[] } {
  const heard: string[] = [];
  return {
    heard,
    notWritten: (what, _path, reason) => heard.push(`${what} not written: ${reason}`),
    written: (what) => heard.push(`${what} written`),
    ignored: (what, _path, reason) => heard.push(`${what} ignored: ${reason}`),
  };
}

test("a broken file is told once, and the next one is good", async () => {
  await using folder = await temporaryFolder();
  await folder.write("counters.bin", "x".repeat(100));
  const [{ store }, heard] = [life(), witness()];
  {
    await using _keeper = await Keeper.open(folder.path, [countersOf(store)], heard);
    await take(store, messages);
  }
  assert.deepEqual(heard.heard, ["counters ignored: it holds no counters"]);
  const after = life();
  await readCounters(folder.at("counters.bin"), after.store);
  assert.equal((await standing(after, messages)).taken, 1);
});

test("it is written within half a minute of a change, for nobody else to read, and not without one", async () => {
  await using folder = await temporaryFolder();
  const path = folder.at("counters.bin");
  mock.timers.enable({ apis: ["setInterval"] });
  const { store, clock } = life();
  await using keeper = await Keeper.open(folder.path, [countersOf(store)], witness());
  await take(store, messages);
  mock.timers.tick(30_000);
  mock.timers.reset();
  const written = await eventually("the file", () => stat(path).catch(() => undefined));
  assert.equal(written.mode & 0o777, 0o600);
  await keeper.flush();
  const { mtimeMs } = await stat(path);
  const flushed = async (): Promise<boolean> => {
    await keeper.flush();
    return (await stat(path)).mtimeMs !== mtimeMs;
  };
  assert.equal(await flushed(), false);
  // Over before a restart is; and a network that was seen an hour ago is known no longer for it.
  await take(store, { ...messages, key: "connects\u0000ip=192.0.2.1", windowMs: MINUTE });
  assert.equal(await flushed(), false);
  await store.settle([], "right", alice);
  assert.equal(await flushed(), true);
  const again = (await stat(path)).mtimeMs;
  clock.pass(HOUR);
  await store.settle([], "right", alice);
  await keeper.flush();
  assert.equal((await stat(path)).mtimeMs, again);
});

test("who takes over has what was counted until then, and the old one writes no more", async () => {
  await using folder = await temporaryFolder();
  const [old, heir] = [life(), life()];
  await using keeper = await Keeper.open(folder.path, [countersOf(old.store)], witness());
  await take(old.store, messages, 2);
  await keeper.flush();
  await using successor = await Keeper.open(folder.path, [countersOf(heir.store)], witness());
  await take(old.store, messages, 3);
  await keeper.pause();
  await successor.read();
  assert.equal((await standing(heir, messages)).taken, 5);
  assert.deepEqual(heir.store.secret, old.store.secret);
  await take(old.store, messages, 50);
  await keeper.flush();
  await successor.read();
  assert.equal((await standing(heir, messages)).taken, 5);
});
