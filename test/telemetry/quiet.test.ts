import assert from "node:assert/strict";
import { test } from "node:test";
import { Quiet } from "../../src/telemetry/quiet.ts";

test("the same trouble is told once a minute, and another one at once", () => {
  let now = 0;
  const quiet = new Quiet(() => now);
  assert.deepEqual(
    [quiet.breaks("timeout"), quiet.breaks("timeout"), quiet.breaks("full")],
    [true, false, true],
  );
  now = 59_999;
  assert.equal(quiet.breaks("timeout"), false);
  now = 60_000;
  assert.deepEqual([quiet.breaks("timeout"), quiet.breaks("timeout")], [true, false]);
});
