import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { createFingerprints } from "../../src/auth/fingerprint.ts";
import type { Limit, Policy } from "../../src/policy/engine.ts";
import type { Facts } from "../../src/policy/limit-key.ts";
import { Remembered } from "../../src/policy/store/remembered.ts";
import { Refused } from "../../src/refusal.ts";
import { engine, facts, said } from "./engine-kit.ts";

const DAY = 86_400_000;
const guesses = (name: string, per: Limit["per"], points: number, more: Partial<Limit> = {}) => ({
  name,
  count: "authFailures" as const,
  per,
  limit: { points, windowMs: 600_000 },
  ...more,
});
const byNetwork = (points: number, more?: Partial<Limit>) => guesses("network", ["ip"], points, more);
const byUser = (points: number, more?: Partial<Limit>) => guesses("user", ["user"], points, more);

const home = facts({ user: "alice", ip: "198.51.100.1" });
const from = (number: number, user = "alice") => facts({ user, ip: `203.0.113.${number}` });

/** The policy as the story asks it, for users with one password each. */
function door(
  policy: Policy,
  passwords: Readonly<Record<string, string>> = { alice: "right", bob: "right" },
) {
  const fingerprint = createFingerprints();
  return async (who: Facts, password: string) => {
    const authcid = who.user ?? "";
    const answer = async () => {
      const right = passwords[authcid];
      if (right === undefined) throw new Refused("badCredential", "no such user", { unknownName: true });
      if (right !== password) throw new Refused("badCredential", "wrong");
      return authcid;
    };
    const credential = { mechanism: "PLAIN", authcid, password };
    return said(
      policy.attempt(who, undefined, fingerprint(credential)).then((attempt) => attempt.settle(answer())),
    );
  };
}

async function taken(policy: Policy, who: Facts, limit: string): Promise<number | undefined> {
  return (await policy.explain(who)).limits.find((one) => one.limit === limit)?.taken;
}

test("the same wrong password again counts once, from wherever it comes and however often", async () => {
  const { policy, clock } = engine([byNetwork(3), byUser(3), guesses("both", ["user", "ip"], 3)]);
  const enter = door(policy);
  for (let day = 0; day < 5; day += 1) {
    for (let tries = 0; tries < 20; tries += 1)
      assert.equal(await enter(home, "old password"), "badCredential");
    assert.equal(await taken(policy, home, "network"), day === 0 ? 1 : 0);
    clock.pass(DAY - 1);
  }
  assert.equal(await enter(from(1), "old password"), "badCredential");
  assert.equal(await taken(policy, from(1), "network"), 0);
});

test("another wrong password is another guess, and so is the same one for another user", async () => {
  const { policy } = engine([byNetwork(4)]);
  const enter = door(policy);
  for (const [user, password] of [
    ["alice", "1"],
    ["alice", "2"],
    ["bob", "1"],
    ["bob", "2"],
  ] as const)
    assert.equal(await enter(from(1, user), password), "badCredential");
  assert.equal(await enter(from(1), "3"), "tooFast");
});

test("a repeated password is refused like any other where a limit is full", async () => {
  const { policy } = engine([byNetwork(2)]);
  const enter = door(policy);
  await enter(from(1), "1");
  await enter(from(1), "2");
  assert.equal(await enter(from(1), "1"), "tooFast");
});

test("repeats cost a hash each, so a network that makes too many of them is charged for the rest", async () => {
  const { policy, clock } = engine([byNetwork(1_000)]);
  const enter = door(policy);
  for (let tries = 0; tries < 121; tries += 1) await enter(from(1), "old");
  assert.equal(await taken(policy, from(1), "network"), 1);
  for (let tries = 0; tries < 10; tries += 1) await enter(from(1), "old");
  assert.equal(await taken(policy, from(1), "network"), 11);
  await enter(from(2), "old");
  assert.equal(await taken(policy, from(2), "network"), 0);
  clock.pass(60_000);
  await enter(from(1), "old");
  assert.equal(await taken(policy, from(1), "network"), 11);
});

test("the same wrong password many times at once counts once", async () => {
  const { policy } = engine([byNetwork(100, { then: { ban: DAY } })]);
  const enter = door(policy);
  await Promise.all(Array.from({ length: 50 }, () => enter(from(1), "old")));
  assert.equal(await taken(policy, from(1), "network"), 1);
});

test("an old password that has been forgotten counts again", async () => {
  const { policy, clock } = engine([byNetwork(10)]);
  const enter = door(policy);
  await enter(from(1), "old");
  clock.pass(DAY);
  await enter(from(1), "old");
  assert.equal(await taken(policy, from(1), "network"), 1, "in its new window");
});

test("a digest, whose password is not known, is a guess each time", async () => {
  assert.equal(
    createFingerprints()({
      mechanism: "APOP",
      authcid: "alice",
      digest: { stamp: "<1@example.org>", md5: "0".repeat(32) },
    }),
    undefined,
  );
  const { policy } = engine([byNetwork(2)]);
  for (let tries = 0; tries < 2; tries += 1)
    await said(
      policy
        .attempt(from(1))
        .then((attempt) => attempt.settle(Promise.reject(new Refused("badCredential", "wrong")))),
    );
  assert.equal(await said(policy.attempt(from(1))), "tooFast");
});

test("fingerprints are short, of one name and password, and of no use with another key", () => {
  const secret = Buffer.alloc(32, 1);
  const credential = (authcid: string, password: string) => ({ mechanism: "PLAIN", authcid, password });
  const print = createFingerprints(secret);
  assert.match(print(credential("alice", "secret")) ?? "", /^[\w-]{3}$/);
  assert.equal(
    print(credential("Alice", "secret")),
    createFingerprints(secret)(credential("alice", "secret")),
  );
  const others = [
    print(credential("alice", "secreT")),
    print(credential("alices", "ecret")),
    createFingerprints(Buffer.alloc(32, 2))(credential("alice", "secret")),
  ];
  for (const other of others) assert.notEqual(other, print(credential("alice", "secret")));
});

test("a network that the user has signed in from works while he is attacked from elsewhere", async () => {
  const { policy } = engine([byUser(5), byNetwork(100)]);
  const enter = door(policy);
  assert.equal(await enter(home, "right"), "yes");
  for (let number = 0; number < 5; number += 1)
    assert.equal(await enter(from(number), `guess ${number}`), "badCredential");
  assert.equal(await enter(from(200), "right"), "tooFast", "a new network has to wait");
  assert.equal(await enter(home, "right"), "yes");
  assert.equal(await enter(home, "a slip"), "badCredential");
  assert.equal(await taken(policy, home, "user"), 5, "and its own slips are not charged to the name");
  const standing = await policy.explain(home);
  assert.equal(standing.knownNetwork, true);
  assert.deepEqual(
    standing.limits.map(({ limit, next }) => [limit, next]),
    [
      ["user", "passed over"],
      ["network", "allow"],
    ],
  );
});

test("a known network is known for this user alone, and its own limits hold", async () => {
  const { policy } = engine([byUser(2), byNetwork(3)]);
  const enter = door(policy);
  await enter(home, "right");
  const bob = { ...home, user: "bob" };
  assert.equal(await enter(bob, "1"), "badCredential");
  assert.equal(await enter(bob, "2"), "badCredential");
  assert.equal(await enter(bob, "3"), "tooFast");
  assert.equal(await enter(home, "4"), "badCredential", "the third of the network");
  assert.equal(await enter(home, "right"), "tooFast", "per network it is over for everybody");
});

test("a ban for guesses at a name spares the networks that it is known to use, an operator's does not", async () => {
  const { policy } = engine([byUser(2, { then: { ban: DAY } })]);
  const enter = door(policy);
  await enter(home, "right");
  await enter(from(1), "1");
  await enter(from(2), "2");
  assert.equal(await enter(from(3), "right"), "banned");
  assert.equal(await enter(home, "right"), "yes");
  assert.equal(await said(policy.login(home)), "yes");
  assert.equal(await said(policy.login(from(3))), "banned");
  assert.ok(await policy.unban("user=alice"));
  assert.ok(await policy.ban("user=alice", DAY));
  assert.equal(await enter(home, "right"), "banned");
});

test("a network is known for thirty days after the last time", async () => {
  const { policy, clock } = engine([byUser(1)]);
  const enter = door(policy);
  for (let days = 0; days < 60; days += 20) {
    assert.equal(await enter(home, "right"), "yes");
    clock.pass(20 * DAY);
  }
  await enter(from(1), "guess 1");
  assert.equal(await enter(home, "right"), "yes");
  clock.pass(30 * DAY);
  await enter(from(1), "guess 2");
  assert.equal(await enter(home, "right"), "tooFast");
});

test("any address of a known IPv6 network is known", async () => {
  const { policy } = engine([byUser(1)]);
  const enter = door(policy);
  await enter({ ...home, ip: "2001:db8:1:2::3" }, "right");
  await enter(from(1), "guess");
  assert.equal(await enter({ ...home, ip: "2001:db8:1:2:ffff::9" }, "right"), "yes");
  assert.equal(await enter({ ...home, ip: "2001:db8:1:3::3" }, "right"), "tooFast");
});

test("a login that the account may not do makes no network known", async () => {
  const { policy } = engine([byUser(1)]);
  const attempt = await policy.attempt(home);
  await said(attempt.settle(Promise.reject(new Refused("notAllowed", "disabled"))));
  assert.equal((await policy.explain(home)).knownNetwork, false);
});

test("names that are nobody's are charged to the network, and to no name", async () => {
  const { policy, store } = engine([
    byNetwork(1_000),
    byUser(1_000),
    guesses("domain", ["domain"], 1_000),
    guesses("both", ["user", "ip"], 1_000),
  ]);
  const enter = door(policy);
  for (let number = 0; number < 50; number += 1)
    assert.equal(await enter(from(1, `x${number}@example.org`), "123456"), "badCredential");
  const nobody = from(1, "x1@example.org");
  assert.equal(await taken(policy, nobody, "network"), 50);
  assert.equal(await taken(policy, nobody, "both"), 1);
  assert.equal(await taken(policy, nobody, "user"), 0);
  assert.equal(await taken(policy, nobody, "domain"), 0);
  // What would be in the buckets is kept apart, and only answers for them.
  const before = store.size;
  assert.equal(before, 1 + 50 + 50 + 1);
});

test("by the answers nobody can tell a name that is nobody's from a user's", async () => {
  const consequences = fc.constantFrom<Limit["then"]>("refuse", { ban: DAY }, { ban: 60_000, upTo: DAY });
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.integer({ min: 1, max: 4 }), fc.constantFrom("a", "b", "c", "d")), {
        maxLength: 30,
      }),
      fc.record({ ofUser: consequences, ofNetwork: consequences, ofDomain: consequences }),
      async (tries, { ofUser, ofNetwork, ofDomain }) => {
        const answersTo = async (user: string) => {
          const { policy } = engine([
            byUser(4, { then: ofUser }),
            byNetwork(6, { then: ofNetwork }),
            guesses("domain", ["domain"], 5, { then: ofDomain }),
          ]);
          const enter = door(policy, { "alice@example.org": "right" });
          const answers: string[] = [];
          for (const [network, password] of tries) answers.push(await enter(from(network, user), password));
          return answers;
        };
        assert.deepEqual(await answersTo("nobody@example.org"), await answersTo("alice@example.org"));
      },
    ),
  );
});

test("an outage and a client that leaves are no guesses", async () => {
  const { policy, store } = engine([byNetwork(1), byUser(1)]);
  for (const error of [new Refused("unavailable", "down"), new Error("left")]) {
    const attempt = await policy.attempt(home, undefined, "abc");
    await assert.rejects(attempt.settle(Promise.reject(error)));
  }
  assert.equal(store.size, 0);
});

test("what is remembered of names is bounded, and what was seen again outlives what was seen once", () => {
  const memory = new Remembered({ things: 100, ms: 1_000 });
  for (const times of [1, 2])
    for (let number = 0; number < 20; number += 1) memory.add("us", `${number}`, times);
  for (let number = 0; number < 5_000; number += 1) memory.add(`name${number}`, "thing", 3);
  assert.equal(memory.size, 100);
  for (let number = 0; number < 20; number += 1) assert.ok(memory.has("us", `${number}`, 1_001));
  assert.ok(!memory.has("us", "1", 1_002), "for a time from when it was last seen");
  assert.ok(memory.has("name4999", "thing", 999));
  assert.ok(!memory.has("name499", "9thing", 999));
});

test("made-up names push no user's wrong password out of memory", async () => {
  const { policy } = engine([byNetwork(2_000_000)]);
  const enter = door(policy);
  await enter(home, "old");
  // As many as are remembered, and more.
  for (let number = 0; number < 110_000; number += 1) {
    const attempt = await policy.attempt(from(1, `x${number}`), undefined, "abc");
    await attempt
      .settle(Promise.reject(new Refused("badCredential", "nobody", { unknownName: true })))
      .catch(() => {});
  }
  await enter(home, "old");
  assert.equal(await taken(policy, home, "network"), 1);
});
