import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { type Door, openDoor } from "../support/door.ts";
import { fakeClock } from "../support/faketime.ts";
import { startRedis } from "../support/redis.ts";
import { startScriptedBackend } from "../support/scripted-backend.ts";
import { temporaryFolder } from "../support/temp.ts";
import { eventually } from "../support/waiting.ts";

const USERS = { "alice@example.org": "right" };
const ATTACKER = { localAddress: "127.0.0.66" };
const HOME = { localAddress: "127.0.0.77" };
const MINUTE = 60_000;
const LIMITS = [
  { name: "guesses", count: "authFailures", per: "ip", limit: "10/10m" },
  { name: "attacked", count: "authFailures", per: "user", limit: "10/1h" },
  { name: "open", count: "sessions", per: "user", limit: 2 },
];

/** What a client hears to one login in a session of its own. */
async function login(door: Door, password: string, from: typeof HOME): Promise<string> {
  await using client = await door.greetedInTls(from);
  await client.send(`a LOGIN alice@example.org ${password}`);
  const line = (await client.expectUntil("a ")).at(-1) ?? "";
  return /^a (OK|NO \[[A-Z]+\])/.exec(line)?.[1] ?? line;
}

async function ask<Answer>(door: Door, path: string): Promise<Answer> {
  return JSON.parse((await door.gateway.admin(`/api/v1/${path}`)).body) as Answer;
}

interface Standing {
  readonly knownNetwork: boolean;
  readonly limits: readonly { readonly limit: string; readonly taken: number; readonly endsInMs: number }[];
}

const explain = (door: Door, { localAddress }: typeof HOME) =>
  ask<Standing>(door, `explain?user=alice@example.org&ip=${localAddress}`);

for (const ahead of ["+1h", "-1h"])
  test(`two replicas of one Redis, one with its clock ${ahead} off, have one limit and one ban`, async () => {
    await using redis = await startRedis();
    await using folder = await temporaryFolder();
    await using backend = await startScriptedBackend({ tls: "none" });
    const given = {
      authority: await certificateAuthority(),
      backends: { backend },
      users: USERS,
      config: { policy: { exempt: [], limits: LIMITS, store: redis.url }, routes: [{ to: "backend" }] },
    };
    await using right = await openDoor(given);
    await using wrong = await openDoor({ ...given, env: (await fakeClock(folder, ahead)).env });
    const off = Date.parse(String(wrong.gateway.log().at(-1)?.["time"])) - Date.now();
    assert.ok(Math.abs(Math.abs(off) - 60 * MINUTE) < MINUTE, `its clock is ${off} ms off`);

    assert.equal(await login(wrong, "right", HOME), "OK");
    const heard = await Promise.all(
      Array.from({ length: 30 }, (_, n) => login(n % 2 ? right : wrong, `wrong${n}`, ATTACKER)),
    );
    assert.equal(heard.filter((line) => line === "NO [AUTHENTICATIONFAILED]").length, 10);
    for (const door of [right, wrong]) {
      const { limits } = await explain(door, ATTACKER);
      const guesses = limits.find(({ limit }) => limit === "guesses");
      assert.equal(guesses?.taken, 10);
      assert.ok(guesses.endsInMs > 9 * MINUTE && guesses.endsInMs <= 10 * MINUTE, `${guesses.endsInMs}`);
      assert.equal(await login(door, "right", ATTACKER), "NO [LIMIT]");
      // Where he is known from, and with a seat to spare, he comes in.
      assert.equal((await explain(door, HOME)).knownNetwork, true);
      assert.equal(await login(door, "right", HOME), "OK");
    }

    const url = `http://127.0.0.1:${wrong.gateway.adminPort}/api/v1/bans`;
    const body = JSON.stringify({ ip: "203.0.113.5", for: "30m" });
    const headers = { "content-type": "application/json" };
    assert.equal((await fetch(url, { method: "POST", body, headers })).status, 200);
    for (const door of [right, wrong]) {
      const { bans } = await ask<{ bans: { leftMs: number }[] }>(door, "bans");
      const [ban] = bans;
      assert.ok(ban && ban.leftMs > 29 * MINUTE && ban.leftMs <= 30 * MINUTE, JSON.stringify(bans));
    }
  });

test("in memory a clock that is set an hour on or back locks nobody up and lets nobody out", async () => {
  await using folder = await temporaryFolder();
  await using backend = await startScriptedBackend({ tls: "none" });
  const clock = await fakeClock(folder);
  await using door = await openDoor({
    authority: await certificateAuthority(),
    backends: { backend },
    users: USERS,
    env: clock.env,
    config: { policy: { exempt: [], limits: LIMITS }, routes: [{ to: "backend" }] },
  });
  const showsTime = async (offMs: number) =>
    eventually("the clock to be set", async () => {
      await login(door, "right", HOME);
      const shown = Date.parse(String(door.gateway.log().at(-1)?.["time"]));
      return Math.abs(shown - Date.now() - offMs) < MINUTE;
    });
  assert.equal(await login(door, "right", HOME), "OK");
  for (let n = 0; n < 10; n += 1)
    assert.equal(await login(door, `wrong${n}`, ATTACKER), "NO [AUTHENTICATIONFAILED]");
  for (const [to, offMs] of [
    ["+1h", 60 * MINUTE],
    ["-1h", -60 * MINUTE],
    ["+0", 0],
  ] as const) {
    await clock.set(to);
    await showsTime(offMs);
    assert.equal(await login(door, "right", ATTACKER), "NO [LIMIT]");
    assert.equal(await login(door, "right", HOME), "OK");
    const { limits } = await explain(door, ATTACKER);
    const guesses = limits.find(({ limit }) => limit === "guesses");
    assert.ok(guesses && guesses.endsInMs > 9 * MINUTE && guesses.endsInMs <= 10 * MINUTE, to);
  }
});
