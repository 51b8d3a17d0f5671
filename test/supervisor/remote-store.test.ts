import assert from "node:assert/strict";
import { test } from "node:test";
import { deserialize, serialize } from "node:v8";
import { MemoryStore } from "../../src/policy/store/memory.ts";
import type { CounterStore, Question, Receipt } from "../../src/policy/store/store.ts";
import { Refused } from "../../src/refusal.ts";
import { RemoteStore } from "../../src/supervisor/remote-store.ts";
import { StoreDesk } from "../../src/supervisor/store-desk.ts";

const ask = (key: string, bans: readonly string[] = []): Question => ({
  bans,
  buckets: [{ key, points: 1, soft: false }],
});

/** What was taken, or nothing where it was refused. */
async function take(store: CounterStore, key: string): Promise<readonly Receipt[]> {
  const taken = await store.take(ask(key));
  assert.ok("receipts" in taken);
  return taken.refused ? [] : taken.receipts;
}

/** A worker's store and the desk above, with what crosses written out and read again, as on a channel. */
function joined(store: MemoryStore) {
  const desk = new StoreDesk(store);
  let messages = 0;
  let answers = 0;
  const remote = new RemoteStore((calls) => {
    messages += 1;
    void desk.serve(deserialize(serialize(calls))).then((given) => {
      answers += given.length;
      remote.answered(deserialize(serialize(given)));
    });
  });
  return { desk, remote, store: remote.store, messages: () => messages, answers: () => answers };
}

test("a worker's limits are those of all, and what it gives back is everybody's", async () => {
  const common = new MemoryStore();
  const [one, two] = [joined(common), joined(common)];
  const taken = await take(one.store, "alice");
  assert.equal(taken.length, 1);
  assert.equal((await take(two.store, "alice")).length, 0);
  await one.store.giveBack(taken);
  assert.equal((await take(two.store, "alice")).length, 1);
});

test("all askings of one moment are one message", async () => {
  const { store, messages } = joined(new MemoryStore());
  const sentence = { key: "c", by: "a limit", ms: 1_000 };
  await Promise.all([store.take(ask("a")), store.take(ask("b")), store.ban(sentence)]);
  assert.equal(messages(), 1);
  assert.ok("ban" in (await store.take(ask("d", ["c"]))));
  assert.deepEqual(
    (await store.bans()).map(({ key }) => key),
    ["c"],
  );
  assert.equal(await store.unban("c", []), true);
});

test("giving back is one way: it takes effect before whatever is asked next, and nobody waits for it", async () => {
  const { store, messages, answers } = joined(new MemoryStore());
  const taken = await take(store, "alice");
  const [, again] = await Promise.all([store.giveBack(taken), take(store, "alice")]);
  assert.equal(again.length, 1);
  assert.equal(messages(), 2);
  assert.equal(answers(), 2);
});

test("what a dead worker held is free again, and only that", async () => {
  const common = new MemoryStore();
  const [dead, alive] = [joined(common), joined(common)];
  await take(dead.store, "alice");
  await dead.store.giveBack(await take(dead.store, "carol"));
  await take(alive.store, "bob");
  await dead.desk.close();
  const free = async (key: string) => (await take(common, key)).length === 1;
  assert.deepEqual(await Promise.all(["alice", "bob", "carol"].map(free)), [true, false, true]);
});

test("when the process that counts is gone nobody is let in, and leaving is no fault", async () => {
  const { store, remote } = joined(new MemoryStore());
  const taken = await take(store, "alice");
  remote.lose();
  await assert.rejects(store.take(ask("bob")), Refused);
  await store.giveBack(taken);
});

test("a right password is settled though the process that counts goes away meanwhile", async () => {
  const remote = new RemoteStore(() => {});
  const [settled, taken] = [remote.store.settle([], "right"), remote.store.take(ask("alice"))];
  remote.lose();
  assert.deepEqual(await settled, []);
  await assert.rejects(taken, Refused);
});

test("a store that says no says so to the worker, too", async () => {
  const store = new MemoryStore();
  const no = new Refused("unavailable", "the store is away");
  store.take = () => Promise.reject(no);
  await assert.rejects(joined(store).store.take(ask("alice")), (error) => {
    return error instanceof Refused && error.refusal.kind === "unavailable";
  });
});

test("what a worker asked for and did not live to get is given back", async () => {
  const common = new MemoryStore();
  const slow = Promise.withResolvers<void>();
  const desk = new StoreDesk(
    new Proxy(common, {
      get: (target, name) =>
        name === "take"
          ? async (question: Question) => {
              const taken = await target.take(question);
              await slow.promise;
              return taken;
            }
          : target[name as "giveBack"].bind(target),
    }),
  );
  const served = desk.serve([{ id: 1, method: "take", args: [ask("alice")] }]);
  await desk.close();
  slow.resolve();
  await served;
  assert.equal((await take(common, "alice")).length, 1);
});
