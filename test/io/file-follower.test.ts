import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { FileFollower } from "../../src/io/file-follower.ts";

/** A follower of no file at all: the test says when to look, and what is there. */
function follower(t: TestContext, graceMs: number) {
  const told: string[] = [];
  const world = { text: "one", takes: true };
  const followed = new FileFollower(
    [],
    "one",
    {
      read: async () => {
        if (world.text === "") throw new Error("nothing there");
        return world.text;
      },
      take(text) {
        if (!world.takes) throw new Error(`${text} is no good`);
        told.push(`take ${text}`);
      },
      onTaken: () => told.push("taken"),
      onProblem: (problem) => told.push(problem),
    },
    { graceMs },
  );
  t.after(() => followed[Symbol.dispose]());
  return { followed, told, world };
}

test("what is there already is not taken again", async (t) => {
  const { followed, told } = follower(t, 5);
  await followed.look();
  await followed.look();
  assert.deepEqual(told, []);
});

test("each new text is taken once", async (t) => {
  const { followed, told, world } = follower(t, 5);
  world.text = "two";
  await followed.look();
  await followed.look();
  assert.deepEqual(told, ["take two", "taken"]);
});

test("a problem that passes within its grace is not told", async (t) => {
  const { followed, told, world } = follower(t, 20);
  world.text = "";
  await followed.look();
  world.text = "two";
  await followed.look();
  await pause(40);
  assert.deepEqual(told, ["take two", "taken"]);
});

test("a problem that lasts is told once, another one too, and then that it is over", async (t) => {
  const { followed, told, world } = follower(t, 5);
  world.text = "";
  for (let time = 0; time < 3; time += 1) {
    await followed.look();
    await pause(15);
  }
  world.text = "two";
  world.takes = false;
  await followed.look();
  await pause(15);
  world.text = "one";
  await followed.look();
  assert.deepEqual(told, ["nothing there", "two is no good", "taken"]);
});

test("one that is disposed of says nothing any more", async (t) => {
  const { followed, told, world } = follower(t, 5);
  world.text = "";
  await followed.look();
  followed[Symbol.dispose]();
  await pause(15);
  world.text = "two";
  await followed.look();
  assert.deepEqual(told, []);
});
