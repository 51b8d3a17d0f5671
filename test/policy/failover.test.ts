import assert from "node:assert/strict";
import { after, test } from "node:test";
import { FailoverStore, type OnStoreFailure } from "../../src/policy/store/failover.ts";
import { RedisStore } from "../../src/policy/store/redis.ts";
import type { Bucket, Taken } from "../../src/policy/store/store.ts";
import { connectRedis } from "../../src/redis/connection.ts";
import { Refused } from "../../src/refusal.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import { eventually } from "../support/waiting.ts";

const unhandled: unknown[] = [];
process.on("unhandledRejection", (reason) => unhandled.push(reason));
after(() => assert.deepEqual(unhandled, []));

const BUCKET: Bucket = { key: "guesses", points: 10, windowMs: 3_600_000, soft: false };
const SEAT: Bucket = { key: "open", points: 10, soft: false };

interface Replica extends AsyncDisposable {
  readonly store: FailoverStore;
  readonly up: boolean;
}

async function replica(redis: RedisServer, mode: OnStoreFailure = "local"): Promise<Replica> {
  const observer = { up: () => store?.back(), down() {}, failed() {}, settled() {}, evicts() {} };
  let store: FailoverStore | undefined;
  const connection = await connectRedis({ url: redis.url }, observer);
  const shared = new RedisStore(connection);
  store = new FailoverStore(shared, mode);
  return {
    store,
    get up() {
      return connection.up;
    },
    async [Symbol.asyncDispose]() {
      shared[Symbol.dispose]();
      await connection[Symbol.asyncDispose]();
    },
  };
}

/** How many of so many askings pass, each within its time. */
async function passing({ store }: Replica, count: number, bucket = BUCKET): Promise<number> {
  const slow: number[] = [];
  const asked = Array.from({ length: count }, async () => {
    const began = performance.now();
    const answer = await store.take({ bans: [], buckets: [bucket] });
    slow.push(performance.now() - began);
    return !("ban" in answer) && !answer.refused;
  });
  const passed = (await Promise.all(asked)).filter(Boolean).length;
  // 100 ms, and what a busy machine adds.
  assert.ok(Math.max(...slow) < 200, `it took ${Math.max(...slow)} ms`);
  return passed;
}

const FAULTS: Readonly<
  Record<string, [fault: (redis: RedisServer) => unknown, repair: (redis: RedisServer) => unknown]>
> = {
  "is killed": [(redis) => redis.kill(), (redis) => redis.restart()],
  "stands still": [(redis) => redis.signal("SIGSTOP"), (redis) => redis.signal("SIGCONT")],
  "only reads": [
    (redis) => redis.cli("replicaof", "127.0.0.1", "1"),
    (redis) => redis.cli("replicaof", "no", "one"),
  ],
  "is full": [
    (redis) => redis.cli("config", "set", "maxmemory", "1"),
    (redis) => redis.cli("config", "set", "maxmemory", "0"),
  ],
  "holds something else under our key": [
    (redis) => redis.cli("set", "{postern}:count=guesses", "x"),
    (redis) => redis.cli("del", "{postern}:count=guesses"),
  ],
};

for (const [what, [fault, repair]] of Object.entries(FAULTS))
  test(`while Redis ${what}, each replica lets half of the limit pass, and afterwards the limit holds again`, async () => {
    await using redis = await startRedis();
    await using one = await replica(redis);
    await using other = await replica(redis);
    await fault(redis);
    assert.equal(await passing(one, 30), 5);
    assert.equal(await passing(other, 30), 5);
    await repair(redis);
    await eventually("the store to be back", () => one.up && other.up);
    await redis.cli("flushall");
    assert.equal((await passing(one, 15)) + (await passing(other, 15)), 10);
  });

test("onStoreFailure: allow lets everybody pass, refuse lets everybody wait", async () => {
  await using redis = await startRedis();
  await using open = await replica(redis, "allow");
  await using shut = await replica(redis, "refuse");
  await redis.kill();
  assert.equal(await passing(open, 50), 50);
  await assert.rejects(
    shut.store.take({ bans: [], buckets: [BUCKET] }),
    (error) => error instanceof Refused && error.refusal.kind === "unavailable",
  );
});

test("seats of an outage are given back where they were taken, and owe nothing afterwards", async () => {
  await using redis = await startRedis();
  await using one = await replica(redis);
  const sit = async () => (await one.store.take({ bans: [], buckets: [SEAT] })) as Taken;
  const before = await sit();
  await redis.kill();
  const taken = [await sit(), await sit(), await sit(), await sit(), await sit()];
  assert.equal((await sit()).refused, true);
  // As plain data, as it comes back from another process.
  await one.store.giveBack(JSON.parse(JSON.stringify(taken[0]?.receipts)));
  assert.equal((await sit()).refused, false);
  await one.store.giveBack(before.receipts);
  await redis.restart();
  await eventually("the store to be back", () => one.up);
  for (const { receipts } of taken) await one.store.giveBack(receipts);
  assert.equal(await passing(one, 30, SEAT), 10);
});

test("a store that has come and gone eight thousand times leaves no seat taken", async () => {
  const away = async (): Promise<never> => {
    throw new Error("away");
  };
  const store = new FailoverStore(
    { take: away, giveBack: away, settle: away, look: away, bans: away, ban: away, unban: away },
    "local",
  );
  for (let times = 0; times < 8_200; times += 1) store.back();
  for (let times = 0; times < 20; times += 1) {
    const taken = await store.take({ bans: [], buckets: [SEAT] });
    assert.ok(!("ban" in taken) && !taken.refused);
    await store.giveBack(taken.receipts);
  }
});
