import assert from "node:assert/strict";
import { test } from "node:test";
import { banWords, type Told, type ToldLimit, wordsFor } from "../../src/cli/policy-words.ts";

const NOW = new Date(2026, 2, 1, 13, 54, 0);
const MINUTE = 60_000;
const guesses: ToldLimit = {
  limit: "guesses",
  count: "authFailures",
  key: "ip=203.0.113.5",
  taken: 7,
  points: 20,
  windowMs: 10 * MINUTE,
  endsInMs: 4 * MINUTE + 11_200,
  next: "allow",
};
const nothing: Told = { exempt: false, knownNetwork: false, bans: [], limits: [] };
const ban = { key: "ip=203.0.113.5", by: "guesses", leftMs: 38 * MINUTE, times: 1 };
const whom = { ip: "203.0.113.5" };

const lines = (told: Partial<Told>, who: Parameters<typeof wordsFor>[1] = whom) =>
  wordsFor({ ...nothing, ...told }, who, NOW);
const verdict = (told: Partial<Told>) => lines(told)[0];

test("a limit is told with counter, key and what is left of its time", () => {
  assert.deepEqual(lines({ limits: [guesses] }), [
    "from 203.0.113.5: would be let in",
    "",
    "limits",
    "  guesses: 7 of 20 in 10m for ip=203.0.113.5, begins anew in 4m 12s",
  ]);
});

test("a ban is told with its end, and how often it was", () => {
  const told = (more: Partial<typeof ban>) => banWords({ ...ban, ...more }, NOW);
  assert.equal(told({}), "ip=203.0.113.5: banned by guesses until 14:32 (38m left)");
  assert.equal(told({ times: 3 }), "ip=203.0.113.5: banned by guesses until 14:32 (38m left), third time");
  assert.match(told({ times: 21 }), /, 21st time$/);
  assert.match(told({ times: 112 }), /, 112th time$/);
  assert.match(told({ leftMs: 11 * 60 * MINUTE }), / until 2026-03-02 00:54 \(11h left\)/);
});

test("the first line says what would happen, whatever stands below", () => {
  const full = { ...guesses, next: "refuse" };
  const open = { limit: "open", count: "sessions", key: "user=bob", taken: 50, points: 50, next: "refuse" };
  assert.match(verdict({ bans: [ban], limits: [full] }) ?? "", /: would be refused, banned for 38m more$/);
  assert.match(verdict({ limits: [full] }) ?? "", /: a login would be refused for 4m 12s more$/);
  assert.match(
    verdict({ limits: [open] }) ?? "",
    /: a login would be refused, until one of those inside leaves$/,
  );
  const slow = { ...full, next: "delay", delayMs: 5_000 };
  assert.match(verdict({ limits: [slow] }) ?? "", /: would be let in, after a delay of 5s$/);
  const last = { ...guesses, banMs: 15 * MINUTE };
  assert.match(
    verdict({ limits: [last] }) ?? "",
    /: would be let in, but the next wrong password bans for 15m$/,
  );
  assert.match(
    verdict({ limits: [slow, last] }) ?? "",
    /: would be let in, after a delay of 5s, but the next wrong password bans for 15m$/,
  );
  assert.match(verdict({ limits: [{ ...full, next: "observe" }] }) ?? "", /: would be let in$/);
  assert.match(
    verdict({ exempt: true, bans: [ban], limits: [full] }) ?? "",
    /: exempt \(policy\.exempt\), so no /,
  );
});

test("a ban that lets a known network through refuses nobody there", () => {
  const [first, known, , , told] = lines(
    { knownNetwork: true, bans: [{ ...ban, key: "user=bob", passedOver: true }] },
    { user: "bob", ip: "203.0.113.5" },
  );
  assert.equal(first, "bob from 203.0.113.5: would be let in");
  assert.equal(
    known,
    "the name has signed in from this network lately: what others guess at it elsewhere is passed over here",
  );
  assert.match(told ?? "", /; passed over: known network$/);
});

test("bytes are told in units that people read", () => {
  const limit = { ...guesses, limit: "down", count: "bytesOut", taken: 1_610_612_736, points: 20 * 2 ** 30 };
  assert.match(lines({ limits: [limit] }).at(-1) ?? "", /^ {2}down: 1\.5GiB of 20GiB in 10m for /);
});

test("what the next one leads to stands behind each limit", () => {
  const next = (more: Partial<ToldLimit>) =>
    /begins anew in 4m 12s(?:; (.*))?$/.exec(lines({ limits: [{ ...guesses, ...more }] }).at(-1) ?? "")?.[1];
  assert.equal(next({}), undefined);
  assert.equal(next({ next: "delay", delayMs: 5_000 }), "next: delay 5s");
  assert.equal(next({ banMs: 30 * MINUTE }), "next: the next wrong password bans for 30m");
  assert.equal(next({ next: "refuse" }), "next: refused");
  assert.equal(
    next({ next: "refuse", sparesKnown: true }),
    "next: refused, but not from networks that the name is known from",
  );
  assert.equal(next({ count: "logins", next: "ban", banMs: MINUTE }), "next: refused, and banned for 1m");
  const observed = (would: string) => next({ count: "logins", next: "observe", would });
  assert.equal(observed("refuse"), "next: refused if the limit were enforced");
  assert.equal(observed("delay"), "next: delayed if the limit were enforced");
  assert.equal(
    next({ count: "bytesOut", next: "throttle", rate: 2 ** 20 }),
    "next: slowed down to 1MiB a second",
  );
  assert.equal(next({ next: "passed over", sparesKnown: true }), "passed over: known network");
  assert.equal(next({ next: "something new" }), "next: something new");
});

test("a user who is attacked reads at once that it does not concern him where he is known", () => {
  const attacked = {
    ...guesses,
    limit: "attacked",
    key: "user=bob",
    taken: 50,
    points: 50,
    sparesKnown: true,
  };
  const who = { user: "bob", ip: "203.0.113.5" };
  const [first, known] = lines({ knownNetwork: true, limits: [{ ...attacked, next: "passed over" }] }, who);
  assert.equal(first, "bob from 203.0.113.5: would be let in");
  assert.match(known ?? "", /: what others guess at it elsewhere is passed over here$/);
  const [refused, stranger] = lines({ limits: [{ ...attacked, next: "refuse" }] }, who);
  assert.match(refused ?? "", /: a login would be refused for 4m 12s more$/);
  assert.equal(stranger, "the name has not signed in from this network lately");
  const [, quiet] = lines(
    { knownNetwork: true, limits: [{ ...attacked, taken: 3, next: "passed over" }] },
    who,
  );
  assert.equal(quiet, "the name has signed in from this network lately");
});

test("a limit of none at all is told so, and for good", () => {
  const abroad = { ...guesses, limit: "abroad", count: "logins", taken: 0, points: 0, next: "refuse" };
  assert.deepEqual(lines({ country: "CN", asn: "AS64500", limits: [abroad] }), [
    "from 203.0.113.5: a login would be refused, and always will be",
    "the address is in CN (China), in AS64500",
    "",
    "limits",
    "  abroad: none at all for ip=203.0.113.5; next: refused",
  ]);
});

test("where an address is, is told as far as it is looked up", () => {
  const told = (more: Partial<Told>) => lines({ ...more })[1];
  assert.equal(told({ country: "unknown" }), "the address is in an unknown country");
  assert.equal(told({ asn: "unknown" }), "the address is in an unknown AS");
  assert.equal(told({ country: "NO" }), "the address is in NO (Norway)");
  assert.equal(told({}), "");
});

test("hooks are named, for nobody has asked them", () => {
  assert.equal(
    lines({ limits: [guesses], hooks: ["wforce", "greylist"] }).at(-1),
    "hooks have a say too, and are not asked for this: wforce, greylist",
  );
});
