import assert from "node:assert/strict";
import { test } from "node:test";
import { Breaker, type Leave } from "../../../src/policy/hooks/breaker.ts";
import { Clock } from "../engine-kit.ts";

const REST = 10_000;

function open(): { clock: Clock; breaker: Breaker } {
  const clock = new Clock();
  const breaker = new Breaker(clock.read);
  for (let times = 0; times < 5; times += 1) breaker.failed(breaker.enter() as Leave);
  return { clock, breaker };
}

test("five failures in a row open it, and any answer in between begins anew", () => {
  const breaker = new Breaker(() => 0);
  for (let times = 0; times < 100; times += 1) {
    const leave = breaker.enter();
    assert.ok(leave);
    if (times % 5 === 4) breaker.succeeded();
    else assert.equal(breaker.failed(leave), false);
  }
  const said = [1, 2, 3, 4, 5].map(() => breaker.failed(breaker.enter() as Leave));
  assert.deepEqual(said, [false, false, false, false, true]);
  assert.equal(breaker.enter(), undefined);
});

test("after a rest one question finds out, and its answer decides for all", () => {
  const { clock, breaker } = open();
  clock.pass(REST - 1);
  assert.equal(breaker.enter(), undefined);
  clock.pass(1);
  const probe = breaker.enter();
  assert.ok(probe);
  assert.equal(breaker.enter(), undefined, "one is enough");
  assert.equal(breaker.failed(probe), false, "nobody is told twice");
  assert.equal(breaker.enter(), undefined);
  clock.pass(REST);
  assert.ok(breaker.enter());
  assert.equal(breaker.succeeded(), true);
  assert.equal(breaker.closed, true);
  assert.equal(breaker.succeeded(), false);
});

test("what was asked before it opened puts nothing off, and an answer that comes late closes it", () => {
  const clock = new Clock();
  const breaker = new Breaker(clock.read);
  const leaves = Array.from({ length: 7 }, () => breaker.enter() as Leave);
  for (const leave of leaves.slice(0, 5)) breaker.failed(leave);
  clock.pass(REST - 1);
  breaker.failed(leaves[5] as Leave);
  clock.pass(1);
  assert.ok(breaker.enter());
  assert.equal(breaker.succeeded(), true);
});
