import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { engine, facts, guess, said } from "./engine-kit.ts";

const LIMITS = [
  {
    name: "connects",
    count: "connections",
    per: ["ip"],
    limit: { points: 2, windowMs: 60_000 },
    match: { listener: ["imap-993"] },
  },
  {
    name: "guesses",
    count: "authFailures",
    per: ["ip"],
    limit: { points: 2, windowMs: 600_000 },
    then: { ban: 3_600_000, upTo: 86_400_000 },
  },
  {
    name: "slow",
    count: "authFailures",
    per: ["user", "ip"],
    limit: { points: 1, windowMs: 600_000 },
    then: { delay: 1 },
  },
  { name: "open", count: "sessions", per: ["user"], limit: { points: 1 } },
  {
    name: "seen",
    count: "messages",
    per: ["user"],
    limit: { points: 1, windowMs: 1_000 },
    mode: "observe",
  },
] as const;

const alice = facts({ user: "Alice" });

test("everything that limits would do now is told, with key, counter and time left", async () => {
  const { policy, clock } = engine(LIMITS);
  await policy.connection(alice);
  await guess(policy, alice);
  clock.pass(10_000);
  await policy.login(alice);
  await policy.message(alice);
  const { exempt, knownNetwork, bans, limits } = await policy.explain(alice);
  assert.deepEqual({ exempt, knownNetwork, bans }, { exempt: false, knownNetwork: false, bans: [] });
  assert.deepEqual(limits, [
    {
      limit: "connects",
      count: "connections",
      key: "ip=192.0.2.1",
      taken: 1,
      points: 2,
      windowMs: 60_000,
      endsInMs: 50_000,
      next: "allow",
    },
    {
      limit: "guesses",
      count: "authFailures",
      key: "ip=192.0.2.1",
      taken: 1,
      points: 2,
      windowMs: 600_000,
      endsInMs: 590_000,
      next: "allow",
      banMs: 3_600_000,
    },
    {
      limit: "slow",
      count: "authFailures",
      key: "ip=192.0.2.1 user=alice",
      taken: 1,
      points: 1,
      windowMs: 600_000,
      endsInMs: 590_000,
      next: "delay",
      delayMs: 1,
    },
    { limit: "open", count: "sessions", key: "user=alice", taken: 1, points: 1, next: "refuse" },
    {
      limit: "seen",
      count: "messages",
      key: "user=alice",
      taken: 1,
      points: 1,
      windowMs: 1_000,
      endsInMs: 1_000,
      next: "observe",
      would: "refuse",
    },
  ]);
});

test("bans are told with who imposed them, how often, and until when", async () => {
  const { policy, clock } = engine(LIMITS);
  for (let tries = 0; tries < 2; tries += 1) await guess(policy, alice);
  clock.pass(3_600_000);
  for (let tries = 0; tries < 2; tries += 1) await guess(policy, alice);
  await policy.ban("user=alice", 1_000);
  clock.pass(500);
  assert.deepEqual((await policy.explain(alice)).bans, [
    { key: "ip=192.0.2.1", by: "guesses", leftMs: 7_199_500, times: 2 },
    { key: "user=alice", by: "operator", leftMs: 500, times: 1 },
  ]);
});

test("how long the next ban would be grows as bans do, and a full limit of guesses only refuses", async () => {
  const { policy, clock } = engine(LIMITS);
  const guesses = async (ip = alice.ip) => {
    const { limits } = await policy.explain({ ip });
    const { next, banMs } = limits.find(({ limit }) => limit === "guesses") ?? {};
    return { next, banMs };
  };
  await guess(policy, alice);
  assert.deepEqual(await guesses(), { next: "allow", banMs: 3_600_000 });
  await guess(policy, alice);
  assert.deepEqual(await guesses(), { next: "refuse", banMs: undefined });
  clock.pass(3_600_000);
  assert.deepEqual(await guesses(), { next: "allow", banMs: undefined });
  await guess(policy, alice);
  assert.deepEqual(await guesses(), { next: "allow", banMs: 7_200_000 });
  await guess(policy, alice);
  assert.equal((await policy.explain(alice)).bans[0]?.leftMs, 7_200_000);
  assert.deepEqual(await guesses("192.0.2.9"), { next: "allow", banMs: undefined });
});

test("whoever is banned by the next connection hears so, and by how much bytes would be slowed down", async () => {
  const { policy } = engine([
    { ...LIMITS[0], then: { ban: 60_000 } },
    {
      name: "down",
      count: "bytesOut",
      per: ["ip"],
      limit: { points: 1, windowMs: 60_000 },
      then: { throttle: 1_024 },
    },
  ]);
  const session = { facts: alice, bytes: { in: 0, out: 0 }, stage: "relaying", stop() {}, slow() {} };
  policy.watch(session, false);
  session.bytes.out = 5;
  policy.meter(session);
  for (let times = 0; times < 2; times += 1) await policy.connection(alice);
  const told = (await policy.explain(alice)).limits.map(({ next, banMs, rate }) => ({ next, banMs, rate }));
  assert.deepEqual(told, [
    { next: "ban", banMs: 60_000, rate: undefined },
    { next: "throttle", banMs: undefined, rate: 1_024 },
  ]);
  assert.equal(await said(policy.connection(alice)), "tooFast");
  assert.equal((await policy.explain(alice)).bans[0]?.leftMs, 60_000);
});

test("what is not known is not told, and what nobody asked about fits", async () => {
  const { policy } = engine(LIMITS, { exempt: ["10.0.0.0/8"] });
  const names = async (who: Parameters<typeof policy.explain>[0]) =>
    (await policy.explain(who)).limits.map(({ limit }) => limit);
  assert.deepEqual(await names({ ip: "192.0.2.1" }), ["connects", "guesses"]);
  assert.deepEqual(await names({ ip: "192.0.2.1", listener: "other", user: "alice" }), [
    "guesses",
    "slow",
    "open",
    "seen",
  ]);
  assert.equal((await policy.explain({ ip: "10.1.2.3" })).exempt, true);
});

test("without an address, what is counted by the user alone is told", async () => {
  const { policy } = engine(LIMITS, { exempt: ["10.0.0.0/8"] });
  await policy.ban("user=alice", 1_000);
  const { exempt, knownNetwork, bans, limits } = await policy.explain({ user: "alice" });
  assert.deepEqual({ exempt, knownNetwork }, { exempt: false, knownNetwork: false });
  assert.deepEqual(
    bans.map(({ key }) => key),
    ["user=alice"],
  );
  assert.deepEqual(
    limits.map(({ limit }) => limit),
    ["open", "seen"],
  );
});

test("a ban that spares known networks is told as passed over there, and nowhere else", async () => {
  const attacked = {
    name: "attacked",
    count: "authFailures",
    per: ["user"],
    limit: { points: 1, windowMs: 600_000 },
    then: { ban: 3_600_000 },
  } as const;
  const { policy } = engine([attacked]);
  await (await policy.attempt(alice)).settle(Promise.resolve());
  const elsewhere = facts({ user: "Alice", ip: "192.0.2.2" });
  await guess(policy, elsewhere);
  const passed = async (who: typeof alice) =>
    (await policy.explain(who)).bans.map(({ passedOver }) => passedOver);
  const [limit] = (await policy.explain(alice)).limits;
  assert.deepEqual([limit?.next, limit?.sparesKnown, limit?.banMs], ["passed over", true, undefined]);
  assert.deepEqual(await passed(alice), [true]);
  assert.equal(await said(policy.attempt(alice)), "yes");
  assert.deepEqual(await passed(elsewhere), [undefined]);
  assert.equal(await said(policy.attempt(elsewhere)), "banned");
});

test("explaining changes nothing", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.boolean(), { maxLength: 12 }), async (looks) => {
      const tell = async (looking: boolean) => {
        const { policy, store } = engine(LIMITS);
        const answers: string[] = [];
        for (const look of looks) {
          if (look && looking) await policy.explain(alice);
          answers.push(await guess(policy, alice), await said(policy.connection(alice)));
        }
        return { answers, size: store.size };
      };
      assert.deepEqual(await tell(true), await tell(false));
    }),
    { numRuns: 30 },
  );
});
