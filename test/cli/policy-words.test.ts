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
  assert.match(verdict({ limits: [{ ...full, next: "delay" }] }) ?? "", /: would be let in, after a delay$/);
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
  assert.equal(known, "the name has signed in from this network lately");
  assert.match(told ?? "", /; passed over: this network is known for the name$/);
});

test("bytes are told in units that people read", () => {
  const limit = { ...guesses, limit: "down", count: "bytesOut", taken: 1_610_612_736, points: 20 * 2 ** 30 };
  assert.match(lines({ limits: [limit] }).at(-1) ?? "", /^ {2}down: 1\.5GiB of 20GiB in 10m for /);
});

test("a limit of none at all is told so, and for good", () => {
  const abroad = { ...guesses, limit: "abroad", count: "logins", taken: 0, points: 0, next: "refuse" };
  assert.deepEqual(lines({ country: "CN", asn: "AS64500", limits: [abroad] }), [
    "from 203.0.113.5: a login would be refused, and always will be",
    "the address is in CN (China), in AS64500",
    "",
    "limits",
    "  abroad: none at all for ip=203.0.113.5; would be refused",
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
