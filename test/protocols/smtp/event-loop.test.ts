import assert from "node:assert/strict";
import { test } from "node:test";
import { DataFramer } from "../../../src/protocols/smtp/content.ts";
import { FromGate } from "../../../src/protocols/smtp/from-header.ts";

/** As much as one read brings. */
const CHUNK = 64 * 1024;
const SHAPES: Readonly<Record<string, string>> = {
  "header lines": "constructor: x\r\n",
  "empty lines": "\r\n",
  dots: "\r\n.",
  "dots alone": "..\r\n",
  "bare LF": "\n.",
  "bare CR": "\r.",
  "one line": "x",
  "From fields": "From:<\r\n",
  "From fields that fold": "From:\r\n\t(\r\n ",
  addresses: "From: a@b,c<d>:",
};

/** What it costs the processor, which a busy machine does not change: milliseconds. */
function cost(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1_000;
}

for (const [what, shape] of Object.entries(SHAPES)) {
  test(`item 37: no piece of a message of ${what} keeps the others waiting for 50 ms`, () => {
    const chunk = Buffer.from(shape.repeat(Math.ceil(CHUNK / shape.length)).slice(0, CHUNK), "latin1");
    for (const mode of ["reject", "normalise"] as const) {
      const framer = new DataFramer(mode);
      const gate = new FromGate(() => true);
      // The first ones are slower, until V8 has seen enough of them.
      const costs = Array.from({ length: 12 }, () =>
        cost(() => void gate.admit(framer.push(chunk).pieces, false)),
      ).slice(4);
      assert.ok(Math.min(...costs) < 50, `${costs.join()} ms`);
    }
    // The header as it is looked through at once, whole.
    const whole = Buffer.concat([chunk.subarray(0, CHUNK - 4), Buffer.from("\r\n\r\n")]);
    const costs = Array.from({ length: 5 }, () =>
      cost(() => void new FromGate(() => true).admit([whole], true)),
    );
    assert.ok(Math.min(...costs) < 50, `${costs.join()} ms for the header`);
  });
}
