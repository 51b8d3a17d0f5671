import assert from "node:assert/strict";
import { test } from "node:test";
import { RedisStore } from "../../src/policy/store/redis.ts";
import { connect } from "../redis/observed.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import { eventually } from "../support/waiting.ts";

const LIMIT = 10;
const BUCKET = { key: "guesses\u0000ip=192.0.2.1", points: LIMIT, windowMs: 3_600_000, soft: false };

async function open(redis: RedisServer) {
  const { connection } = await connect({ url: redis.url, timeout: 5_000 });
  const store = new RedisStore(connection);
  return {
    store,
    /** How many of so many pass. */
    async pass(times: number): Promise<number> {
      let passed = 0;
      for (let n = 0; n < times; n += 1) {
        const answer = await store.take({ bans: [], buckets: [BUCKET] });
        if (!("ban" in answer) && !answer.refused) passed += 1;
      }
      return passed;
    },
    async [Symbol.asyncDispose]() {
      store[Symbol.dispose]();
      await connection[Symbol.asyncDispose]();
    },
  };
}

test("a Redis that is flushed lets as many more pass as one limit, and not one more", async () => {
  await using redis = await startRedis();
  await using one = await open(redis);
  await using other = await open(redis);
  assert.equal((await one.pass(7)) + (await other.pass(7)), LIMIT);
  await redis.cli("flushall");
  assert.equal((await one.pass(7)) + (await other.pass(7)), LIMIT);
});

test("a replica that was behind lets as many more pass as it had not heard of", async () => {
  await using master = await startRedis({ args: ["--repl-diskless-sync-delay", "0"] });
  await using replica = await startRedis({ args: ["--replicaof", `127.0.0.1 ${master.port}`] });
  await eventually("the replica", async () =>
    (await replica.cli("info", "replication")).includes("link_status:up"),
  );
  await using before = await open(master);
  assert.equal(await before.pass(4), 4);
  await before.store.ban({ key: "ip=192.0.2.9", by: "guesses", ms: 60_000 });
  await eventually(
    "the replica to hear of it",
    async () => (await replica.cli("exists", "{postern}:ban=ip=192.0.2.9")) === "1",
  );
  // From here on it hears nothing more.
  await replica.cli("replicaof", "no", "one");
  assert.equal(await before.pass(20), LIMIT - 4);
  await before.store.ban({ key: "ip=192.0.2.10", by: "guesses", ms: 60_000 });
  await master.kill();
  await using after = await open(replica);
  assert.equal(await after.pass(20), LIMIT - 4, "those that it had not heard of");
  assert.deepEqual(
    (await after.store.bans()).map(({ key }) => key),
    ["ip=192.0.2.9"],
  );
});

test("a Redis that throws keys away forgets, but refuses nobody wrongly and never fails", async () => {
  await using redis = await startRedis({ args: ["--maxmemory-policy", "allkeys-lru", "--maxmemory", "3mb"] });
  await using one = await open(redis);
  assert.equal(await one.pass(20), LIMIT);
  for (let n = 0; n < 20_000; n += 500) {
    const asked = Array.from({ length: 500 }, async (_, i) => {
      const bucket = { ...BUCKET, key: `guesses\u0000ip=stranger${n + i}` };
      const answer = await one.store.take({ bans: [], buckets: [bucket] });
      assert.ok(!("ban" in answer) && !answer.refused);
    });
    await Promise.all(asked);
  }
  assert.match(await redis.cli("info", "stats"), /evicted_keys:[1-9]/);
  // Forgotten or not: a limit's worth more at most.
  assert.ok((await one.pass(20)) <= LIMIT);
});
