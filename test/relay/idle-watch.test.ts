import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { IdleWatch } from "../../src/relay/idle-watch.ts";

const IDLE = 10_000;

function watched(t: TestContext) {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const watch = new IdleWatch(IDLE);
  let now = 0;
  return {
    watch,
    /** Lets time pass, in steps no longer than a hundredth of the deadline. */
    pass(ms: number): void {
      for (let left = ms; left > 0; left -= 100) {
        t.mock.timers.tick(Math.min(left, 100));
        now += Math.min(left, 100);
      }
    },
    now: () => now,
  };
}

class Counted {
  readonly #idle: () => number;
  moved = 0;
  idleAt: number | undefined;
  constructor(now: () => number) {
    this.#idle = now;
  }
  bytes = () => ({ in: this.moved, out: 0 });
  idle = () => {
    this.idleAt ??= this.#idle();
  };
}

for (const offset of [0, 100, 500, 900]) {
  test(`a relay that began ${offset} ms behind a sweep is idle at its deadline, and at most a tenth later`, (t) => {
    const { watch, pass, now } = watched(t);
    const other = new Counted(now);
    watch.add(other, other.idle);
    pass(offset);
    const relay = new Counted(now);
    watch.add(relay, relay.idle);
    const began = now();
    pass(IDLE * 2);
    const idleFor = (relay.idleAt ?? Number.POSITIVE_INFINITY) - began;
    assert.ok(idleFor >= IDLE, `already after ${idleFor} ms`);
    assert.ok(idleFor <= IDLE * 1.1, `only after ${idleFor} ms`);
  });
}

for (const offset of [0, 100, 500, 900, 999]) {
  test(`a byte that moved ${offset} ms behind a sweep begins the time anew`, (t) => {
    const { watch, pass, now } = watched(t);
    const relay = new Counted(now);
    watch.add(relay, relay.idle);
    pass(5_000 + offset);
    relay.moved += 1;
    const moved = now();
    pass(IDLE * 2);
    const idleFor = (relay.idleAt ?? Number.POSITIVE_INFINITY) - moved;
    assert.ok(idleFor >= IDLE && idleFor <= IDLE * 1.1, `after ${idleFor} ms`);
  });
}

test("a relay that moves a byte now and then is never idle", (t) => {
  const { watch, pass, now } = watched(t);
  const relay = new Counted(now);
  watch.add(relay, relay.idle);
  for (let round = 0; round < 50; round += 1) {
    pass(IDLE - 100);
    relay.moved += 1;
  }
  assert.equal(relay.idleAt, undefined);
});

test("whoever has left is not called, and the last one takes the timer along", (t) => {
  const { watch, pass, now } = watched(t);
  const relay = new Counted(now);
  watch.add(relay, relay.idle);
  watch.delete(relay);
  pass(IDLE * 3);
  assert.equal(relay.idleAt, undefined);
  watch.add(relay, relay.idle);
  pass(IDLE * 2);
  assert.notEqual(relay.idleAt, undefined, "and the next one starts it again");
});
