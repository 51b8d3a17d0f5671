import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { startAuthPolicyServer } from "../../support/auth-policy-server.ts";
import { freePort } from "../../support/ports.ts";
import { eventually } from "../../support/waiting.ts";
import { authPolicy, hooked, tries } from "./hooks-kit.ts";

const bomb = gzipSync(Buffer.alloc(10_000_000));

function endless(response: ServerResponse): void {
  const write = (): void => {
    while (!response.destroyed && response.write(Buffer.alloc(65_536)));
    response.once("drain", write);
  };
  write();
}

function drip(response: ServerResponse): void {
  const timer = setInterval(() => response.write(" "), 20);
  response.on("close", () => clearInterval(timer));
}

/** Item 103: what comes instead of an answer, and as what it is counted. */
const FAULTS: Readonly<Record<string, readonly [(response: ServerResponse) => void, string]>> = {
  "bad JSON": [(response) => response.end("status: 0"), "malformed"],
  "JSON cut off": [(response) => response.end('{"status": -1'), "malformed"],
  "no status": [(response) => response.end('{"msg": "well"}'), "malformed"],
  "a status that is no number": [(response) => response.end('{"status": "-1"}'), "malformed"],
  "half a status": [(response) => response.end('{"status": 0.5}'), "malformed"],
  null: [(response) => response.end("null"), "malformed"],
  "a list": [(response) => response.end("[-1]"), "malformed"],
  "100 MB": [endless, "tooLarge"],
  "a gzip bomb": [
    (response) => response.writeHead(200, { "content-encoding": "gzip" }).end(bomb),
    "malformed",
  ],
  "a byte now and then": [drip, "timeout"],
  nothing: [() => {}, "timeout"],
  "500": [(response) => response.writeHead(500).end('{"status": -1}'), "status"],
  "401": [(response) => response.writeHead(401).end(), "status"],
  "a redirect": [
    (response) => response.writeHead(302, { location: "http://169.254.169.254/" }).end(),
    "status",
  ],
  "a reset": [(response) => response.socket?.resetAndDestroy(), "connect"],
  "a short body": [
    (response) => response.writeHead(200, { "content-length": "100" }).end("{}").socket?.end(),
    "broken",
  ],
};

for (const [fault, [answer, kind]] of Object.entries(FAULTS)) {
  test(`item 103: ${fault} is no answer, in time, and never a wrong password`, async (t) => {
    await using server = await startAuthPolicyServer((response) => answer(response));
    for (const onFailure of ["allow", "refuse"] as const) {
      const { policy, witness } = hooked(t, authPolicy(server.url), { onFailure });
      const begun = performance.now();
      assert.equal(await tries(policy), onFailure === "allow" ? "yes" : "unavailable");
      assert.ok(performance.now() - begun < 2_000);
      assert.deepEqual([...witness.answers], [[kind, 1]]);
    }
  });
}

test("nobody there is no answer", async (t) => {
  const { policy, witness } = hooked(t, authPolicy(`http://127.0.0.1:${await freePort()}/`));
  assert.equal(await tries(policy), "yes");
  assert.deepEqual([...witness.answers], [["connect", 1]]);
});

test("F22: one answer of a hundred an error, a thousand at once", async (t) => {
  await using server = await startAuthPolicyServer();
  let asked = 0;
  server.decide(() => {
    asked += 1;
    return asked % 100 === 0 ? (response) => response.writeHead(500).end() : 0;
  });
  const { policy, witness } = hooked(t, authPolicy(server.url, { timeoutMs: 10_000 }), {
    onFailure: "refuse",
  });
  const heard = await Promise.all(Array.from({ length: 1_000 }, () => tries(policy)));
  assert.equal(heard.filter((one) => one === "unavailable").length, 10);
  assert.equal(heard.filter((one) => one === "yes").length, 990);
  assert.deepEqual(witness.troubles, []);
});

for (const onFailure of ["allow", "refuse"] as const) {
  test(`F22: answers that take ten seconds, a thousand at once, ${onFailure}`, async (t) => {
    await using server = await startAuthPolicyServer((response) => {
      const timer = setTimeout(() => response.end('{"status": -1}'), 10_000);
      response.on("close", () => clearTimeout(timer));
    });
    const { policy, witness, guard, clock } = hooked(t, authPolicy(server.url), { onFailure });
    const without = onFailure === "allow" ? "yes" : "unavailable";
    const begun = performance.now();
    const first = Array.from({ length: 1_000 }, () => tries(policy));
    await eventually("questions", () => guard.pending > 0);
    assert.ok(guard.pending <= 1_000);
    const heard = new Set(await Promise.all(first));
    assert.deepEqual([...heard], [without], "no outage is a wrong password");
    assert.ok(performance.now() - begun < 3_000, "all of them within one time-out");
    assert.ok(server.mostWaiting <= 50, `${server.mostWaiting} at the hook`);
    assert.equal(guard.pending, 0);
    assert.equal(guard.resting, true);
    assert.deepEqual(witness.troubles, ["no answer in 300 ms"], "one line, for a thousand");

    // Resting, it costs nobody anything.
    const resting = performance.now();
    await Promise.all(Array.from({ length: 1_000 }, () => tries(policy, true, "resting")));
    assert.ok(performance.now() - resting < 300);
    assert.equal(server.about("resting"), 0);

    clock.pass(10_000);
    await Promise.all(Array.from({ length: 100 }, () => tries(policy, true, "probing")));
    assert.equal(server.about("probing"), 1, "one finds out");
    clock.pass(10_000);
    server.say(0);
    assert.equal(await tries(policy), "yes");
    assert.equal(guard.resting, false);
    assert.deepEqual(witness.troubles, ["no answer in 300 ms", undefined]);
  });
}

test("reports that pile up are dropped and counted, and no login waits for one", async (t) => {
  await using server = await startAuthPolicyServer();
  const { policy, witness } = hooked(
    t,
    authPolicy(`${server.url}?silent`, { before: false, report: true, timeoutMs: 1_000 }),
  );
  server.silence();
  const begun = performance.now();
  await Promise.all(Array.from({ length: 1_200 }, () => tries(policy)));
  assert.ok(performance.now() - begun < 900);
  assert.equal(witness.reports.get("dropped"), 200);
  await eventually("the rest to be given up", () => witness.reports.get("failed") === 1_000);
});
