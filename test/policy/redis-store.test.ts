import assert from "node:assert/strict";
import { fork } from "node:child_process";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { MemoryStore } from "../../src/policy/store/memory.ts";
import { RedisStore } from "../../src/policy/store/redis.ts";
import type { Bucket, Imposed, Outcome, Question, Receipt } from "../../src/policy/store/store.ts";
import { connect, type Observed } from "../redis/observed.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import { eventually } from "../support/waiting.ts";

let redis: RedisServer;
let first: Observed;
let second: Observed;
before(async () => {
  redis = await startRedis();
  // As long as a slow machine needs: what is in time is another test's matter.
  [first, second] = await Promise.all([connect(settings()), connect(settings())]);
});
after(async () => {
  await first[Symbol.asyncDispose]();
  await second[Symbol.asyncDispose]();
  await redis[Symbol.asyncDispose]();
});

const settings = () => ({ url: redis.url, timeout: 5_000 });
const HOUR = 3_600_000;
const guesses = (more: Partial<Bucket> = {}): Bucket => ({
  key: "guesses\u0000ip=192.0.2.1",
  points: 10,
  windowMs: HOUR,
  soft: false,
  ...more,
});
const seats = (points = 10): Bucket => ({ key: "open\u0000user=alice", points, soft: false });

async function passed(store: RedisStore, question: Question): Promise<boolean> {
  const answer = await store.take(question);
  return !("ban" in answer) && !answer.refused;
}

for (const [what, bucket] of [
  ["points", guesses()],
  ["seats", seats()],
] as const)
  test(`of 100 at once, at two replicas, exactly 10 get ${what}`, async () => {
    await redis.cli("flushall");
    using one = new RedisStore(first.connection);
    using other = new RedisStore(second.connection);
    const asked = Array.from({ length: 100 }, (_, i) =>
      passed(i % 2 ? one : other, { bans: [], buckets: [bucket], guess: true }),
    );
    assert.equal((await Promise.all(asked)).filter(Boolean).length, 10);
  });

test("a bucket without a point lets nobody pass, and is counted where it is soft", async () => {
  await redis.cli("flushall");
  using store = new RedisStore(first.connection);
  const none = guesses({ points: 0 });
  const ban = { key: "ip=192.0.2.1", by: "guesses", ms: HOUR };
  const answer = await store.take({ bans: [], buckets: [{ ...none, ban }] });
  assert.ok(!("ban" in answer));
  assert.deepEqual([answer.refused, answer.receipts], [true, []]);
  assert.deepEqual(
    answer.counts.map(({ taken, over }) => [taken, over]),
    [[0, true]],
  );
  assert.deepEqual(answer.imposed, [{ key: ban.key, by: ban.by, ms: HOUR, times: 1 }]);
  const soft = await store.take({ bans: [], buckets: [{ ...none, soft: true }] });
  assert.ok(!("ban" in soft));
  assert.deepEqual([soft.refused, soft.receipts.length, soft.counts[0]?.over], [false, 1, true]);
  assert.equal(await passed(store, { bans: [], buckets: [seats(0)] }), false);
  assert.equal((await store.look({ bans: [], buckets: [none] })).counts[0]?.over, true);
});

test("a question with a full bucket takes nothing from the others", async () => {
  await redis.cli("flushall");
  using store = new RedisStore(first.connection);
  const full = guesses({ key: "full", points: 1 });
  const free = guesses({ key: "free", points: 1 });
  assert.ok(await passed(store, { bans: [], buckets: [full] }));
  assert.equal(await passed(store, { bans: [], buckets: [free, full] }), false);
  assert.ok(await passed(store, { bans: [], buckets: [free] }));
});

test("a seat lasts while it is held, and is free again when its holder was killed", async () => {
  await redis.cli("flushall");
  const holder = fork(fileURLToPath(new URL("seat-holder.ts", import.meta.url)), [redis.url, "600"]);
  assert.deepEqual((await once(holder, "message"))[0], "held");
  using store = new RedisStore(first.connection, 600);
  const question = { bans: [], buckets: [seats(1)] };
  for (let i = 0; i < 15; i++) {
    assert.equal(await passed(store, question), false);
    await new Promise((resolve) => setTimeout(resolve, 80));
  }
  holder.kill("SIGKILL");
  await eventually("the seat", () => passed(store, question), { timeoutMs: 3_000 });
});

test("a seat that Redis has forgotten is there again while it is held", async () => {
  await redis.cli("flushall");
  using store = new RedisStore(first.connection, 300);
  const question = { bans: [], buckets: [seats(1)] };
  const taken = await store.take(question);
  assert.ok(!("ban" in taken));
  await redis.cli("flushall");
  await eventually("the seat to be taken", async () => (await store.look(question)).counts[0]?.over);
  await store.giveBack(taken.receipts);
  assert.ok(await passed(store, question));
});

test("nothing is without an end, and a long name is a short key", async () => {
  await redis.cli("flushall");
  using store = new RedisStore(first.connection);
  const ban = { key: "ip=192.0.2.1", by: "guesses", ms: 1_000, upToMs: 60_000 };
  const buckets = [guesses({ points: 1, ban }), guesses({ key: "x".repeat(5_000), ofName: true }), seats()];
  const visitor = { user: "alice", network: "192.0.2.0", fingerprint: "f" };
  for (const outcome of ["right", "wrong", "unknownName", "undecided"] as const) {
    const answer = await store.take({
      bans: [],
      buckets,
      visitor: { ...visitor, fingerprint: outcome },
      guess: true,
    });
    assert.ok(!("ban" in answer));
    await store.settle(answer.receipts, outcome, { ...visitor, fingerprint: outcome });
  }
  await store.take({ bans: [], buckets: [seats()] });
  const keys = (await redis.cli("keys", "*")).split("\n");
  for (const kind of ["count", "seats", "ban", "bans", "networks", "wrong"])
    assert.ok(
      keys.some((key) => key.startsWith(`{postern}:${kind}=`)),
      `${kind} in ${keys}`,
    );
  for (const key of keys) assert.ok(key.length < 300, key);
  const ends =
    "local r = {} for _, k in ipairs(redis.call('KEYS', '*')) do if redis.call('PTTL', k) < 0 then r[#r+1] = k end end return r";
  assert.equal(await redis.cli("eval", ends, "0"), "");
});

test("a ban holds at every replica, is listed, grows, and is lifted with its counters", async () => {
  await redis.cli("flushall");
  using one = new RedisStore(first.connection);
  using other = new RedisStore(second.connection);
  const key = "ip=192.0.2.1";
  const sentence = { key, by: "guesses", ms: 60_000, upToMs: HOUR };
  assert.deepEqual(await one.ban(sentence), { key, by: "guesses", ms: 60_000, times: 1 });
  const answer = await other.take({ bans: ["ip=192.0.2.9", key], buckets: [guesses()] });
  assert.ok("ban" in answer && answer.ban.key === key && answer.ban.leftMs > 59_000);
  assert.deepEqual(
    (await other.bans()).map(({ key, times }) => ({ key, times })),
    [{ key, times: 1 }],
  );
  await one.take({ bans: [], buckets: [guesses({ points: 1 })] });
  assert.equal(await other.unban(key, [guesses().key]), true);
  assert.equal(await other.unban(key, [guesses().key]), false);
  assert.deepEqual(await one.bans(), []);
  assert.ok(await passed(one, { bans: [key], buckets: [guesses({ points: 1 })] }));
});

/**
 * What two stores must agree on: not the clock's milliseconds, nor how a window is called. Whether a ban that holds
 * already becomes longer hangs on whether a millisecond has passed.
 */
function plain(answer: Awaited<ReturnType<MemoryStore["take"]>>, banned: ReadonlySet<string>): unknown {
  if ("ban" in answer) return { key: answer.ban.key, by: answer.ban.by, times: answer.ban.times };
  const { refused, counts, receipts, imposed } = answer;
  return {
    refused,
    counts: counts.map(({ taken, over, leftMs }) => ({ taken, over, timed: leftMs !== undefined })),
    receipts: receipts.map(({ bucket, guess }) => [bucket.key, guess]),
    imposed: fresh(imposed, banned),
  };
}

function fresh(imposed: readonly Imposed[], banned: ReadonlySet<string>): readonly Imposed[] {
  return imposed.filter(({ key }) => !banned.has(key));
}

const KEY = fc.constantFrom("a", "b", "c");
const BUCKET = fc.record({
  key: KEY,
  points: fc.integer({ min: 0, max: 4 }),
  soft: fc.boolean(),
  cost: fc.integer({ min: 0, max: 2 }),
  kind: fc.constantFrom("seat", "window", "ofName", "distinct"),
  banned: fc.boolean(),
});
const VISITOR = fc.record({
  user: KEY,
  network: KEY,
  fingerprint: fc.constantFrom("p", "q", "r"),
});
const STEP = fc.record({
  bans: fc.uniqueArray(KEY, { maxLength: 2 }),
  buckets: fc.uniqueArray(BUCKET, { maxLength: 3, selector: ({ key }) => key }),
  visitor: fc.option(VISITOR, { nil: undefined }),
  guess: fc.boolean(),
  then: fc.constantFrom<Outcome | "keep" | "giveBack" | "unban">(
    ...(["right", "wrong", "unknownName", "undecided", "keep", "giveBack", "unban"] as const),
  ),
});
type Step = typeof STEP extends fc.Arbitrary<infer Value> ? Value : never;

const BAN_MS: Readonly<Record<string, number>> = { a: 100_000, b: 1_000_000, c: 10_000_000 };

function questionOf({ bans, buckets, visitor, guess }: Step): Question {
  return {
    bans,
    guess,
    ...(visitor && { visitor }),
    buckets: buckets.map(({ kind, banned, key, ...bucket }): Bucket => {
      // A guess has no seat: the configuration knows it with a period only.
      const timed = kind === "seat" && !guess ? {} : { windowMs: HOUR };
      const ms = BAN_MS[key] ?? 1;
      const ban = { key, by: `limit ${key}`, ms, upToMs: ms * 3, sparesKnown: kind === "ofName" };
      return {
        ...bucket,
        ...timed,
        key: `${kind}${"windowMs" in timed}${key}`,
        ...(kind === "ofName" && { ofName: true }),
        ...(kind === "distinct" && { distinct: visitor?.network ?? "elsewhere" }),
        ...(banned && { ban }),
      };
    }),
  };
}

test("whatever is asked and settled, Redis answers as memory does", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(STEP, { maxLength: 25 }), async (steps) => {
      await redis.cli("flushall");
      const model = new MemoryStore();
      using store = new RedisStore(first.connection);
      for (const step of steps) {
        const question = questionOf(step);
        const banned = new Set((await model.bans()).map(({ key }) => key));
        const [expected, got] = [await model.take(question), await store.take(question)];
        assert.deepEqual(plain(got, banned), plain(expected, banned));
        if (!("ban" in expected)) for (const { key } of expected.imposed) banned.add(key);
        if (step.then === "unban") {
          const counters = question.buckets.map(({ key }) => key);
          assert.equal(await store.unban("a", counters), await model.unban("a", counters));
        }
        if ("ban" in expected || "ban" in got) continue;
        const end = async (at: MemoryStore | RedisStore, receipts: readonly Receipt[]): Promise<unknown> => {
          if (step.then === "keep" || step.then === "unban") return undefined;
          if (step.then === "giveBack" || !question.guess) return at.giveBack(receipts);
          return fresh(await at.settle(receipts, step.then, step.visitor), banned);
        };
        assert.deepEqual(await end(store, got.receipts), await end(model, expected.receipts));
        const [there, here] = [await model.look(question), await store.look(question)];
        assert.equal(here.known, there.known);
        assert.deepEqual(
          here.counts.map(({ taken, over, banMs }) => [taken, over, banMs]),
          there.counts.map(({ taken, over, banMs }) => [taken, over, banMs]),
        );
        assert.deepEqual(
          here.bans.map(({ key }) => key),
          there.bans.map(({ key }) => key),
        );
      }
    }),
    { numRuns: 100 },
  );
});

test("repeats of a wrong password are free as often from one network in Redis as in memory", async () => {
  await redis.cli("flushall");
  using store = new RedisStore(first.connection);
  const free = async (at: MemoryStore | RedisStore): Promise<number[]> => {
    const many = guesses({ points: 1_000 });
    const counted: number[] = [];
    for (const [network, times] of [
      ["192.0.2.1", 126],
      ["192.0.2.2", 2],
    ] as const)
      for (let n = 0; n < times; n += 1) {
        const visitor = { user: "alice", network, fingerprint: "old" };
        const answer = await at.take({ bans: [], buckets: [many], visitor, guess: true });
        assert.ok(!("ban" in answer));
        if (answer.receipts.length > 0) counted.push(n);
        await at.settle(answer.receipts, "wrong", visitor);
      }
    const [look] = (await at.look({ bans: [], buckets: [many] })).counts;
    assert.equal(look?.taken, counted.length, "what is counted stays");
    return counted;
  };
  const counted = await free(new MemoryStore());
  assert.deepEqual(counted, [0, 121, 122, 123, 124, 125]);
  assert.deepEqual(await free(store), counted);
});

test("what a process held that died is given back in pieces, and all of it", async () => {
  await redis.cli("flushall");
  const asked: number[] = [];
  using store = new RedisStore({
    prefix: first.connection.prefix,
    run(script, keys, args) {
      asked.push(keys.length);
      return first.connection.run(script, keys, args);
    },
  });
  const buckets = Array.from({ length: 1_001 }, (_, n) => ({ ...seats(1), key: `open\u0000user=user${n}` }));
  const taken = await store.take({ bans: [], buckets });
  assert.ok(!("ban" in taken) && taken.receipts.length === 1_001);
  asked.length = 0;
  await store.giveBack(taken.receipts);
  assert.deepEqual(asked, [500, 500, 1]);
  assert.ok(await passed(store, { bans: [], buckets }));
});
