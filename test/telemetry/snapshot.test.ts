import assert from "node:assert/strict";
import { test } from "node:test";
import { Counter, Gauge, Registry } from "prom-client";
import { exposeSum, retain, type Snapshot } from "../../src/telemetry/snapshot.ts";

/** What one process would say. */
async function snapshot(logins: number, open: number): Promise<Snapshot> {
  const registry = new Registry();
  const registers = [registry];
  const labelNames = ["outcome"] as const;
  new Counter({ name: "logins_total", help: "x", labelNames, registers }).inc({ outcome: "ok" }, logins);
  new Gauge({ name: "open", help: "x", registers }).set(open);
  new Gauge({ name: "start_seconds", help: "x", registers, aggregator: "omit" }).set(logins);
  new Gauge({ name: "expiry_seconds", help: "x", registers, aggregator: "min" }).set(logins);
  return (await registry.getMetricsAsJSON()) as Snapshot;
}

const value = (text: string, name: string): number =>
  Number(new RegExp(`^${name}(?:{.*})? (.*)$`, "m").exec(text)?.[1]);

test("counts and levels of all processes are summed, each by its own rule", async () => {
  const text = await exposeSum([await snapshot(5, 2), await snapshot(7, 3)]);
  assert.equal(value(text, "logins_total"), 12);
  assert.equal(value(text, "open"), 5);
  assert.equal(value(text, "expiry_seconds"), 5);
  assert.equal(value(text, "start_seconds"), 5, "of the first process");
});

test("what the dead have counted stays in the sum, and where they stood does not", async () => {
  let dead = await retain([], await snapshot(5, 2));
  dead = await retain(dead, await snapshot(1, 9));
  const text = await exposeSum([await snapshot(7, 3), dead]);
  assert.equal(value(text, "logins_total"), 13);
  assert.equal(value(text, "open"), 3);
});
