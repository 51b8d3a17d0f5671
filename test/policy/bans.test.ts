import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Refused } from "../../src/refusal.ts";
import { engine, facts, guess, knows, said } from "./engine-kit.ts";

const HOUR = 3_600_000;
const guesses = {
  name: "guesses",
  count: "authFailures" as const,
  per: ["ip" as const],
  limit: { points: 3, windowMs: 600_000 },
  then: { ban: HOUR },
};

test("the third wrong password of three bans, and says so once", async () => {
  const { policy, bans } = engine([guesses]);
  assert.equal(await guess(policy, facts()), "badCredential");
  assert.equal(await guess(policy, facts()), "badCredential");
  assert.deepEqual(bans, []);
  assert.equal(await guess(policy, facts()), "badCredential", "the try that bans is answered as what it was");
  assert.deepEqual(bans, [{ limit: "guesses", key: "ip=192.0.2.1", ms: HOUR }]);
  assert.equal(await guess(policy, facts()), "banned");
});

test("a ban holds at every listener, for every protocol, from the connection on", async () => {
  const { policy } = engine([{ ...guesses, match: { listener: ["imap-993"] } }]);
  for (let tries = 0; tries < 3; tries += 1) await guess(policy, facts());
  for (const where of [{ listener: "imap-993" }, { listener: "imap-143" }, { protocol: "pop3" }]) {
    assert.equal(await said(policy.connection(facts(where))), "banned");
    assert.equal(await knows(policy, facts({ ...where, user: "alice" })), "banned");
    assert.equal(await said(policy.login(facts({ ...where, user: "alice" }))), "banned");
  }
  assert.equal(await said(policy.connection(facts({ ip: "192.0.2.2" }))), "yes", "and for nobody else");
});

test("a ban ends when its time is over, and says when that is", async () => {
  const { policy, clock } = engine([guesses]);
  for (let tries = 0; tries < 3; tries += 1) await guess(policy, facts());
  clock.pass(HOUR - 1);
  const refused = await policy.connection(facts()).catch((error: unknown) => error);
  assert.ok(refused instanceof Refused);
  assert.deepEqual([refused.refusal.kind, refused.refusal.retryAfterMs], ["banned", 1]);
  clock.pass(1);
  assert.equal(await said(policy.connection(facts())), "yes");
  assert.equal(await guess(policy, facts()), "badCredential");
});

test("tries of a banned client do not make the ban longer", async () => {
  const { policy, clock, bans } = engine([guesses]);
  for (let tries = 0; tries < 3; tries += 1) await guess(policy, facts());
  for (let minutes = 0; minutes < 60; minutes += 1) {
    assert.equal(await guess(policy, facts()), "banned");
    clock.pass(60_000);
  }
  assert.equal(await said(policy.connection(facts())), "yes");
  assert.equal(bans.length, 1);
});

test("a guess that is not answered yet bans nobody: it may be right", async () => {
  const { policy, bans } = engine([guesses]);
  const undecided = await Promise.all([1, 2, 3].map(() => policy.attempt(facts())));
  assert.equal(await guess(policy, facts()), "tooFast");
  assert.deepEqual(bans, []);
  for (const attempt of undecided) await attempt.settle(Promise.resolve("alice"));
  assert.equal(await knows(policy, facts()), "yes");
  assert.deepEqual(bans, []);
});

test("however wrong and right answers cross, a ban comes exactly when as many are wrong as the limit", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.boolean(), { minLength: 1, maxLength: 12 }),
      fc.infiniteStream(fc.nat(99)),
      async (rights, order) => {
        const { policy, bans } = engine([guesses]);
        const pending: { right: boolean; settle: () => Promise<unknown> }[] = [];
        let wrong = 0;
        const answerOne = async () => {
          const [one] = pending.splice((order.next().value as number) % pending.length, 1);
          if (!one) return;
          if (!one.right) wrong += 1;
          await one.settle();
          assert.equal(bans.length > 0, wrong >= 3, `${wrong} wrong so far`);
        };
        for (const right of rights) {
          while (pending.length + wrong >= 3 && pending.length > 0) await answerOne();
          if (wrong >= 3) break;
          const attempt = await policy.attempt(facts());
          const answer = () =>
            right ? Promise.resolve("alice") : Promise.reject(new Refused("badCredential", "no"));
          pending.push({ right, settle: () => said(attempt.settle(answer())) });
        }
        while (pending.length > 0 && wrong < 3) await answerOne();
      },
    ),
  );
});

test("the longest of several bans counts", async () => {
  const { policy, clock } = engine([
    { ...guesses, limit: { points: 1, windowMs: 10_000 }, then: { ban: 10_000 } },
    {
      ...guesses,
      name: "by-user",
      per: ["user"],
      limit: { points: 1, windowMs: 60_000 },
      then: { ban: 90_000 },
    },
  ]);
  await guess(policy, facts({ user: "alice" }));
  clock.pass(20_000);
  assert.equal(await said(policy.connection(facts())), "yes", "the address is free again");
  assert.equal(await knows(policy, facts({ user: "alice" })), "banned", "the name is not");
  assert.equal(await knows(policy, facts({ user: "bob" })), "yes");
});

test("too many connections ban at the one beyond the limit", async () => {
  const { policy, bans } = engine([
    {
      name: "flood",
      count: "connections",
      per: ["ip"],
      limit: { points: 2, windowMs: 1_000 },
      then: { ban: 5_000 },
    },
  ]);
  assert.equal(await said(policy.connection(facts())), "yes");
  assert.equal(await said(policy.connection(facts())), "yes");
  assert.deepEqual(bans, []);
  assert.equal(await said(policy.connection(facts())), "tooFast");
  assert.equal(bans.length, 1);
  assert.equal(await said(policy.connection(facts())), "banned");
});

test("a ban doubles with each repeat, up to its longest, and is the first again after a quiet time", async () => {
  const { policy, clock, bans } = engine([
    {
      ...guesses,
      limit: { points: 1, windowMs: 60_000 },
      then: { ban: HOUR, upTo: 5 * HOUR },
    },
  ]);
  for (const hours of [1, 2, 4, 5, 5]) {
    assert.equal(await guess(policy, facts()), "badCredential");
    assert.equal(bans.at(-1)?.ms, hours * HOUR);
    clock.pass(hours * HOUR - 1);
    assert.equal(await said(policy.connection(facts())), "banned");
    clock.pass(1);
    assert.equal(await said(policy.connection(facts())), "yes");
    clock.pass(4 * HOUR);
  }
  clock.pass(HOUR);
  await guess(policy, facts());
  assert.equal(bans.at(-1)?.ms, HOUR);
});

test("a ban that does not grow is as long each time", async () => {
  const { policy, clock, bans } = engine([{ ...guesses, limit: { points: 1, windowMs: 1_000 } }]);
  for (let times = 0; times < 3; times += 1) {
    await guess(policy, facts());
    clock.pass(HOUR);
  }
  assert.deepEqual(
    bans.map(({ ms }) => ms),
    [HOUR, HOUR, HOUR],
  );
});

test("however bans come, none is longer than upTo, and a standing one never gets shorter", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 8 * HOUR }), { maxLength: 20 }), async (pauses) => {
      const { policy, clock, bans } = engine([
        { ...guesses, limit: { points: 1, windowMs: 1 }, then: { ban: HOUR, upTo: 6 * HOUR } },
      ]);
      for (const pause of pauses) {
        const before = (await policy.bans())[0]?.leftMs ?? 0;
        await guess(policy, facts());
        const after = (await policy.bans())[0]?.leftMs ?? 0;
        assert.ok(after >= before);
        assert.ok(after <= 6 * HOUR);
        clock.pass(pause);
      }
      assert.ok(bans.every(({ ms }) => ms >= HOUR && ms <= 6 * HOUR));
    }),
  );
});

test("an operator bans and unbans by the keys that the log shows", async () => {
  const { policy, bans, clock } = engine([{ ...guesses, per: ["user", "ip"] }], { ipv6Prefix: 56 });
  for (const [key, who, other] of [
    ["ip=203.0.113.5", { ip: "203.0.113.5" }, { ip: "203.0.113.6" }],
    ["ip=::ffff:203.0.113.7", { ip: "203.0.113.7" }, { ip: "203.0.113.6" }],
    ["ip=2001:db8::1", { ip: "2001:db8:0:ff::9" }, { ip: "2001:db8:0:100::9" }],
    ["ip=2001:db8:1::/56", { ip: "2001:db8:1::9" }, { ip: "2001:db8::9" }],
    ["user=Alice Ä", { user: "alice ä" }, { user: "alice" }],
    ["domain=Example.org", { user: "a@example.org" }, { user: "a@example.net" }],
    ["user=bob ip=203.0.113.9", { user: "bob", ip: "203.0.113.9" }, { user: "bob" }],
    ["ip=203.0.113.8 user=bob", { user: "bob", ip: "203.0.113.8" }, { user: "bob" }],
  ] as const) {
    const imposed = await policy.ban(key, HOUR);
    assert.equal(imposed?.leftMs, HOUR, key);
    assert.equal(await said(policy.attempt(facts(who))), "banned", key);
    assert.equal(await said(policy.attempt(facts(other))), "yes", key);
    const [standing] = await policy.bans();
    assert.equal(standing?.by, "operator");
    clock.pass(1);
    assert.equal(await policy.unban(standing?.key ?? ""), true, standing?.key);
    assert.equal(await policy.unban(key), false);
    assert.equal(await said(policy.attempt(facts(who))), "yes", key);
  }
  assert.equal(bans.length, 8);
  assert.deepEqual(await policy.bans(), []);
});

for (const key of [
  "",
  "203.0.113.5",
  "ip=",
  "ip=example.org",
  "ip=203.0.113.0/24",
  "ip=2001:db8::/32",
  "shoe=44",
  "listener=imap-993",
  "ip=1.2.3.4 nobody",
]) {
  test(`nobody would ever ask for a ban of ${JSON.stringify(key)}, so there is none`, async () => {
    const { policy } = engine([guesses]);
    assert.equal(await policy.ban(key, HOUR), undefined);
    assert.deepEqual(await policy.bans(), []);
    assert.equal(await policy.unban(key), false);
  });
}

test("who is unbanned begins anew: his old guesses and bans are forgotten", async () => {
  const { policy, bans } = engine([{ ...guesses, then: { ban: HOUR, upTo: 24 * HOUR } }]);
  for (let tries = 0; tries < 3; tries += 1) await guess(policy, facts());
  assert.ok(await policy.unban("ip=192.0.2.1"));
  for (let tries = 0; tries < 3; tries += 1) assert.equal(await guess(policy, facts()), "badCredential");
  assert.deepEqual(
    bans.map(({ ms }) => ms),
    [HOUR, HOUR],
  );
});

test("a refusal says who is banned, by what and for how long", async () => {
  const { policy, clock } = engine([guesses]);
  for (let tries = 0; tries < 3; tries += 1) await guess(policy, facts());
  clock.pass(48_000);
  const refused = await policy.connection(facts()).catch((error: unknown) => error);
  assert.ok(refused instanceof Refused);
  assert.equal(refused.refusal.detail, "banned by limit guesses for 59m 12s more: ip=192.0.2.1");
});

test("whoever claims to be this machine through a proxy is not exempt", async () => {
  const { policy } = engine([{ ...guesses, limit: { points: 1, windowMs: 1_000 } }], {
    exempt: ["127.0.0.0/8", "10.0.0.0/8"],
  });
  for (const [ip, claimed, second] of [
    ["127.0.0.1", false, "badCredential"],
    ["127.0.0.1", true, "banned"],
    ["10.1.2.3", true, "badCredential"],
  ] as const) {
    await guess(policy, facts({ ip, claimed }));
    assert.equal(await guess(policy, facts({ ip, claimed })), second, `${ip} ${claimed}`);
  }
});
