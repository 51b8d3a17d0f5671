import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { connect } from "../support/conversation.ts";
import { type Door, openDoor } from "../support/door.ts";
import { childrenOf } from "../support/process-tree.ts";
import { startRedis } from "../support/redis.ts";
import { startScriptedBackend } from "../support/scripted-backend.ts";
import { openLink } from "../support/slow-link.ts";
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

test("of a hundred at once, exactly ten get through two replicas of two workers, over and over", async () => {
  await using redis = await startRedis();
  await using backend = await startScriptedBackend({ tls: "none" });
  const given = {
    authority: await certificateAuthority(),
    backends: { backend },
    users: USERS,
    config: {
      workers: 2,
      policy: { exempt: [], limits: LIMITS, store: redis.url },
      routes: [{ to: "backend" }],
    },
  };
  await using one = await openDoor(given);
  await using other = await openDoor(given);
  const doors = [one, other] as const;
  for (let round = 0; round < 5; round += 1) {
    await redis.cli("flushall");
    const guesses = Array.from({ length: 100 }, (_, n) => guess(doors[n % 2 ? 1 : 0], 100 * round + n));
    const looked = (await Promise.all(guesses)).filter((answer) => answer === "wrong");
    assert.equal(looked.length, 10);
  }
  for (const { gateway } of doors) {
    const busy = (await childrenOf(gateway.pid, "worker")).length;
    assert.equal(busy, 2);
  }
});

test("a thousand addresses of one IPv6 network are one client, at two replicas together", async () => {
  await using redis = await startRedis();
  await using backend = await startScriptedBackend({ tls: "none" });
  const given = {
    authority: await certificateAuthority(),
    backends: { backend },
    users: USERS,
    listenerKeys: { proxyProtocol: { from: ["127.0.0.0/8"] } },
    config: {
      policy: {
        limits: [{ name: "connects", count: "connections", per: "ip", limit: "100/10m" }],
        store: redis.url,
      },
      routes: [{ to: "backend" }],
    },
  };
  await using one = await openDoor(given);
  await using other = await openDoor(given);
  const visit = async (n: number): Promise<boolean> => {
    await using client = await connect({ port: (n % 2 ? one : other).ports.starttls });
    const address = `2001:db8:1:2:${n.toString(16)}:${((n * 7919) % 65_536).toString(16)}::${n.toString(16)}`;
    await client.send(`PROXY TCP6 ${address} 2001:db8::1 40000 143`);
    return (await client.expect("* ")).startsWith("* OK ");
  };
  let greeted = 0;
  for (let n = 0; n < 1_000; n += 50) {
    const visits = await Promise.all(Array.from({ length: 50 }, (_, at) => visit(n + at)));
    greeted += visits.filter(Boolean).length;
  }
  assert.equal(greeted, 100);
});

for (const workers of [0, 1])
  test(`with ${workers} workers a greeting waits for Redis once, and a login twice`, async () => {
    await using redis = await startRedis();
    await using link = await openLink(redis.port);
    await using backend = await startScriptedBackend({ tls: "none" });
    await using door = await openDoor({
      authority: await certificateAuthority(),
      backends: { backend },
      users: USERS,
      listenerKeys: { requireTls: false },
      config: {
        workers,
        policy: { exempt: [], store: { redis: { url: `redis://127.0.0.1:${link.port}`, timeout: "2s" } } },
        routes: [{ to: "backend" }],
      },
    });
    await using _warm = await door.signedIn("alice@example.org", "right");
    const roundTrip = 200;
    link.delay(roundTrip / 2);
    const rounds = async (what: Promise<unknown>): Promise<number> => {
      const began = performance.now();
      await what;
      return (performance.now() - began) / roundTrip;
    };
    await using client = await connect({ port: door.ports.starttls });
    assert.equal(Math.floor(await rounds(client.expect("* OK "))), 1);
    await client.send("a LOGIN alice@example.org right");
    assert.equal(Math.floor(await rounds(client.expectUntil("a OK "))), 2);
    assert.equal(await door.gateway.metric("postern_store_up"), 1);
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
