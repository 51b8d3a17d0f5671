import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Limit } from "../../src/policy/engine.ts";
import type { PolicyEvent } from "../../src/policy/events/event.ts";
import { Teller } from "../../src/policy/events/teller.ts";
import { MemoryStore } from "../../src/policy/store/memory.ts";
import { RedisStore } from "../../src/policy/store/redis.ts";
import type { CounterStore } from "../../src/policy/store/store.ts";
import { WatchedStore } from "../../src/policy/store/watched.ts";
import { connect, type Observed } from "../redis/observed.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import { eventually } from "../support/waiting.ts";
import { engine, facts, said } from "./engine-kit.ts";

let redis: RedisServer;
let observed: Observed;
before(async () => {
  redis = await startRedis();
  observed = await connect({ url: redis.url, timeout: 5_000 });
});
after(async () => {
  await observed[Symbol.asyncDispose]();
  await redis[Symbol.asyncDispose]();
});

const HOUR = 3_600_000;
const roaming: Limit = {
  name: "roaming",
  count: "networks",
  per: ["user"],
  limit: { points: 2, windowMs: HOUR },
  match: {},
  then: "refuse",
};
const hijacked: Limit = { ...roaming, name: "hijacked", count: "refusedRecipients" };
const alice = (ip: string) => facts({ ip, user: "alice", protocol: "submission" });

/** The engine over a store with somebody who looks on, as the gateway has it. */
async function watched(limits: readonly Limit[], store: CounterStore) {
  const events: PolicyEvent[] = [];
  const teller = new Teller((event) => events.push(event));
  teller.change("mail.example.org", { limits, mode: "enforce" });
  return { ...engine(limits, { store: new WatchedStore(store, [teller]) }), events };
}

const STORES = {
  memory: async () => Object.assign(new MemoryStore(), { [Symbol.dispose]() {} }),
  redis: async () => {
    await redis.cli("flushall");
    return new RedisStore(observed.connection);
  },
};

for (const [name, open] of Object.entries(STORES)) {
  test(`${name}: a user may come from so many networks in a time, and from those as often as he likes`, async () => {
    using store = await open();
    const { policy } = await watched([roaming], store);
    for (const ip of ["192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.2"])
      assert.equal(await said(policy.login(alice(ip))), "yes", ip);
    assert.equal(await said(policy.login(alice("192.0.2.3"))), "tooFast");
    for (const asked of [{ user: "alice" }, alice("192.0.2.3")])
      assert.equal((await policy.explain(asked)).limits[0]?.taken, 2);
    assert.equal(await said(policy.login(alice("192.0.2.2"))), "yes", "from there he has been");
    assert.equal(await said(policy.login(facts({ ip: "192.0.2.3", user: "bob" }))), "yes");
    const { limits } = await policy.explain({ user: "alice", ip: "192.0.2.3" });
    assert.deepEqual([limits[0]?.taken, limits[0]?.next], [2, "refuse"]);
  });

  test(`${name}: one IPv6 network is one, whatever its addresses`, async () => {
    using store = await open();
    const { policy } = await watched([roaming], store);
    for (let host = 1; host < 9; host += 1)
      assert.equal(await said(policy.login(alice(`2001:db8:0:1::${host}`))), "yes");
  });

  test(`${name}: too many networks can ban, and an operator's pardon begins anew`, async () => {
    using store = await open();
    const { policy, bans, events } = await watched([{ ...roaming, then: { ban: HOUR } }], store);
    for (const ip of ["192.0.2.1", "192.0.2.2"]) await policy.login(alice(ip));
    assert.equal(await said(policy.login(alice("192.0.2.3"))), "tooFast");
    assert.equal(await said(policy.login(alice("192.0.2.1"))), "banned");
    assert.deepEqual(bans, [{ limit: "roaming", key: "user=alice", ms: HOUR }]);
    assert.deepEqual(
      events.map(({ kind }) => kind),
      ["ban"],
    );
    await policy.unban("user=alice");
    for (const ip of ["192.0.2.8", "192.0.2.9"]) assert.equal(await said(policy.login(alice(ip))), "yes", ip);
  });

  test(`${name}: an alert refuses nobody and is told once for each user and window`, async () => {
    using store = await open();
    const { policy, events } = await watched([{ ...roaming, then: "alert" }], store);
    for (let host = 1; host < 9; host += 1)
      assert.equal(await said(policy.login(alice(`192.0.2.${host}`))), "yes");
    assert.deepEqual(
      events.map(({ kind, whom, time: _time, id: _id, ...rest }) => ({ kind, whom, ...rest })),
      [
        {
          kind: "suspected",
          whom: { user: "alice" },
          gateway: "mail.example.org",
          ...{ limit: "roaming", count: "networks", then: "alert", taken: 3, points: 2 },
          ...{ windowSeconds: 3_600, untold: 0 },
        },
      ],
    );
    const answers = new Map([...policy.answers()].map(({ answer, times }) => [answer, times]));
    assert.deepEqual([answers.get("allowed"), answers.get("alerted")], [2, 6]);
  });

  test(`${name}: refused recipients are counted, and beyond the limit mail waits`, async () => {
    using store = await open();
    const { policy, events } = await watched([hijacked], store);
    policy.recipientRefused(alice("192.0.2.1"));
    assert.equal(await said(policy.recipient(alice("192.0.2.1"))), "yes");
    policy.recipientRefused(alice("192.0.2.2"));
    assert.equal(await said(policy.recipient(alice("192.0.2.1"))), "tooFast");
    assert.equal(await said(policy.message(alice("192.0.2.1"))), "tooFast");
    assert.equal(await said(policy.recipient(facts({ user: "bob" }))), "yes");
    assert.deepEqual(
      events.map(({ kind }) => kind),
      ["limit"],
    );
  });

  test(`${name}: refused recipients can ban, once, and alert`, async () => {
    using store = await open();
    const limits: Limit[] = [
      { ...hijacked, then: { ban: HOUR } },
      { ...hijacked, name: "told", then: "alert" },
    ];
    const { policy, bans, events } = await watched(limits, store);
    for (let times = 0; times < 9; times += 1) policy.recipientRefused(alice("192.0.2.1"));
    await eventually("the ban", () => bans.length > 0);
    assert.equal(await said(policy.recipient(alice("192.0.2.1"))), "banned");
    assert.deepEqual(bans, [{ limit: "hijacked", key: "user=alice", ms: HOUR }]);
    const banned = [...policy.answers()].filter(({ answer }) => answer === "banned");
    assert.deepEqual(banned, [{ limit: "hijacked", answer: "banned", times: 1 }]);
    assert.deepEqual(
      events.map(({ kind }) => kind),
      ["ban", "suspected"],
    );
  });

  test(`${name}: recipients that our own limit refuses are refused ones`, async () => {
    using store = await open();
    const few: Limit = {
      ...hijacked,
      name: "few",
      count: "recipients",
      limit: { points: 1, windowMs: HOUR },
    };
    const { policy, events } = await watched([few, { ...hijacked, then: "alert" }], store);
    for (let times = 0; times < 4; times += 1) await said(policy.recipient(alice("192.0.2.1")));
    await eventually("the alert", () => events.some(({ kind }) => kind === "suspected"));
  });

  test(`${name}: an alert on any other count refuses nothing`, async () => {
    using store = await open();
    const counts = ["connections", "logins", "authFailures", "sessions", "messages", "recipients"] as const;
    const limits = counts.map((count): Limit => {
      const limit = { points: 1, ...(count !== "sessions" && { windowMs: HOUR }) };
      return { ...hijacked, name: count, count, per: ["ip"], limit, then: "alert" };
    });
    const { policy, events } = await watched(limits, store);
    for (let times = 0; times < 3; times += 1) {
      const attempt = await policy.attempt(alice("192.0.2.1"));
      await attempt.settle(Promise.reject(new Error("no"))).catch(() => {});
      for (const ask of ["connection", "login", "message", "recipient"] as const)
        assert.equal(await said(policy[ask](alice("192.0.2.1")) ?? Promise.resolve()), "yes", ask);
    }
    const told = events.map((event) => ("limit" in event ? event.limit : event.kind)).toSorted();
    assert.deepEqual(told, counts.filter((count) => count !== "authFailures").toSorted());
  });
}

test("redis: different ones have the window's end, and are told apart so far and no further", async () => {
  await redis.cli("flushall");
  using store = new RedisStore(observed.connection);
  const bucket = { key: "roaming\u0000user=alice", points: 1, windowMs: HOUR, soft: true };
  for (let at = 0; at < 1_010; at += 100)
    await Promise.all(
      Array.from({ length: 100 }, (_, n) =>
        store.take({ bans: [], buckets: [{ ...bucket, distinct: `network ${at + n}` }] }),
      ),
    );
  const key = "{postern}:different=roaming\u0000user=alice";
  const [found = ""] = (await redis.cli("--raw", "keys", "{postern}:different*")).split("\n");
  assert.equal(found, key);
  assert.equal(
    await redis.cli("eval", "return redis.call('SCARD', redis.call('KEYS', '*different*')[1])", "0"),
    "1002",
  );
  const ends =
    "for _, k in ipairs(redis.call('KEYS', '*')) do if redis.call('PTTL', k) < 0 then return k end end";
  assert.equal(await redis.cli("eval", ends, "0"), "");
});
