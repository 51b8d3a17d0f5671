import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { type Door, openDoor } from "../support/door.ts";
import { startRedis } from "../support/redis.ts";
import { startScriptedBackend } from "../support/scripted-backend.ts";
import { eventually } from "../support/waiting.ts";

const USERS = { "alice@example.org": "right" };
const LIMITS = [
  { name: "guesses", count: "authFailures", per: "ip", limit: "10/10m" },
  { name: "open", count: "sessions", per: "user", limit: 1 },
];

/** One guess in a session of its own: what the client hears. */
async function guess(door: Door, number: number): Promise<"wrong" | "limit"> {
  await using client = await door.greetedInTls();
  await client.send(`a LOGIN alice@example.org wrong${number}`);
  const line = await client.expect("a NO [");
  assert.match(line, /^a NO \[(AUTHENTICATIONFAILED|LIMIT)\] /);
  return line.startsWith("a NO [LIMIT]") ? "limit" : "wrong";
}

test("two replicas have one limit, decide without Redis, and have one limit again", async (t) => {
  await using redis = await startRedis();
  const authority = await certificateAuthority();
  await using backend = await startScriptedBackend({ tls: "none" });
  const open = async () => {
    const door = await openDoor({
      authority,
      backends: { backend },
      users: USERS,
      config: {
        policy: { exempt: [], limits: LIMITS, store: redis.url },
        routes: [{ to: "backend" }],
      },
    });
    t.after(() => door[Symbol.asyncDispose]());
    return door;
  };
  const doors = [await open(), await open()] as const;
  const round = async (first: number, count = 30) => {
    const answers = Array.from({ length: count }, (_, i) => guess(doors[i % 2 ? 1 : 0], first + i));
    return (await Promise.all(answers)).filter((answer) => answer === "wrong").length;
  };

  assert.equal(await round(0), 10);

  await redis.kill();
  for (const { gateway } of doors) await gateway.metricIs("postern_store_up", 0);
  assert.equal(await round(100), 10, "half of the limit at each of the two");

  await redis.restart();
  for (const { gateway } of doors) await gateway.metricIs("postern_store_up", 1);
  assert.equal(await round(200), 10);

  redis.signal("SIGSTOP");
  const began = performance.now();
  assert.equal(await round(300, 40), 10);
  assert.ok(performance.now() - began < 10_000);
  redis.signal("SIGCONT");
  for (const { gateway } of doors) {
    await gateway.metricIs("postern_store_up", 1);
    const said = gateway.log().filter(({ msg }) => /^the store/.test(String(msg)));
    assert.deepEqual(
      said.map(({ msg }) => String(msg).split(";")[0]),
      ["answers", "does not answer", "answers", "does not answer", "answers"].map(
        (words) => `the store ${words}`,
      ),
    );
    assert.equal(await gateway.metric("postern_session_errors_total"), 0);
  }
});

test("a seat of a replica that was killed is another's within a minute, and one that is held is not", async () => {
  await using redis = await startRedis();
  const authority = await certificateAuthority();
  await using backend = await startScriptedBackend({ tls: "none" });
  const given = {
    authority,
    backends: { backend },
    users: USERS,
    config: { policy: { exempt: [], limits: LIMITS, store: redis.url }, routes: [{ to: "backend" }] },
  };
  await using one = await openDoor(given);
  await using other = await openDoor(given);
  await using _inside = await one.signedIn("alice@example.org", "right");
  const enters = async (): Promise<boolean> => {
    await using client = await other.greetedInTls();
    await client.send("a LOGIN alice@example.org right");
    return (await client.expectUntil("a ")).at(-1)?.startsWith("a OK") ?? false;
  };
  assert.equal(await enters(), false);
  one.gateway.signal("SIGKILL");
  assert.equal(await enters(), false);
  // What a minute brings, brought at once.
  const each = (what: string) => `for _, k in ipairs(redis.call('KEYS', '*seats*')) do ${what} end return -1`;
  const left = Number(await redis.cli("eval", each("return redis.call('PTTL', k)"), "0"));
  assert.ok(left > 0 && left <= 60_000, `${left} ms`);
  await redis.cli("eval", each("redis.call('PEXPIRE', k, 1)"), "0");
  await eventually("the seat", enters);
});
