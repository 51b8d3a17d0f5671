import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, mock, test } from "node:test";
import fc from "fast-check";
import { MemoryStore } from "../../src/policy/store/memory.ts";
import { RedisStore, type ScriptRunner } from "../../src/policy/store/redis.ts";
import type { StoreScript } from "../../src/policy/store/redis-scripts.ts";
import type {
  Bucket,
  CounterStore,
  Outcome,
  Question,
  Receipt,
  Visitor,
} from "../../src/policy/store/store.ts";
import { connect, type Observed } from "../redis/observed.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import { Clock } from "./engine-kit.ts";

let redis: RedisServer;
let store: Observed;
before(async () => {
  redis = await startRedis();
  store = await connect({ url: redis.url, timeout: 5_000 });
});
after(async () => {
  await store[Symbol.asyncDispose]();
  await redis[Symbol.asyncDispose]();
});

const TIME = "redis.call('TIME')";
/** Every end comes nearer by so much. */
const PASS: StoreScript = lua(
  "pass",
  `for _, key in ipairs(redis.call('KEYS', '*')) do
    local left = redis.call('PTTL', key)
    if left >= 0 and left <= tonumber(ARGV[1]) then redis.call('DEL', key)
    elseif left >= 0 then redis.call('PEXPIRE', key, left - ARGV[1]) end
  end return 1`,
);

function lua(name: string, text: string): StoreScript {
  return { name, lua: text, sha: createHash("sha1").update(text).digest("hex") };
}

/** Redis with a clock that also goes when it is told to: its own, and so much more. */
class RedisClock {
  now = 0;
  /** Calls that nobody may be waiting for. */
  readonly underWay = new Set<Promise<unknown>>();

  runner(heard: (name: string) => void = () => {}): ScriptRunner {
    const { connection } = store;
    const scripts = new Map<string, StoreScript>();
    return {
      prefix: connection.prefix,
      run: (script, keys, args) => {
        const known = scripts.get(script.name) ?? shifted(script);
        scripts.set(script.name, known);
        heard(script.name);
        const call = connection.run(known, keys, [...args, this.now]);
        this.underWay.add(call);
        return call.finally(() => this.underWay.delete(call));
      },
    };
  }

  async pass(ms: number): Promise<void> {
    this.now += ms;
    await store.connection.run(PASS, [], [ms]);
  }
}

function shifted({ name, lua: text }: StoreScript): StoreScript {
  assert.ok(text.includes(TIME));
  const now = `(function() local t = ${TIME} return { t[1] + tonumber(ARGV[2]) / 1000, t[2] } end)()`;
  return lua(name, text.replace(TIME, now));
}

const DAY = 86_400_000;
/** What passes before a step. No end falls near a sum of these: what a slow machine adds makes no difference. */
const PASSES = [0, 0, 0, 10_000, 20_000, 50_000, 1_000_000, 1.3 * DAY, 31.3 * DAY];
const WINDOWS = [15_000, 35_000, 3_605_000];
const KEY = fc.constantFrom("a", "b");
const BUCKET = fc.record({
  key: KEY,
  points: fc.integer({ min: 1, max: 4 }),
  soft: fc.boolean(),
  cost: fc.integer({ min: 0, max: 2 }),
  window: fc.constantFrom(0, 1, 2),
  ofName: fc.boolean(),
  banned: fc.boolean(),
});
const STEP = fc.record({
  pass: fc.constantFrom(...PASSES),
  bans: fc.uniqueArray(KEY, { maxLength: 2 }),
  buckets: fc.uniqueArray(BUCKET, { maxLength: 3, selector: ({ key, window }) => `${key}${window}` }),
  visitor: fc.option(fc.record({ user: KEY, network: KEY, fingerprint: fc.constantFrom("p", "q", "r") }), {
    nil: undefined,
  }),
  guess: fc.boolean(),
  then: fc.constantFrom<Outcome | "later">("right", "wrong", "unknownName", "undecided", "later"),
});
type Step = typeof STEP extends fc.Arbitrary<infer Value> ? Value : never;

function questionOf({ bans, buckets, visitor, guess }: Step): Question {
  return {
    bans,
    guess,
    ...(visitor && { visitor }),
    buckets: buckets.map(({ key, window, ofName, banned, ...rest }): Bucket => {
      const ms = key === "a" ? 103_000 : 1_003_000;
      const ban = { key, by: `limit ${key}`, ms, upToMs: ms * 3, sparesKnown: key === "a" };
      return {
        ...rest,
        key: `${key}${window}${ofName}`,
        windowMs: WINDOWS[window] ?? 0,
        ...(ofName && { ofName }),
        ...(banned && { ban }),
      };
    }),
  };
}

/** To the second, and a half more: Redis's clock goes on by itself meanwhile. */
const about = (ms: number | undefined): number | undefined => ms && Math.round((ms - 2_500) / 5_000);

function plain(answer: Awaited<ReturnType<CounterStore["take"]>>): unknown {
  if ("ban" in answer) return { ...answer.ban, leftMs: about(answer.ban.leftMs) };
  const { refused, counts, receipts, imposed } = answer;
  return {
    refused,
    counts: counts.map(({ taken, over, leftMs }) => ({ taken, over, left: about(leftMs) })),
    receipts: receipts.length,
    imposed: imposed.map(({ key, ms }) => ({ key, ms: about(ms) })),
  };
}

interface Guess {
  readonly receipts: readonly Receipt[];
  readonly outcome: Outcome;
  readonly visitor?: Visitor | undefined;
}

test("whenever windows, bans and what is remembered end, they do so in Redis and in memory alike", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(STEP, { maxLength: 30 }), async (steps) => {
      await redis.cli("flushall");
      const [clock, redisClock] = [new Clock(), new RedisClock()];
      const model = new MemoryStore(clock.read);
      using real = new RedisStore(redisClock.runner());
      const later: { model: Guess; real: Guess }[] = [];
      for (const step of steps) {
        // A little passes always: a ban that is imposed twice in one moment is another store's matter.
        clock.pass(step.pass + 10);
        await redisClock.pass(step.pass + 10);
        const question = questionOf(step);
        const [expected, got] = [await model.take(question), await real.take(question)];
        assert.deepEqual(plain(got), plain(expected));
        if ("ban" in expected || "ban" in got) continue;
        const outcome = step.then === "later" ? "wrong" : step.then;
        const { visitor } = step;
        if (question.guess)
          later.push({
            model: { receipts: expected.receipts, outcome, visitor },
            real: { receipts: got.receipts, outcome, visitor },
          });
        if (step.then === "later") continue;
        // Those that were left are settled now, perhaps in a window that is over.
        for (const { model: here, real: there } of later.splice(0)) {
          clock.pass(10);
          await redisClock.pass(10);
          const imposed = await model.settle(here.receipts, here.outcome, here.visitor);
          const other = await real.settle(there.receipts, there.outcome, there.visitor);
          assert.deepEqual(
            other.map(({ key, ms }) => [key, about(ms)]),
            imposed.map(({ key, ms }) => [key, about(ms)]),
          );
        }
        const [here, there] = [await model.look(question), await real.look(question)];
        assert.equal(there.known, here.known);
      }
    }),
    { numRuns: 150 },
  );
});

const SEAT_MS = 60_000;
/** No end of a seat falls on a multiple of it. */
const STEP_MS = 7_000;
const SEATS: Bucket = { key: "open\u0000user=alice", points: 4, soft: false };

interface Replica {
  readonly store: RedisStore;
  renewedAt: number;
}

interface Sitting {
  readonly at: Replica;
  readonly receipts: readonly Receipt[];
  readonly since: number;
  /** Once its holder was killed: how long Redis keeps it. */
  until: number;
}

class Office {
  readonly clock = new RedisClock();
  readonly #replicas = [this.#open(), this.#open()];
  #sitting: Sitting[] = [];

  async sit(number: number): Promise<void> {
    const at = this.#replica(number);
    const answer = await at.store.take({ bans: [], buckets: [SEATS] });
    assert.ok(!("ban" in answer));
    const { now } = this.clock;
    assert.equal(answer.refused, this.#sitting.length >= SEATS.points, `${this.#sitting.length} at ${now}`);
    const { receipts } = answer;
    if (!answer.refused) this.#sitting.push({ at, receipts, since: now, until: Number.POSITIVE_INFINITY });
  }

  async leave(number: number): Promise<void> {
    const living = this.#sitting.filter(({ until }) => until === Number.POSITIVE_INFINITY);
    const one = living[number % Math.max(living.length, 1)];
    await one?.at.store.giveBack(one.receipts);
    this.#sitting = this.#sitting.filter((other) => other !== one);
  }

  kill(number: number): void {
    const at = this.#replica(number);
    at.store[Symbol.dispose]();
    for (const one of this.#sitting)
      if (one.at === at) one.until = Math.max(one.since, at.renewedAt) + SEAT_MS;
    this.#replicas[number % 2] = this.#open();
  }

  async pass(): Promise<void> {
    await this.clock.pass(STEP_MS);
    mock.timers.tick(STEP_MS);
    await Promise.all(this.clock.underWay);
    this.#sitting = this.#sitting.filter(({ until }) => until > this.clock.now);
  }

  close(): void {
    for (const { store: one } of this.#replicas) one[Symbol.dispose]();
  }

  #replica(number: number): Replica {
    return this.#replicas[number % 2] as Replica;
  }

  #open(): Replica {
    const heard = (name: string): void => {
      if (name === "renew") replica.renewedAt = this.clock.now;
    };
    const replica: Replica = { store: new RedisStore(this.clock.runner(heard), SEAT_MS), renewedAt: 0 };
    return replica;
  }
}

test("seats in Redis are those held by who lives, and for a minute those of who was killed", async () => {
  const MOVE = fc.constantFrom("sit", "sit", "sit", "leave", "kill", "pass", "pass", "pass", "pass");
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(MOVE, fc.nat(9)), { maxLength: 80 }), async (moves) => {
      await redis.cli("flushall");
      mock.timers.enable({ apis: ["setInterval"] });
      const office = new Office();
      try {
        for (const [move, number] of moves) await office[move as "sit" | "leave" | "kill" | "pass"](number);
      } finally {
        office.close();
        mock.timers.reset();
      }
    }),
    { numRuns: 60 },
  );
});
