import assert from "node:assert/strict";
import { test } from "node:test";
import type { Limit } from "../../src/policy/engine.ts";
import type { PolicyEvent } from "../../src/policy/events/event.ts";
import { Teller } from "../../src/policy/events/teller.ts";
import { MemoryStore } from "../../src/policy/store/memory.ts";
import { WatchedStore } from "../../src/policy/store/watched.ts";
import { Clock, engine, facts, guess, said } from "./engine-kit.ts";

const MINUTE = 60_000;
const guesses: Limit = {
  name: "guesses",
  count: "authFailures",
  per: ["ip"],
  limit: { points: 2, windowMs: 10 * MINUTE },
  match: {},
  then: { ban: 15 * MINUTE, upTo: 60 * MINUTE },
};
const connects: Limit = { ...guesses, name: "connects", count: "connections", then: "refuse" };

function told(...limits: Limit[]) {
  const clock = new Clock();
  const events: PolicyEvent[] = [];
  const teller = new Teller((event) => events.push(event), clock.read);
  teller.change("mail.example.org", { limits, mode: "enforce" });
  const store = new WatchedStore(new MemoryStore(clock.read), [teller]);
  const { policy } = engine(limits, { store });
  return { policy, clock, events, teller };
}

test("a ban is told once, with whom, why, until when and how often in a row", async () => {
  const { policy, clock, events } = told(guesses);
  for (let tries = 0; tries < 4; tries += 1) await guess(policy, facts({ ip: "192.0.2.1" }));
  clock.pass(16 * MINUTE);
  for (let tries = 0; tries < 2; tries += 1) await guess(policy, facts({ ip: "192.0.2.1" }));
  assert.deepEqual(
    events.map((event) => event.kind === "ban" && [event.whom, event.by, event.seconds, event.times]),
    [
      [{ ip: "192.0.2.1" }, "guesses", 900, 1],
      [{ ip: "192.0.2.1" }, "guesses", 1_800, 2],
    ],
  );
  const [first, second] = events;
  assert.match(String(first?.id), /^[0-9a-f-]{36}$/);
  assert.notEqual(first?.id, second?.id);
  assert.ok(first?.kind === "ban");
  assert.equal(Math.round((Date.parse(first.until) - Date.parse(first.time)) / 1000), 900);
});

test("bans and pardons by hand are told as the operator's", async () => {
  const { policy, events } = told();
  await policy.ban("user=Alice", MINUTE);
  await policy.unban("user=alice");
  await policy.unban("user=alice");
  assert.deepEqual(
    events.map((event) => [event.kind, event.whom, "by" in event && event.by]),
    [
      ["ban", { user: "alice" }, "operator"],
      ["unban", { user: "alice" }, "operator"],
    ],
    "what was no ban is lifted without a word",
  );
});

test("a limit that is reached is told once for each key and window, and says what was not told", async () => {
  const { policy, clock, events } = told(connects);
  const flood = async (ip: string, times: number) => {
    for (let at = 0; at < times; at += 1) await said(policy.connection(facts({ ip })));
  };
  await flood("192.0.2.1", 9);
  await flood("192.0.2.2", 3);
  clock.pass(10 * MINUTE);
  await flood("192.0.2.1", 3);
  assert.deepEqual(
    events.map((event) => event.kind === "limit" && [event.whom.ip, event.limit, event.then, event.untold]),
    [
      ["192.0.2.1", "connects", "refuse", 0],
      ["192.0.2.2", "connects", "refuse", 0],
      ["192.0.2.1", "connects", "refuse", 6],
    ],
  );
});

test("who was pardoned and goes on is told anew", async () => {
  const { policy, events } = told(connects);
  const flood = async () => {
    for (let at = 0; at < 4; at += 1) await said(policy.connection(facts()));
  };
  await flood();
  await policy.ban("ip=192.0.2.1", MINUTE);
  await policy.unban("ip=192.0.2.1");
  await flood();
  assert.deepEqual(
    events.map(({ kind }) => kind),
    ["limit", "ban", "unban", "limit"],
  );
});

test("what an observed limit would have done is told as such, and one that is configured no more is not", async () => {
  const observed = told({ ...connects, mode: "observe" });
  for (let at = 0; at < 4; at += 1) await said(observed.policy.connection(facts()));
  assert.deepEqual(
    observed.events.map((event) => "then" in event && event.then),
    ["observe"],
  );
  const gone = told(connects);
  gone.teller.change("mail.example.org", { limits: [], mode: "enforce" });
  for (let at = 0; at < 4; at += 1) await said(gone.policy.connection(facts()));
  assert.deepEqual(gone.events, []);
});

test("a flood of keys that are all beyond their limit is remembered in a bounded table", async () => {
  const { policy, events } = told({ ...connects, limit: { points: 1, windowMs: MINUTE } });
  for (let at = 0; at < 10_050; at += 1)
    for (let times = 0; times < 2; times += 1)
      await said(policy.connection(facts({ ip: `10.${at >> 16}.${(at >> 8) & 255}.${at & 255}` })));
  await said(policy.connection(facts({ ip: "10.0.39.50" })));
  assert.equal(events.length, 10_050, "one that is remembered is not told again");
  await said(policy.connection(facts({ ip: "10.0.0.1" })));
  assert.equal(events.length, 10_051, "one that had to make room is");
});

test("whoever looks on can fail as he likes: nobody asks him", async () => {
  const faults: unknown[] = [];
  const broken = {
    taken() {
      throw new Error("broken");
    },
  };
  const store = new WatchedStore(new MemoryStore(), [broken], (error) => faults.push(error));
  const { policy } = engine([connects], { store });
  assert.equal(await said(policy.connection(facts())), "yes");
  assert.equal(faults.length, 1);
});
