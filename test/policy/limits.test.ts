import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Refused } from "../../src/refusal.ts";
import { within } from "../support/waiting.ts";
import { engine, facts, guess, knows, said } from "./engine-kit.ts";

const connects = (points: number, windowMs = 60_000) => ({
  name: "connects",
  count: "connections" as const,
  per: ["ip" as const],
  limit: { points, windowMs },
});
const guesses = (points: number, then: "refuse" | { ban: number } | { delay: number } = "refuse") => ({
  name: "guesses",
  count: "authFailures" as const,
  per: ["ip" as const],
  limit: { points, windowMs: 600_000 },
  then,
});
const open = (points: number) => ({
  name: "open",
  count: "sessions" as const,
  per: ["user" as const],
  limit: { points },
});

const count = <T>(list: readonly T[], one: T): number => list.filter((other) => other === one).length;

test("a hundred connections at once at a limit of ten: exactly ten come in", async () => {
  const { policy } = engine([connects(10)]);
  const answers = await Promise.all(Array.from({ length: 100 }, () => said(policy.connection(facts()))));
  assert.equal(count(answers, "yes"), 10);
  assert.equal(count(answers, "tooFast"), 90);
});

test("a hundred guesses at once at a limit of ten: exactly ten passwords are looked at", async () => {
  const { policy } = engine([guesses(10)]);
  let looked = 0;
  const answers = await Promise.all(
    Array.from({ length: 100 }, async () =>
      said(
        policy.attempt(facts()).then((attempt) => {
          looked += 1;
          return attempt.settle(Promise.reject(new Refused("badCredential", "wrong")));
        }),
      ),
    ),
  );
  assert.equal(looked, 10);
  assert.equal(count(answers, "badCredential"), 10);
  assert.equal(count(answers, "tooFast"), 90);
});

test("a hundred sessions at once at a limit of ten: exactly ten seats, each given back once", async () => {
  const { policy } = engine([open(10)]);
  const who = facts({ user: "alice" });
  const leases: AsyncDisposable[] = [];
  const answers = await Promise.all(
    Array.from({ length: 100 }, () => said(policy.login(who).then((lease) => leases.push(lease)))),
  );
  assert.equal(count(answers, "yes"), 10);
  assert.equal(count(answers, "tooManySessions"), 90);
  assert.equal(policy.seats, 10);
  for (const lease of [...leases, ...leases]) await lease[Symbol.asyncDispose]();
  assert.equal(policy.seats, 0);
  assert.equal(await said(policy.login(who)), "yes");
});

test("a refusal says when trying again makes sense, and then it does", async () => {
  const { policy, clock } = engine([connects(1)]);
  await policy.connection(facts());
  clock.pass(20_000);
  const refused = await policy.connection(facts()).catch((error: unknown) => error);
  assert.ok(refused instanceof Refused);
  assert.equal(refused.refusal.retryAfterMs, 40_000);
  clock.pass(39_999);
  assert.equal(await said(policy.connection(facts())), "tooFast");
  clock.pass(1);
  assert.equal(await said(policy.connection(facts())), "yes");
});

test("a refused connection takes nothing from any limit", async () => {
  const { policy } = engine([connects(1), { ...connects(3), name: "everybody", per: ["listener"] }]);
  assert.equal(await said(policy.connection(facts({ ip: "192.0.2.1" }))), "yes");
  for (let more = 0; more < 5; more += 1) {
    assert.equal(await said(policy.connection(facts({ ip: "192.0.2.1" }))), "tooFast");
  }
  assert.equal(await said(policy.connection(facts({ ip: "192.0.2.2" }))), "yes");
  assert.equal(await said(policy.connection(facts({ ip: "192.0.2.3" }))), "yes");
  assert.equal(await said(policy.connection(facts({ ip: "192.0.2.4" }))), "tooFast");
});

test("in any window no more come in than its limit, and as many as it allows", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 5 }),
      fc.array(fc.record({ after: fc.nat(400), ip: fc.constantFrom("192.0.2.1", "192.0.2.2") }), {
        maxLength: 60,
      }),
      async (points, asks) => {
        const windowMs = 1_000;
        const { policy, clock } = engine([connects(points, windowMs)]);
        const windows = new Map<string, { began: number; taken: number }>();
        for (const { after, ip } of asks) {
          clock.pass(after);
          let model = windows.get(ip);
          if (!model || clock.now >= model.began + windowMs) {
            model = { began: clock.now, taken: 0 };
            windows.set(ip, model);
          }
          const expected = model.taken < points ? "yes" : "tooFast";
          if (expected === "yes") model.taken += 1;
          assert.equal(await said(policy.connection(facts({ ip }))), expected);
        }
      },
    ),
  );
});

test("seats in use are those entered and not left, and never more than the limit", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 4 }),
      fc.array(fc.oneof(fc.constant("enter" as const), fc.nat(9)), { maxLength: 80 }),
      async (points, steps) => {
        const { policy, store } = engine([open(points)]);
        const held: AsyncDisposable[] = [];
        for (const step of steps) {
          if (step === "enter") {
            const answer = await said(
              policy.login(facts({ user: "alice" })).then((lease) => held.push(lease)),
            );
            assert.equal(
              answer === "yes" ? "yes" : "no",
              held.length <= points && answer === "yes" ? "yes" : "no",
            );
            assert.ok(held.length <= points);
            if (answer !== "yes") assert.equal(held.length, points);
          } else {
            const [lease] = held.splice(step, 1);
            await lease?.[Symbol.asyncDispose]();
          }
          assert.equal(policy.seats, held.length);
        }
        for (const lease of held) await lease[Symbol.asyncDispose]();
        assert.equal(store.size, 0, "nothing is kept for a user who is not here");
      },
    ),
  );
});

test("a right password gives its point back; an outage does too", async () => {
  const { policy } = engine([guesses(2)]);
  for (let tries = 0; tries < 20; tries += 1) {
    assert.equal(await knows(policy, facts()), "yes");
    const outage = policy
      .attempt(facts())
      .then((attempt) => attempt.settle(Promise.reject(new Refused("unavailable", "down"))));
    assert.equal(await said(outage), "unavailable");
    const disabled = policy
      .attempt(facts())
      .then((attempt) => attempt.settle(Promise.reject(new Refused("notAllowed", "disabled"))));
    assert.equal(await said(disabled), "notAllowed");
  }
  assert.equal(await guess(policy, facts()), "badCredential");
  assert.equal(await guess(policy, facts()), "badCredential");
  assert.equal(await knows(policy, facts()), "tooFast", "and wrong passwords do not");
});

test("a fault that is no refusal gives its point back and goes on up", async () => {
  const { policy } = engine([guesses(1)]);
  const attempt = await policy.attempt(facts());
  await assert.rejects(attempt.settle(Promise.reject(new TypeError("ours"))), TypeError);
  assert.equal(await guess(policy, facts()), "badCredential");
});

test("a point is owed to the window it was taken from, and to no later one", async () => {
  const { policy, clock } = engine([guesses(2)]);
  const early = await policy.attempt(facts());
  clock.pass(600_000);
  assert.equal(await guess(policy, facts()), "badCredential");
  assert.equal(await guess(policy, facts()), "badCredential");
  await early.settle(Promise.resolve("alice"));
  assert.equal(await guess(policy, facts()), "tooFast");
});

test("limits are asked where they match and nowhere else", async () => {
  const { policy } = engine([{ ...connects(1), match: { listener: ["imap-993"], protocol: ["imap"] } }]);
  assert.equal(await said(policy.connection(facts())), "yes");
  assert.equal(await said(policy.connection(facts())), "tooFast");
  for (const other of [{ listener: "imap-143" }, { protocol: "pop3" }]) {
    for (let tries = 0; tries < 3; tries += 1) {
      assert.equal(await said(policy.connection(facts(other))), "yes");
    }
  }
});

test("a combined key counts each combination, a missing part counts nothing", async () => {
  const { policy } = engine([{ ...guesses(1), per: ["ip", "user"] }]);
  assert.equal(await guess(policy, facts({ user: "alice" })), "badCredential");
  assert.equal(await guess(policy, facts({ user: "alice" })), "tooFast");
  assert.equal(await guess(policy, facts({ user: "ALICE" })), "tooFast", "names are compared without case");
  assert.equal(await guess(policy, facts({ user: "bob" })), "badCredential");
  assert.equal(await guess(policy, facts({ user: "alice", ip: "192.0.2.2" })), "badCredential");
  assert.equal(await guess(policy, facts()), "badCredential");
  assert.equal(await guess(policy, facts()), "badCredential");
});

test("users are counted by domain, and those without one are not", async () => {
  const { policy } = engine([{ ...guesses(1), per: ["domain"] }]);
  assert.equal(await guess(policy, facts({ user: "alice@Example.org" })), "badCredential");
  assert.equal(await guess(policy, facts({ user: "bob@example.ORG" })), "tooFast");
  assert.equal(await guess(policy, facts({ user: "bob" })), "badCredential");
  assert.equal(await guess(policy, facts({ user: "bob" })), "badCredential");
});

test("a delay makes those beyond the limit wait, and refuses nobody", async () => {
  const { policy, delayed } = engine([guesses(1, { delay: 60 })]);
  assert.equal(await guess(policy, facts()), "badCredential");
  const began = performance.now();
  assert.equal(await within(5_000, "the answer", guess(policy, facts())), "badCredential");
  assert.ok(performance.now() - began >= 55, `${performance.now() - began} ms`);
  assert.deepEqual(delayed, [`guesses ip=${facts().ip}`]);
});

test("a client that leaves ends its delay", async () => {
  const { policy } = engine([guesses(1, { delay: 600_000 })]);
  await guess(policy, facts());
  const left = new AbortController();
  const attempt = policy.attempt(facts(), left.signal);
  left.abort();
  await within(5_000, "the attempt", attempt);
});

test("observe refuses nobody, and says what it would have done", async () => {
  for (const limit of [
    { ...guesses(2, { ban: 60_000 }), mode: "observe" as const },
    { ...guesses(2, { delay: 600_000 }), mode: "observe" as const },
    { ...guesses(2), mode: "observe" as const },
  ]) {
    const { policy, wouldRefuse, bans } = engine([limit]);
    for (let tries = 0; tries < 5; tries += 1) assert.equal(await guess(policy, facts()), "badCredential");
    assert.deepEqual(wouldRefuse, Array(3).fill("guesses ip=192.0.2.1"));
    assert.deepEqual(bans, []);
  }
});

test("the whole policy in observe mode holds limits of its own mode back too", async () => {
  const { policy, wouldRefuse } = engine([{ ...connects(1), mode: "enforce" }], { mode: "observe" });
  assert.equal(await said(policy.connection(facts())), "yes");
  assert.equal(await said(policy.connection(facts())), "yes");
  assert.equal(wouldRefuse.length, 1);
});

test("seats in observe mode are counted and given back", async () => {
  const { policy, wouldRefuse, store } = engine([{ ...open(1), mode: "observe" }]);
  const leases = [];
  for (let tries = 0; tries < 3; tries += 1) leases.push(await policy.login(facts({ user: "alice" })));
  assert.equal(wouldRefuse.length, 2);
  for (const lease of leases) await lease[Symbol.asyncDispose]();
  assert.equal(store.size, 0);
});

test("exempt networks are never limited and never banned", async () => {
  const { policy, bans } = engine([connects(1), guesses(1, { ban: 60_000 })], {
    exempt: ["10.0.0.0/8", "192.0.2.7", "2001:db8:1::/48", "::1"],
  });
  for (const ip of ["10.1.2.3", "192.0.2.7", "2001:db8:1:2::3", "::1", "::ffff:10.1.2.3"]) {
    for (let tries = 0; tries < 3; tries += 1) {
      assert.equal(await said(policy.connection(facts({ ip }))), "yes", ip);
      assert.equal(await guess(policy, facts({ ip })), "badCredential", ip);
    }
  }
  assert.deepEqual(bans, []);
  assert.equal(await said(policy.connection(facts({ ip: "11.1.2.3" }))), "yes");
  assert.equal(await said(policy.connection(facts({ ip: "11.1.2.3" }))), "tooFast");
});

test("a client on the local link, whose address carries a zone, is served and counted", async () => {
  const { policy } = engine([connects(1)], { exempt: ["127.0.0.0/8", "::1"] });
  assert.equal(await said(policy.connection(facts({ ip: "fe80::1%eth0" }))), "yes");
  assert.equal(await said(policy.connection(facts({ ip: "fe80::2%eth0" }))), "tooFast");
});

test("a thousand addresses of one IPv6 network are one client", async () => {
  const { policy } = engine([connects(10)]);
  const answers = await Promise.all(
    Array.from({ length: 1_000 }, (_, host) =>
      said(policy.connection(facts({ ip: `2001:db8:0:1::${host.toString(16)}` }))),
    ),
  );
  assert.equal(count(answers, "yes"), 10);
  assert.equal(await said(policy.connection(facts({ ip: "2001:db8:0:2::1" }))), "yes");
});

test("without limits nothing is asked and nothing is kept", async () => {
  const { policy, store } = engine([]);
  for (let tries = 0; tries < 100; tries += 1) {
    await policy.connection(facts());
    await knows(policy, facts());
    await policy.login(facts({ user: "alice" }));
  }
  assert.equal(store.size, 0);
});
