import assert from "node:assert/strict";
import { test } from "node:test";
import { deserialize, serialize } from "node:v8";
import { MemoryStore } from "../../src/policy/store/memory.ts";
import type { Bucket } from "../../src/policy/store/store.ts";
import { Refused } from "../../src/refusal.ts";
import { RemoteStore } from "../../src/supervisor/remote-store.ts";
import { StoreDesk } from "../../src/supervisor/store-desk.ts";

/** A bucket with something that cannot cross to another process. */
class Rule {
  readonly secret = () => "only here";
}
const seat = (key: string): Bucket & { readonly rule: Rule } => ({
  key,
  points: 1,
  soft: false,
  rule: new Rule(),
});

/** A worker's store and the desk above, with what crosses written out and read again, as on a channel. */
function joined(store: MemoryStore) {
  const desk = new StoreDesk(store);
  let messages = 0;
  const remote = new RemoteStore((calls) => {
    messages += 1;
    void desk
      .serve(deserialize(serialize(calls)))
      .then((answers) => remote.answered(deserialize(serialize(answers))));
  });
  return { desk, remote, store: remote.store, messages: () => messages };
}

test("a worker's limits are those of all, and it is told of its own buckets", async () => {
  const common = new MemoryStore();
  const [one, two] = [joined(common), joined(common)];
  const mine = seat("alice");
  const taken = await one.store.take([], [mine]);
  assert.ok("receipts" in taken);
  assert.equal(taken.receipts[0]?.bucket, mine);
  const theirs = seat("alice");
  const refused = await two.store.take([], [theirs]);
  assert.ok("over" in refused);
  assert.equal(refused.over[0], theirs);
  await one.store.giveBack(taken.receipts);
  const again = await two.store.take([], [theirs]);
  assert.ok("receipts" in again && again.receipts.length === 1);
});

test("all askings of one moment are one message", async () => {
  const { store, messages } = joined(new MemoryStore());
  await Promise.all([store.take([], [seat("a")]), store.take([], [seat("b")]), store.ban("c", 1_000)]);
  assert.equal(messages(), 1);
  assert.ok("leftMs" in (await store.take(["c"], [])));
});

test("what a dead worker held is free again, and only that", async () => {
  const common = new MemoryStore();
  const [dead, alive] = [joined(common), joined(common)];
  await dead.store.take([], [seat("alice")]);
  const left = await dead.store.take([], [seat("carol")]);
  assert.ok("receipts" in left);
  await dead.store.giveBack(left.receipts);
  await alive.store.take([], [seat("bob")]);
  await dead.desk.close();
  const taken = async (key: string): Promise<boolean> => {
    const answer = await common.take([], [seat(key)]);
    return "receipts" in answer && answer.receipts.length === 0;
  };
  assert.deepEqual(await Promise.all(["alice", "bob", "carol"].map(taken)), [false, true, false]);
});

test("when the process that counts is gone nobody is let in, and leaving is no fault", async () => {
  const { store, remote } = joined(new MemoryStore());
  const taken = await store.take([], [seat("alice")]);
  assert.ok("receipts" in taken);
  remote.lose();
  await assert.rejects(store.take([], [seat("bob")]), Refused);
  await store.giveBack(taken.receipts);
});
