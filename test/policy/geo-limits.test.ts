import assert from "node:assert/strict";
import { test } from "node:test";
import type { Limit } from "../../src/policy/engine.ts";
import { type Place, type Places, placesUnread } from "../../src/policy/geo/places.ts";
import { FailoverStore } from "../../src/policy/store/failover.ts";
import { Refused } from "../../src/refusal.ts";
import { engine, facts, guess, knows, said } from "./engine-kit.ts";

const WHERE: Readonly<Record<string, Place>> = {
  "192.0.2.1": { country: "DE", asn: "AS64500" },
  "192.0.2.2": { country: "DE", asn: "AS64501" },
  "198.51.100.1": { country: "CN", asn: "AS64502" },
};
const NOWHERE: Place = { country: "unknown", asn: "unknown" };

/** A map that can be redrawn, and that knows how often it was looked at. */
function map(where: Record<string, Place> = { ...WHERE }): Places & { edition: number; looks: number } {
  return {
    kinds: ["country", "asn"],
    edition: 0,
    looks: 0,
    find(address) {
      this.looks += 1;
      return where[address] ?? NOWHERE;
    },
  };
}

const german = facts({ user: "alice" });
const alsoGerman = facts({ ip: "192.0.2.2", user: "bob" });
const chinese = facts({ ip: "198.51.100.1", user: "alice" });
const nowhere = facts({ ip: "10.0.0.1", user: "alice" });

const logins = (limit: Limit["limit"], more: Partial<Limit>) => ({
  name: "logins",
  count: "logins" as const,
  per: ["ip" as const],
  limit,
  ...more,
});
const none = (more: Partial<Limit>) => logins({ points: 0 }, { name: "abroad", ...more });

async function answers(limit: ReturnType<typeof logins>, ...all: (typeof german)[]): Promise<string[]> {
  const { policy } = engine([limit], { places: map() });
  const asked: string[] = [];
  for (const one of all) asked.push(await said(policy.login(one)));
  return asked;
}

test("everybody in one country counts together, and everybody nowhere", async () => {
  const limit = logins({ points: 1, windowMs: 60_000 }, { per: ["country"] });
  assert.deepEqual(await answers(limit, german, alsoGerman, chinese, nowhere, nowhere), [
    "yes",
    "tooFast",
    "yes",
    "yes",
    "tooFast",
  ]);
});

test("an AS counts by itself, and in combination", async () => {
  const byAsn = logins({ points: 1, windowMs: 60_000 }, { per: ["asn"] });
  assert.deepEqual(await answers(byAsn, german, alsoGerman, german), ["yes", "yes", "tooFast"]);
  const combined = logins({ points: 1, windowMs: 60_000 }, { per: ["country", "user"] });
  assert.deepEqual(await answers(combined, german, alsoGerman, chinese, german), [
    "yes",
    "yes",
    "yes",
    "tooFast",
  ]);
});

test("a limit for countries is for no place that is not known", async () => {
  const limit = none({ match: { country: ["cn", "NO"] } });
  assert.deepEqual(await answers(limit, german, chinese, nowhere), ["yes", "forbidden", "yes"]);
  const asked = none({ match: { country: ["unknown"] } });
  assert.deepEqual(await answers(asked, german, chinese, nowhere), ["yes", "yes", "forbidden"]);
});

test("outside of some countries is everywhere else, and nowhere too unless it is said", async () => {
  const outside = none({ match: { notCountry: ["DE", "AT"] } });
  assert.deepEqual(await answers(outside, german, chinese, nowhere), ["yes", "forbidden", "forbidden"]);
  const known = none({ match: { notCountry: ["de", "UNKNOWN"] } });
  assert.deepEqual(await answers(known, german, chinese, nowhere), ["yes", "forbidden", "yes"]);
});

test("AS numbers match the same way, in every spelling", async () => {
  const some = none({ match: { asn: ["as64500", 64502] } });
  assert.deepEqual(await answers(some, german, alsoGerman, chinese, nowhere), [
    "forbidden",
    "yes",
    "forbidden",
    "yes",
  ]);
  const others = none({ match: { notAsn: ["AS64500"], country: ["DE"] } });
  assert.deepEqual(await answers(others, german, alsoGerman, chinese), ["yes", "forbidden", "yes"]);
});

test("none at all is refused for good, whatever else is full", async () => {
  const limits = [
    logins({ points: 1, windowMs: 3_600_000 }, {}),
    none({ match: { country: ["CN"] } }),
    none({ name: "never", count: "connections", per: ["country"], match: { asn: [64501] } }),
  ];
  const { policy } = engine(limits, { places: map() });
  await policy.login(german);
  assert.equal(await said(policy.login(german)), "tooFast");
  const refused = await policy.login(chinese).catch((error: unknown) => error);
  assert.ok(refused instanceof Refused);
  assert.deepEqual(refused.refusal, {
    kind: "forbidden",
    detail: "limit abroad: none at all for ip=198.51.100.1",
  });
  assert.equal(await said(policy.connection(alsoGerman)), "forbidden");
  assert.equal(await said(policy.connection(german)), "yes");
});

test("whoever may guess nowhere has nobody look at a password, from a known network neither", async () => {
  const limit = { name: "no", count: "authFailures" as const, per: ["user" as const], limit: { points: 0 } };
  const places = map();
  const { policy, store } = engine([{ ...limit, match: { country: ["CN"] } }], { places });
  assert.equal(await guess(policy, german), "badCredential");
  assert.equal(await knows(policy, chinese), "forbidden");
  await store.settle([], "right", { user: "alice", network: chinese.ip });
  assert.equal(await knows(policy, chinese), "forbidden");
});

test("none at all can ban, and be observed only", async () => {
  const banning = engine([none({ match: { country: ["CN"] }, then: { ban: 60_000 } })], { places: map() });
  assert.equal(await said(banning.policy.login(chinese)), "forbidden");
  assert.equal(await said(banning.policy.connection(chinese)), "banned");
  const observing = engine([none({ match: { country: ["CN"] }, mode: "observe" })], { places: map() });
  assert.equal(await said(observing.policy.login(chinese)), "yes");
  assert.deepEqual(observing.wouldRefuse, ["abroad ip=198.51.100.1"]);
  assert.equal(observing.policy.seats, 0);
});

test("while the shared store is away, none at all is still none", async () => {
  const away = new Proxy({}, { get: () => () => Promise.reject(new Error("away")) }) as never;
  for (const mode of ["local", "allow"] as const) {
    const store = new FailoverStore(away, mode);
    const { policy } = engine([none({ match: { notCountry: ["DE"] } })], { places: map(), store });
    assert.equal(await said(policy.login(german)), "yes", mode);
    assert.equal(await said(policy.login(chinese)), "forbidden", mode);
  }
});

test("whoever is exempt is so everywhere", async () => {
  const limit = none({ match: { notCountry: ["DE"] } });
  const { policy } = engine([limit], { places: map(), exempt: ["10.0.0.0/8"] });
  assert.equal(await said(policy.login(nowhere)), "yes");
  assert.equal(await said(policy.login(chinese)), "forbidden");
});

test("an address is looked up once, and anew when the map is another", async () => {
  const where: Record<string, Place> = { ...WHERE };
  const places = map(where);
  const { policy } = engine([none({ match: { country: ["CN"] } })], { places });
  for (let times = 0; times < 5; times += 1) assert.equal(await said(policy.login(german)), "yes");
  assert.equal(places.looks, 1);
  where["192.0.2.1"] = { country: "CN", asn: "AS64500" };
  places.edition += 1;
  assert.equal(await said(policy.login(german)), "forbidden");
  assert.equal(places.looks, 2);
});

test("an operator bans a country and an AS, whatever limits there are", async () => {
  const { policy } = engine([], { places: map() });
  assert.equal((await policy.ban("country=cn", 60_000))?.key, "country=CN");
  assert.equal((await policy.ban("asn=64501", 60_000))?.key, "asn=AS64501");
  assert.equal(await policy.ban("country=Germany", 60_000), undefined);
  assert.equal(await policy.ban("asn=AS0", 60_000), undefined);
  assert.equal(await said(policy.connection(chinese)), "banned");
  assert.equal(await said(policy.connection(alsoGerman)), "banned");
  assert.equal(await said(policy.connection(german)), "yes");
  assert.ok(await policy.unban("country=CN"));
  assert.equal(await said(policy.connection(chinese)), "yes");
});

test("nobody bans by what nobody looks up", async () => {
  const { policy } = engine([], { places: placesUnread({ asn: "asn.mmdb" }) });
  assert.equal(await policy.ban("country=CN", 60_000), undefined);
  assert.ok(await policy.ban("asn=AS64500", 60_000));
  assert.equal(await engine([]).policy.ban("asn=AS64500", 60_000), undefined);
});

test("an explanation says where the address is, and what that means", async () => {
  const limits = [none({ match: { notCountry: ["DE"] } })];
  const { policy } = engine(limits, { places: map() });
  const told = await policy.explain(chinese);
  assert.deepEqual([told.country, told.asn], ["CN", "AS64502"]);
  assert.deepEqual(
    told.limits.map(({ limit, key, points, next }) => [limit, key, points, next]),
    [["abroad", "ip=198.51.100.1", 0, "refuse"]],
  );
  assert.deepEqual((await policy.explain(german)).limits, []);
  assert.equal((await policy.explain(nowhere)).country, "unknown");
  assert.ok(!("country" in (await policy.explain({ user: "alice" }))));
});
