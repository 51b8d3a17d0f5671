import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Limit } from "../../src/policy/engine.ts";
import { MemoryStore } from "../../src/policy/store/memory.ts";
import { WatchedStore } from "../../src/policy/store/watched.ts";
import { HeavyHitters } from "../../src/policy/top/heavy-hitters.ts";
import { Top } from "../../src/policy/top/top.ts";
import { Clock, engine, facts, guess, knows, said } from "./engine-kit.ts";

const MINUTE = 60_000;

test("whoever has more than a place's share of all is among the most, and what is said of him is right", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(30), fc.integer({ min: 1, max: 9 })), { maxLength: 400 }),
      fc.integer({ min: 1, max: 12 }),
      (added, places) => {
        const hitters = new HeavyHitters(places);
        const exact = new Map<string, number>();
        let sum = 0;
        for (const [key, by] of added) {
          hitters.add(`k${key}`, by);
          exact.set(`k${key}`, (exact.get(`k${key}`) ?? 0) + by);
          sum += by;
        }
        const found = new Map(hitters.all().map((hitter) => [hitter.key, hitter]));
        assert.ok(found.size <= places);
        for (const [key, times] of exact) {
          const hitter = found.get(key);
          if (times > sum / places) assert.ok(hitter, `${key} has ${times} of ${sum}`);
          if (hitter) assert.ok(hitter.count >= times && hitter.count - hitter.error <= times);
        }
      },
    ),
  );
});

const limit = (name: string, count: Limit["count"], per: Limit["per"]): Limit => ({
  ...{ name, count, per, match: {}, then: "refuse" },
  limit: { points: 5, ...(count !== "sessions" && { windowMs: 10 * MINUTE }) },
});

function looking(...limits: Limit[]) {
  const clock = new Clock();
  const top = new Top(clock.read);
  top.change(limits);
  const { policy } = engine(limits, { store: new WatchedStore(new MemoryStore(clock.read), [top]) });
  const rows = (...[by, count]: [Parameters<Top["list"]>[0], Parameters<Top["list"]>[1]]) =>
    top.list(by, count, 10).rows.map(({ key, count: times }) => `${key} ${times}`);
  return { clock, policy, top, rows };
}

test("wrong passwords are counted by user and network, once each however many limits count them", async () => {
  const { policy, rows } = looking(
    limit("guesses", "authFailures", ["ip"]),
    limit("owner", "authFailures", ["user", "ip"]),
  );
  for (let times = 0; times < 3; times += 1) await guess(policy, facts({ ip: "192.0.2.1", user: "alice" }));
  await guess(policy, facts({ ip: "192.0.2.2", user: "Alice" }));
  await knows(policy, facts({ ip: "192.0.2.2", user: "bob" }));
  assert.deepEqual(rows("user", "authFailures"), ["alice 4"]);
  assert.deepEqual(rows("network", "authFailures"), ["192.0.2.1 3", "192.0.2.2 1"]);
});

test("connections, mail and what is refused are counted for whoever does it", async () => {
  const { policy, rows } = looking(
    limit("connects", "connections", ["ip"]),
    limit("recipients", "recipients", ["user"]),
  );
  for (let times = 0; times < 7; times += 1) await said(policy.connection(facts({ ip: "2001:db8::1" })));
  for (let times = 0; times < 9; times += 1) await said(policy.recipient(facts({ user: "alice" })));
  assert.deepEqual(rows("network", "connections"), ["2001:db8:0:0:0:0:0:0/64 5"]);
  assert.deepEqual(rows("user", "recipients"), ["alice 5"]);
  assert.deepEqual(rows("user", "refused"), ["alice 4"]);
  assert.deepEqual(rows("network", "refused"), ["192.0.2.1 4", "2001:db8:0:0:0:0:0:0/64 2"]);
});

test("what bans keep out is refused, too", async () => {
  const { policy, rows } = looking();
  await policy.ban("ip=192.0.2.1", MINUTE);
  for (let times = 0; times < 3; times += 1) await said(policy.connection(facts()));
  assert.deepEqual(rows("network", "refused"), ["192.0.2.1 3"]);
});

test("it forgets what is older than an hour, and says since when it counts", async () => {
  const { policy, clock, rows, top } = looking(limit("connects", "connections", ["ip"]));
  const age = () => Math.round((Date.now() - top.list("user", "refused", 1).since.getTime()) / MINUTE);
  await policy.connection(facts());
  assert.equal(age(), 0);
  clock.pass(29 * MINUTE);
  await policy.connection(facts());
  clock.pass(29 * MINUTE);
  assert.deepEqual(rows("network", "connections"), ["192.0.2.1 2"]);
  assert.equal(age(), 58);
  clock.pass(30 * MINUTE);
  await policy.connection(facts({ ip: "192.0.2.2" }));
  assert.ok(age() <= 60);
  assert.deepEqual(rows("network", "connections"), ["192.0.2.2 1"]);
  clock.pass(200 * MINUTE);
  assert.deepEqual(rows("network", "connections"), []);
});

test("of what many did at once, the limit speaks that has counted most of it", () => {
  const top = new Top();
  top.change([limit("all", "bytesOut", ["user"]), limit("here", "bytesOut", ["user", "ip"])]);
  const receipt = (key: string, cost: number) => ({
    ...{ window: 1, guess: false },
    bucket: { key, points: 1, windowMs: 1, soft: true, cost },
  });
  const receipts = [
    receipt("all\u0000user=alice", 700),
    receipt("here\u0000ip=192.0.2.1\u0000user=alice", 300),
    receipt("here\u0000ip=192.0.2.2\u0000user=alice", 400),
    receipt("here\u0000ip=192.0.2.1\u0000user=bob", 5),
  ];
  top.taken({ bans: [], buckets: [] }, { refused: false, counts: [], receipts, imposed: [] });
  const rows = (by: "user" | "network") =>
    top.list(by, "bytesOut", 9).rows.map(({ key, count }) => [key, count]);
  assert.deepEqual(rows("user"), [
    ["alice", 700],
    ["bob", 5],
  ]);
  assert.deepEqual(rows("network"), [
    ["192.0.2.2", 400],
    ["192.0.2.1", 305],
  ]);
});

test("a flood of names takes no more room than a few, and a name without end is cut", () => {
  const top = new Top();
  top.change([limit("guesses", "authFailures", ["ip"])]);
  const bucket = { key: "guesses\u0000ip=192.0.2.1", points: 1, windowMs: 1, soft: true };
  const receipts = [{ bucket, window: 1, guess: true }];
  for (let at = 0; at < 20_000; at += 1)
    top.settled(receipts, "unknownName", { user: `${at}${"x".repeat(400)}`, network: "192.0.2.1" });
  const { rows } = top.list("user", "authFailures", 100_000);
  assert.equal(rows.length, 512);
  assert.ok(rows.every(({ key }) => key.length === 320));
  assert.deepEqual(top.list("network", "authFailures", 9).rows, [
    { key: "192.0.2.1", count: 20_000, error: 0 },
  ]);
});
