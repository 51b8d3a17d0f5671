import assert from "node:assert/strict";
import { after, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import fc from "fast-check";
import { FailoverStore } from "../../src/policy/store/failover.ts";
import { RedisStore } from "../../src/policy/store/redis.ts";
import { StoreFailure } from "../../src/redis/failure.ts";
import { script } from "../../src/redis/script.ts";
import { bulk, startFakeRedis } from "../support/fake-redis.ts";
import { startRedis } from "../support/redis.ts";
import { eventually } from "../support/waiting.ts";
import { connect } from "./observed.ts";

const ECHO = script("echo", "return ARGV[1]");
const WRITE = script("write", "redis.call('SET', KEYS[1], ARGV[1], 'PX', 60000) return 1");
const BUCKET = { key: "guesses", points: 10, windowMs: 3_600_000, soft: false };

const unhandled: unknown[] = [];
process.on("unhandledRejection", (reason) => unhandled.push(reason));
after(() => assert.deepEqual(unhandled, []));

const ERRORS: Readonly<Record<string, string>> = {
  "LOADING Redis is loading the dataset in memory": "loading",
  "READONLY You can't write against a read only replica.": "readonly",
  "MISCONF Redis is configured to save RDB snapshots, but it is unable to": "readonly",
  "NOSCRIPT No matching script.": "other",
  "OOM command not allowed when used memory > 'maxmemory'.": "full",
  "WRONGTYPE Operation against a key holding the wrong kind of value": "wrongType",
  "ERR user_script:1: WRONGTYPE Operation against a key script: x, on @user_script:1.": "wrongType",
  "NOAUTH Authentication required.": "denied",
  "NOPERM this user has no permissions to run the 'evalsha' command": "denied",
  "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.": "loading",
  "BUSY Redis is busy running a script.": "timeout",
  "CLUSTERDOWN Hash slot not served": "cluster",
  "ERR something new": "other",
};

for (const [words, kind] of Object.entries(ERRORS))
  test(`"${words.split(" ", 3).join(" ")} …" is ${kind}, and decisions come without Redis within 100 ms`, async () => {
    let broken = false;
    await using redis = await startFakeRedis(() => (broken ? `-${words}\r\n` : ":1\r\n"));
    await using store = await connect({ url: redis.url });
    using shared = new RedisStore(store.connection);
    const failover = new FailoverStore(shared, "local");
    broken = true;
    const began = performance.now();
    const answers = await Promise.all(
      Array.from({ length: 30 }, () => failover.take({ bans: [], buckets: [BUCKET] })),
    );
    // 100 ms, and what a busy machine adds.
    assert.ok(performance.now() - began < 200);
    assert.equal(answers.filter((answer) => !("ban" in answer) && !answer.refused).length, 5);
    assert.ok(store.failures.includes(kind), store.failures.join());
  });

/** Under time-outs, replies may come at any time: what was asked by one is never another's answer. */
test("however late replies come, each is given to who asked for it or to nobody", async () => {
  const delays = fc.array(fc.constantFrom(0, 0, 0, 1, 20, 60), { minLength: 1, maxLength: 30 });
  await fc.assert(
    fc.asyncProperty(delays, async (each) => {
      let asked = 0;
      await using redis = await startFakeRedis(async (command) => {
        const ms = each[asked % each.length] ?? 0;
        asked += 1;
        if (ms > 0) await pause(ms);
        return bulk(command.at(-1) ?? "");
      });
      await using store = await connect({ url: redis.url, timeout: 30 });
      const ask = async (what: string): Promise<void> => {
        const answer = await store.connection.run(ECHO, [], [what]).catch((error: unknown) => error);
        assert.ok(answer === what || answer instanceof StoreFailure, `${what} was answered ${answer}`);
      };
      for (let round = 0; round < 6; round += 1)
        await Promise.all(Array.from({ length: 5 }, (_, i) => ask(`${round}/${i}`)));
    }),
    { numRuns: 15 },
  );
});

test("a reply that is none breaks no more than its connection", async () => {
  let answer = ":1\r\n";
  await using redis = await startFakeRedis(() => answer);
  await using store = await connect({ url: redis.url });
  using shared = new RedisStore(store.connection);
  const failover = new FailoverStore(shared, "local");
  for (const reply of [
    "?nonsense\r\n",
    ":1\r\n",
    "$-1\r\n",
    "*0\r\n",
    "$3\r\nabc\r\n",
    "*2\r\n+taken\r\n:7\r\n",
  ]) {
    answer = reply;
    const taken = await failover.take({ bans: [], buckets: [BUCKET] });
    assert.ok(!("ban" in taken), JSON.stringify(reply));
    await failover.giveBack(taken.receipts);
  }
});

test("a server that starts with much to load is down until it has, and then its counters hold", async () => {
  const slow = ["--key-load-delay", "10000", "--loading-process-events-interval-bytes", "1024"];
  await using redis = await startRedis({ args: slow });
  await using store = await connect({ url: redis.url });
  using shared = new RedisStore(store.connection);
  await shared.take({ bans: [], buckets: [{ ...BUCKET, cost: 7 }] });
  await redis.cli("eval", "for i = 1, 200 do redis.call('SET', 'x' .. i, string.rep('y', 100)) end", "0");
  await redis.cli("save");
  await redis.kill();
  const back = redis.restart();
  await eventually("it to be loading", async () => (await redis.cli("ping")).startsWith("LOADING"));
  const began = performance.now();
  await assert.rejects(store.connection.run(ECHO, [], ["x"]), StoreFailure);
  assert.ok(performance.now() - began < 100);
  await back;
  await eventually("the store to be up", () => store.connection.up);
  assert.equal((await shared.look({ bans: [], buckets: [BUCKET] })).counts[0]?.taken, 7);
});

test("a password that the server wants from now on is a store that is down, until it does not", async () => {
  await using redis = await startRedis();
  await using store = await connect({ url: redis.url });
  await redis.cli("config", "set", "requirepass", "new");
  await redis.cli("-a", "new", "client", "kill", "type", "normal");
  await eventually("the store to be down", () => !store.connection.up);
  await assert.rejects(store.connection.run(WRITE, [`${store.connection.prefix}k`], ["v"]), StoreFailure);
  await redis.cli("-a", "new", "config", "set", "requirepass", "");
  await eventually("the store to be up", () => store.connection.up);
  assert.equal(await store.connection.run(ECHO, [], ["on"]), "on");
});
