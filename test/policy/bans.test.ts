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
