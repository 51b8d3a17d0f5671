import assert from "node:assert/strict";
import { test } from "node:test";
import type { Limit } from "../../src/policy/engine.ts";
import { Refused } from "../../src/refusal.ts";
import { engine, facts, guess, said } from "./engine-kit.ts";

const HOUR = 3_600_000;
const alice = facts({ user: "alice@example.org" });
const hourly = (count: Limit["count"], points: number, more: Partial<Limit> = {}) => ({
  name: `${count}-limit`,
  count,
  per: ["user" as const],
  limit: { points, windowMs: HOUR },
  ...more,
});

test("logins are counted when they are completed", async () => {
  const { policy, clock } = engine([hourly("logins", 2)]);
  for (let failed = 0; failed < 5; failed += 1) {
    await using _entrance = await policy.login(alice);
  }
  for (let logins = 0; logins < 2; logins += 1) {
    await using entrance = await policy.login(alice);
    entrance.completed();
  }
  assert.equal(await said(policy.login(alice)), "tooFast");
  assert.equal(await said(policy.login(facts({ user: "bob" }))), "yes");
  clock.pass(HOUR);
  assert.equal(await said(policy.login(alice)), "yes");
});

test("a login that is still on its way holds its place", async () => {
  const { policy } = engine([hourly("logins", 1)]);
  const entrance = await policy.login(alice);
  assert.equal(await said(policy.login(alice)), "tooFast");
  await entrance[Symbol.asyncDispose]();
  assert.equal(await said(policy.login(alice)), "yes");
});

test("seats and logins are one asking: a full one takes nothing from the other", async () => {
  const { policy, store } = engine([
    hourly("logins", 100),
    { name: "open", count: "sessions", per: ["user"], limit: { points: 1 } },
  ]);
  const first = await policy.login(alice);
  first.completed();
  for (let tries = 0; tries < 3; tries += 1) assert.equal(await said(policy.login(alice)), "tooManySessions");
  const [logins] = (await policy.explain(alice)).limits;
  assert.equal(logins?.taken, 1);
  await first[Symbol.asyncDispose]();
  await first[Symbol.asyncDispose]();
  assert.equal(policy.seats, 0);
  assert.equal(store.size, 1, "the login stays counted, the seat is free");
});

test("a backend is a key from routing on", async () => {
  const { policy } = engine([{ name: "alpha", count: "sessions", per: ["backend"], limit: { points: 2 } }]);
  const at = (user: string, backend: string) => policy.login(facts({ user, backend }));
  await at("a", "alpha");
  await at("b", "alpha");
  assert.equal(await said(at("c", "alpha")), "tooManySessions");
  assert.equal(await said(at("c", "beta")), "yes");
});

test("protocols and listeners are counted apart, by one combined key with the address", async () => {
  const { policy } = engine([hourly("connections", 1, { per: ["protocol", "ip", "listener"] })]);
  for (const where of [
    { protocol: "imap" },
    { protocol: "pop3" },
    { listener: "other" },
    { ip: "192.0.2.2" },
  ]) {
    assert.equal(await said(policy.connection(facts(where))), "yes");
    assert.equal(await said(policy.connection(facts(where))), "tooFast");
  }
});

for (const [what, match, inside, outside] of [
  ["protocols", { protocol: ["pop3", "imap"] }, {}, { protocol: "sieve" }],
  ["listeners", { listener: ["imap-993"] }, {}, { listener: "imap-143" }],
  ["networks", { network: ["192.0.2.0/24", "2001:db8::/32"] }, {}, { ip: "198.51.100.1" }],
  ["networks of IPv6", { network: ["2001:db8::/32"] }, { ip: "2001:db8::1" }, { ip: "2001:db9::1" }],
  ["networks, by a mapped address", { network: ["192.0.2.0/24"] }, { ip: "::ffff:192.0.2.9" }, {}],
  ["users", { user: ["Alice@Example.ORG"] }, {}, { user: "bob@example.org" }],
  ["domains", { domain: ["EXAMPLE.org"] }, {}, { user: "alice@example.net" }],
  ["all that is given", { domain: ["example.org"], protocol: ["imap"] }, {}, { protocol: "pop3" }],
] as const) {
  test(`a limit can be for some ${what} only`, async () => {
    const { policy } = engine([hourly("logins", 1, { match })]);
    const enter = async (where: Parameters<typeof facts>[0]) =>
      said(
        policy.login(facts({ user: "alice@example.org", ...where })).then((entrance) => entrance.completed()),
      );
    assert.equal(await enter(inside), "yes");
    assert.equal(await enter(inside), "tooFast");
    if (Object.keys(outside).length === 0) return;
    for (let tries = 0; tries < 3; tries += 1) assert.equal(await enter(outside), "yes");
  });
}

test("messages and recipients are counted as they come, and refused beyond", async () => {
  const { policy } = engine([hourly("messages", 2), hourly("recipients", 3)]);
  const sender = facts({ user: "alice", protocol: "submission" });
  assert.deepEqual(
    [
      await said(policy.message(sender)),
      await said(policy.message(sender)),
      await said(policy.message(sender)),
    ],
    ["yes", "yes", "tooFast"],
  );
  for (let named = 0; named < 3; named += 1) assert.equal(await said(policy.recipient(sender)), "yes");
  assert.equal(await said(policy.recipient(sender)), "tooFast");
});

test("where no limit has anything to say about mail, nobody waits for it", () => {
  const mail = facts({ user: "alice", protocol: "submission" });
  const { policy: bare } = engine([hourly("authFailures", 3, { per: ["ip"], then: { ban: HOUR } })]);
  assert.equal(bare.message(mail), undefined);
  assert.equal(bare.recipient(mail), undefined);
  const { policy } = engine(
    [hourly("messages", 3, { match: { protocol: ["submission"] } }), hourly("recipients", 3)],
    { exempt: ["10.0.0.0/8"] },
  );
  assert.equal(policy.message(facts({ protocol: "smtp", user: "alice" })), undefined, "of another protocol");
  assert.equal(policy.recipient(facts({ protocol: "smtp" })), undefined, "the key is not known");
  assert.equal(policy.message({ ...mail, ip: "10.1.2.3" }), undefined, "exempt");
  assert.ok(policy.message(mail) instanceof Promise);
});

test("who is banned for mail sends none by any session, until the ban ends", async () => {
  const { policy, clock } = engine([hourly("recipients", 1, { then: { ban: 60_000 } })]);
  const mail = facts({ user: "alice", protocol: "submission" });
  assert.equal(await said(policy.recipient(mail)), "yes");
  assert.equal(await said(policy.recipient(mail)), "tooFast");
  assert.equal(await said(policy.message({ ...mail, ip: "198.51.100.7" })), "banned");
  clock.pass(60_000);
  assert.equal(await said(policy.message(mail)), "yes");
});

test("a refusal names limit, key and counter for the log", async () => {
  const { policy } = engine([
    hourly("authFailures", 2, { name: "guesses", per: ["ip"], limit: { points: 2, windowMs: 600_000 } }),
    { name: "open", count: "sessions", per: ["ip", "user"], limit: { points: 1 } },
  ]);
  const why = async (asking: Promise<unknown>) => {
    const refused = await asking.catch((error: unknown) => error);
    assert.ok(refused instanceof Refused);
    return refused.refusal.detail;
  };
  await guess(policy, alice);
  await guess(policy, alice);
  assert.equal(await why(policy.attempt(alice)), "limit guesses: 2 of 2 in 10m for ip=192.0.2.1");
  await policy.login(alice);
  assert.equal(
    await why(policy.login(alice)),
    "limit open: 1 of 1 at once for ip=192.0.2.1 user=alice@example.org",
  );
});

test("every limit counts what it answered", async () => {
  const { policy } = engine([
    hourly("connections", 1, { name: "hard", per: ["ip"] }),
    hourly("connections", 1, { name: "seen", per: ["ip"], mode: "observe" }),
    hourly("connections", 1, { name: "late", per: ["listener"], then: { delay: 1 } }),
    hourly("authFailures", 1, { name: "door", per: ["ip"], then: { ban: HOUR } }),
  ]);
  await policy.connection(facts());
  await said(policy.connection(facts()));
  await policy.connection(facts({ ip: "192.0.2.2" }));
  await guess(policy, facts({ ip: "192.0.2.3" }));
  const answers = Array.from(policy.answers(), ({ limit, answer, times }) => `${limit} ${answer} ${times}`);
  assert.deepEqual(answers.sort(), [
    "door allowed 1",
    "door banned 1",
    "hard allowed 2",
    "hard refused 1",
    "late allowed 1",
    "late delayed 1",
    "seen allowed 2",
  ]);
});
