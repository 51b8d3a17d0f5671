import assert from "node:assert/strict";
import { test } from "node:test";
import { ByteMeter, type Metered } from "../../src/policy/byte-meter.ts";
import type { Policy } from "../../src/policy/engine.ts";
import { type Limit, Rule } from "../../src/policy/limit.ts";
import { subjectOf } from "../../src/policy/limit-key.ts";
import { MemoryStore } from "../../src/policy/store/memory.ts";
import { judgeTraffic, type Rates } from "../../src/policy/traffic.ts";
import { Refused } from "../../src/refusal.ts";
import { eventually, within } from "../support/waiting.ts";
import { engine, facts, said } from "./engine-kit.ts";

const DAY = 86_400_000;
const perDay = (count: "bytesIn" | "bytesOut", points: number, more: Partial<Limit> = {}) => ({
  name: count,
  count,
  per: ["user" as const],
  limit: { points, windowMs: DAY },
  ...more,
});

/** A session of which only the bytes are real. */
class FakeSession implements Metered {
  readonly facts;
  stage = "relaying";
  readonly bytes = { in: 0, out: 0 };
  stopped: Refused | undefined;
  rates: Rates | undefined;
  constructor(user = "alice", more: Parameters<typeof facts>[0] = {}) {
    this.facts = facts({ user, ...more });
  }
  stop(refused: Refused): void {
    this.stopped = refused;
  }
  slow(rates: Rates | undefined): void {
    this.rates = rates;
  }
}

/** The next look of the policy's own timer. */
async function swept(check: () => boolean): Promise<void> {
  await within(
    5_000,
    "the sweep",
    (async () => {
      while (!check()) await new Promise((resolve) => setTimeout(resolve, 20));
    })(),
  );
}

async function taken(policy: Policy, user = "alice"): Promise<number[]> {
  return (await policy.explain(facts({ user }))).limits.map((limit) => limit.taken);
}

test("bytes of all sessions of a user are counted once a second, and beyond the limit they end", async () => {
  const { policy } = engine([perDay("bytesIn", 1_000), perDay("bytesOut", 500)]);
  const one = new FakeSession();
  const two = new FakeSession();
  const bob = new FakeSession("bob");
  for (const session of [one, two, bob]) policy.watch(session, true);
  Object.assign(one.bytes, { in: 400, out: 100 });
  Object.assign(two.bytes, { in: 500, out: 400 });
  Object.assign(bob.bytes, { in: 900, out: 1 });
  let sums: number[] = [];
  await swept(() => {
    void taken(policy).then((now) => {
      sums = now;
    });
    return sums.join() === "900,500";
  });
  assert.equal(one.stopped ?? two.stopped, undefined, "all of it, and no more");
  one.bytes.in += 101;
  two.bytes.in += 1;
  await swept(() => one.stopped !== undefined);
  assert.equal(one.stopped?.refusal.detail, "limit bytesIn: 1002B of 1000B in 1d for user=alice");
  assert.equal(one.stopped?.refusal.kind, "tooFast");
  assert.ok(two.stopped);
  assert.equal(bob.stopped, undefined);
  // Who comes again has to wait until the window is over.
  assert.equal(await said(policy.login(facts({ user: "alice" }))), "tooFast");
  assert.equal(await said(policy.login(facts({ user: "bob" }))), "yes");
  for (const session of [one, two, bob]) session.stage = "closed";
});

test("a message's bytes are counted at its end, and the next one is refused", async () => {
  const { policy, clock } = engine([perDay("bytesIn", 1_000)]);
  const session = new FakeSession();
  policy.watch(session, false);
  assert.equal(await said(policy.message(session.facts)), "yes");
  session.bytes.in = 1_000;
  policy.meter(session);
  assert.equal(await said(policy.message(session.facts)), "tooFast");
  assert.equal(session.stopped, undefined);
  clock.pass(DAY);
  assert.equal(await said(policy.message(session.facts)), "yes");
  session.stage = "closed";
});

test("bytes that a store cannot count just then are counted when it can, and nothing is a fault", async (t) => {
  const unhandled: unknown[] = [];
  const hear = (reason: unknown): void => void unhandled.push(reason);
  process.on("unhandledRejection", hear);
  t.after(() => process.off("unhandledRejection", hear));
  let isAway = true;
  const session = new FakeSession();
  const judged: number[] = [];
  const meter = new ByteMeter(async (traffic) => {
    if (isAway) throw new Refused("unavailable", "the policy's store does not answer");
    judged.push(...traffic.map(({ in: bytes }) => bytes));
    return [];
  }, 10);
  meter.watch(session, true);
  session.bytes.in = 100;
  await meter.read(session);
  session.bytes.in = 250;
  await meter.sweep();
  isAway = false;
  await eventually("the bytes", () => judged.length > 0);
  assert.deepEqual(judged, [250]);
  assert.deepEqual(unhandled, []);
  session.stage = "closed";
});

test("a limit that slows down lets nobody wait at the door, and takes the next message later", async () => {
  const { policy } = engine([perDay("bytesIn", 1_000, { then: { throttle: 10 } })]);
  const session = new FakeSession();
  policy.watch(session, false);
  session.bytes.in = 2_000;
  policy.meter(session);
  assert.equal(await said(policy.login(session.facts)), "yes");
  assert.equal(await said(policy.message(session.facts)), "tooFast");
  session.stage = "closed";
});

test("who is beyond a limit that slows down shares its rate among his sessions that move", async () => {
  const judged = engine([
    perDay("bytesOut", 1_000, { then: { throttle: 600 } }),
    perDay("bytesOut", 1_000, { name: "ip", per: ["ip"], then: { throttle: 10_000 } }),
  ]);
  const sessions = [new FakeSession(), new FakeSession(), new FakeSession()];
  for (const session of sessions) judged.policy.watch(session, true);
  for (const { bytes } of sessions) bytes.out = 500;
  await swept(() => sessions[2]?.rates !== undefined);
  assert.deepEqual(
    sessions.map(({ rates }) => rates),
    Array(3).fill({ out: 200 }),
  );
  judged.clock.pass(DAY);
  for (const { bytes } of sessions) bytes.out += 1;
  await swept(() => sessions[0]?.rates === undefined);
  for (const session of sessions) session.stage = "closed";
});

test("bytes in observe mode, of exempt clients and of others than the limit's are free", async () => {
  const { policy, wouldRefuse } = engine(
    [
      perDay("bytesIn", 1, { mode: "observe" }),
      perDay("bytesIn", 1, { name: "pop3", match: { protocol: ["pop3"] } }),
    ],
    { exempt: ["10.0.0.0/8"] },
  );
  const session = new FakeSession();
  const exempt = new FakeSession("alice", { ip: "10.1.1.1" });
  policy.watch(session, true);
  policy.watch(exempt, true);
  session.bytes.in = 100;
  exempt.bytes.in = 100;
  await swept(() => wouldRefuse.length > 0);
  assert.deepEqual(wouldRefuse, ["bytesIn user=alice"]);
  assert.equal(session.stopped ?? exempt.stopped, undefined);
  assert.deepEqual(await taken(policy), [100]);
  session.stage = "closed";
  exempt.stage = "closed";
});

test("too many bytes can ban, too", async () => {
  const { policy, bans } = engine([perDay("bytesIn", 100, { then: { ban: 60_000 } })]);
  const session = new FakeSession();
  policy.watch(session, true);
  session.bytes.in = 101;
  await swept(() => session.stopped !== undefined);
  assert.deepEqual(bans, [{ limit: "bytesIn", key: "user=alice", ms: 60_000 }]);
  assert.equal(await said(policy.login(session.facts)), "banned");
  session.stage = "closed";
});

test("what a session moved last is counted when it has closed, and then it is forgotten", async () => {
  const seen: number[] = [];
  const meter = new ByteMeter(async (traffic) => {
    for (const { in: received } of traffic) seen.push(received);
    return traffic.map(() => ({}));
  }, 3_600_000);
  const session = new FakeSession();
  meter.watch(session, true);
  session.bytes.in = 3;
  await meter.sweep();
  await meter.sweep();
  session.bytes.in = 10;
  session.stage = "closed";
  await meter.sweep();
  assert.deepEqual(seen, [3, 7]);
  assert.equal(meter.size, 0);
});

test("a store that is slow to answer is not asked again before it has, and loses nothing", async () => {
  const asked: number[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  const meter = new ByteMeter(async (traffic) => {
    asked.push(traffic.reduce((sum, { out }) => sum + out, 0));
    if (asked.length === 1) await promise;
    return traffic.map(() => ({}));
  }, 3_600_000);
  const session = new FakeSession();
  meter.watch(session, true);
  session.bytes.out = 1;
  const first = meter.sweep();
  session.bytes.out = 5;
  await meter.sweep();
  session.bytes.out = 7;
  resolve();
  await first;
  await meter.sweep();
  assert.deepEqual(asked, [1, 6]);
  session.stage = "closed";
  await meter.sweep();
});

/** Judges what so many users moved, a byte more than each may, by a store that answers the first questions only. */
async function judgedBytes(users: number, answered = Number.POSITIVE_INFINITY) {
  const sizes: number[] = [];
  const store = new MemoryStore();
  const take = store.take.bind(store);
  store.take = async (question) => {
    sizes.push(question.buckets.length);
    if (sizes.length > answered) throw new Refused("unavailable", "the policy's store does not answer");
    return take(question);
  };
  const rules = [new Rule({ match: {}, then: "refuse", ...perDay("bytesIn", 1) }, "enforce")];
  const moved = Array.from({ length: users }, (_, at) => ({
    ...{ subject: subjectOf(facts({ user: `user${at}` }), {}), in: 2, out: 0 },
  }));
  const observer = { wouldRefuse() {}, banned() {}, delayed() {} };
  const judged = judgeTraffic(rules, moved, store, observer);
  return { sizes, judged };
}

test("however many sessions move at once, no question is so long that the others have to wait for it", async () => {
  const { sizes, judged } = await judgedBytes(1_201);
  const { verdicts } = await judged;
  assert.equal(verdicts.filter(({ refused }) => refused).length, 1_201);
  assert.deepEqual(sizes, [500, 500, 201]);
});

test("of bytes that are counted none is counted again because a later question has no answer", async () => {
  const { judged } = await judgedBytes(1_201, 1);
  const { verdicts } = await judged;
  assert.equal(verdicts.filter(({ refused }) => refused).length, 500);
  const none = await judgedBytes(1_201, 0);
  await assert.rejects(none.judged, Refused);
  assert.deepEqual(none.sizes, [500]);
});

test("without a limit of bytes no session is watched", () => {
  const { policy } = engine([]);
  const session = new FakeSession();
  Object.defineProperty(session, "bytes", { get: () => assert.fail("nobody may look") });
  policy.watch(session, true);
  policy.meter(session);
});
