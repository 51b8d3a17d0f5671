import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryStore } from "../../src/policy/store/memory.ts";
import { engine, facts, guess, said } from "./engine-kit.ts";

const guesses = {
  name: "guesses",
  count: "authFailures" as const,
  per: ["ip" as const],
  limit: { points: 3, windowMs: 600_000 },
};
const connects = { ...guesses, name: "connects", count: "connections" as const };
const open = { name: "open", count: "sessions" as const, per: ["user" as const], limit: { points: 5 } };

const address = (number: number): string =>
  `10.${(number >> 16) & 255}.${(number >> 8) & 255}.${number & 255}`;

test("fifty thousand addresses do not grow the table beyond its bound", async () => {
  const { policy, store } = engine([connects], { maxKeys: 1_000 });
  for (let number = 0; number < 50_000; number += 1) await policy.connection(facts({ ip: address(number) }));
  assert.ok(store.size <= 1_000, `${store.size} keys`);
});

test("the table stays bounded beside the seats of sessions that last for hours", async () => {
  const { policy, store } = engine([connects, open], { maxKeys: 1_000 });
  for (let number = 0; number < 100; number += 1) await policy.login(facts({ user: `user${number}` }));
  for (let number = 0; number < 20_000; number += 1) await policy.connection(facts({ ip: address(number) }));
  assert.ok(store.size <= 1_000, `${store.size} keys`);
  for (let number = 0; number < 100; number += 1) {
    for (let seats = 1; seats < 5; seats += 1) await policy.login(facts({ user: `user${number}` }));
    assert.equal(
      await said(policy.login(facts({ user: `user${number}` }))),
      "tooManySessions",
      "no seat was forgotten",
    );
  }
});

for (const offenders of [1, 20, 100]) {
  test(`${offenders} active offenders are not forgotten in a flood of strangers`, async () => {
    const { policy } = engine([guesses], { maxKeys: 1_000 });
    const offender = (number: number) => facts({ ip: `192.0.2.${number}` });
    for (let number = 0; number < offenders; number += 1) {
      for (let tries = 0; tries < 3; tries += 1) await guess(policy, offender(number));
    }
    for (let number = 0; number < 4_000; number += 1) await guess(policy, facts({ ip: address(number) }));
    let forgotten = 0;
    for (let number = 0; number < offenders; number += 1) {
      if ((await guess(policy, offender(number))) !== "tooFast") forgotten += 1;
    }
    assert.equal(forgotten, 0);
  });
}

test("a million strangers, with new names each, take no more room than there is and push out no offender", async () => {
  const store = new MemoryStore(() => 1_000);
  const ask = (bucket: { key: string; points: number }) =>
    store.take({ bans: [], buckets: [{ ...bucket, windowMs: 600_000, soft: false }] });
  const offenders = Array.from({ length: 100 }, (_, number) => ({ key: `offender ${number}`, points: 5 }));
  for (const one of offenders) for (let tries = 0; tries < 5; tries += 1) await ask(one);
  for (let number = 0; number < 1_200_000; number += 1) {
    await ask({ key: `stranger ${number}`, points: 5 });
    // They go on meanwhile, as offenders do, and are refused.
    if (number % 12_000 === 0)
      await ask(offenders[(number / 12_000) % 100] as { key: string; points: number });
  }
  assert.ok(store.size <= 1_000_000, `${store.size} keys`);
  const answers = await Promise.all(offenders.map(ask));
  assert.equal(answers.filter((answer) => !("ban" in answer) && answer.refused).length, 100);
});

test("windows that are over make room first", async () => {
  const { policy, clock, store } = engine([guesses], { maxKeys: 10 });
  for (let number = 0; number < 10; number += 1) await guess(policy, facts({ ip: address(number) }));
  clock.pass(600_000);
  for (let number = 100; number < 109; number += 1) {
    for (let tries = 0; tries < 3; tries += 1) await guess(policy, facts({ ip: address(number) }));
  }
  assert.ok(store.size <= 10);
  for (let number = 100; number < 109; number += 1) {
    assert.equal(await guess(policy, facts({ ip: address(number) })), "tooFast");
  }
});

test("bans are bounded too, and the newest stay", async () => {
  const { policy, store } = engine(
    [{ ...guesses, limit: { points: 1, windowMs: 1_000 }, then: { ban: 60_000 } }],
    {
      maxKeys: 100,
    },
  );
  for (let number = 0; number < 1_000; number += 1) await guess(policy, facts({ ip: address(number) }));
  assert.ok(store.size <= 200, `${store.size} keys`);
  assert.equal(await said(policy.connection(facts({ ip: address(999) }))), "banned");
});
