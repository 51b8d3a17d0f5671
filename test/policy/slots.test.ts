import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Digests } from "../../src/policy/store/digests.ts";
import { Slots } from "../../src/policy/store/slots.ts";

/** Few places, so that keys are always in each other's way. */
const key = fc.record({ high: fc.constantFrom(0, 1, 2, 63, 64, 127), low: fc.nat(6) });

test("slots hold what a Map would hold, whatever comes and goes", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.constantFrom("add", "open", "free"), key, fc.nat(9)), { maxLength: 300 }),
      (steps) => {
        const slots = new Slots(1_000);
        const model = new Map<string, number>();
        for (const [step, digest, points] of steps) {
          const name = `${digest.high}/${digest.low}`;
          const slot = slots.find(digest);
          assert.equal(slot >= 0, model.has(name), name);
          if (step === "open") {
            slots.open(digest, 1_000, 0);
            model.set(name, 0);
          } else if (slot >= 0 && step === "add") {
            slots.add(slot, points, 0);
            model.set(name, (model.get(name) ?? 0) + points);
          } else if (slot >= 0) {
            slots.free(slot);
            model.delete(name);
          }
          assert.equal(slots.size, model.size);
        }
        for (const [name, points] of model) {
          const [high = 0, low = 0] = name.split("/").map(Number);
          assert.equal(slots.taken(slots.find({ high, low })), points, name);
        }
      },
    ),
    { numRuns: 500 },
  );
});

test("a table that grows keeps everything", () => {
  const slots = new Slots(100_000);
  const digests = new Digests();
  for (let number = 0; number < 50_000; number += 1) {
    const slot = slots.open(digests.of(`key ${number}`), 1_000, 0);
    slots.add(slot, number, number % 7);
  }
  assert.equal(slots.size, 50_000);
  for (let number = 0; number < 50_000; number += 1) {
    const slot = slots.find(digests.of(`key ${number}`));
    assert.deepEqual([slots.taken(slot), slots.undecided(slot)], [number, number % 7]);
  }
});

test("each window of a key is another one", () => {
  const slots = new Slots(10);
  const digest = new Digests().of("key");
  const windows = new Set([1, 2, 3].map(() => slots.windowOf(slots.open(digest, 1, 0))));
  assert.equal(windows.size, 3);
});

test("the same key has the same digest, and another secret another one", () => {
  const digests = new Digests();
  const keys = Array.from({ length: 2_000 }, (_, number) => `guesses\u0000ip=192.0.2.${number}`);
  const first = keys.map((one) => digests.of(one));
  assert.deepEqual(
    keys.map((one) => digests.of(one)),
    first,
  );
  assert.equal(new Set(first.map(({ high, low }) => `${high}/${low}`)).size, keys.length);
  assert.notDeepEqual(new Digests().of("a"), new Digests().of("a"));
  assert.deepEqual(digests.of(""), digests.of(""));
});
