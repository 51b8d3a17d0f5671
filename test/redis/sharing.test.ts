import assert from "node:assert/strict";
import { fork } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Leases } from "../../src/redis/lease.ts";
import { sealWith } from "../../src/redis/seal.ts";
import { SharedSecret } from "../../src/redis/shared-secret.ts";
import { SharedValues } from "../../src/redis/shared-value.ts";
import { openSharing } from "../../src/redis/sharing.ts";
import { startRedis } from "../support/redis.ts";
import { eventually } from "../support/waiting.ts";
import { connect } from "./observed.ts";

const SECRET = "a secret that all replicas have in common";

test("a lease is one replica's until it is given back, and outlives its time while it is held", async () => {
  await using redis = await startRedis();
  await using one = await connect({ url: redis.url });
  await using other = await connect({ url: redis.url });
  const held = await new Leases(one.connection).acquire("order", 300);
  assert.ok(held);
  for (let i = 0; i < 10; i++) {
    assert.equal(await new Leases(other.connection).acquire("order", 300), undefined);
    await new Promise((resolve) => setTimeout(resolve, 60));
  }
  await held[Symbol.asyncDispose]();
  const next = await new Leases(other.connection).acquire("order", 300);
  assert.ok(next);
  // A second disposal by the first holder takes nothing from the second.
  await held[Symbol.asyncDispose]();
  assert.equal(await new Leases(one.connection).acquire("order", 300), undefined);
  await next[Symbol.asyncDispose]();
});

test("the lease of a holder that was killed is another's when its time is over", async () => {
  await using redis = await startRedis();
  const holder = fork(fileURLToPath(new URL("lease-holder.ts", import.meta.url)), [redis.url, "500"]);
  assert.deepEqual((await once(holder, "message"))[0], "held");
  await using store = await connect({ url: redis.url });
  const leases = new Leases(store.connection);
  assert.equal(await leases.acquire("order", 500), undefined);
  holder.kill("SIGKILL");
  await using held = await eventually("the lease", () => leases.acquire("order", 500), { timeoutMs: 2_000 });
  assert.ok(held);
});

test("what is shared can be opened with the same secret only, and under its own name", () => {
  const sealed = sealWith(SECRET).shut("tickets", Buffer.from("value"));
  assert.equal(sealWith(SECRET).open("tickets", sealed)?.toString(), "value");
  assert.equal(sealWith(SECRET).open("certificate", sealed), undefined);
  assert.equal(sealWith(`${SECRET}!`).open("tickets", sealed), undefined);
  for (const broken of ["", "x", sealed.slice(0, -8), `A${sealed}`])
    assert.equal(sealWith(SECRET).open("tickets", broken), undefined);
});

test("all replicas use one ticket secret, change it together, and keep it while Redis is away", async () => {
  await using redis = await startRedis();
  await using one = await connect({ url: redis.url });
  await using other = await connect({ url: redis.url });
  const seen: string[][] = [[], []];
  const open = ({ connection }: typeof one, at: number) =>
    SharedSecret.open({
      values: new SharedValues(connection, sealWith(SECRET), () => assert.fail("foreign")),
      name: "tickets",
      adopt: (secret) => void seen[at]?.push(Buffer.from(secret).toString("hex")),
      rotateMs: 60_000,
      pollMs: 50,
    });
  using _first = await open(one, 0);
  using _second = await open(other, 1);
  assert.equal(seen[0]?.length, 1);
  assert.deepEqual(seen[0], seen[1]);
  assert.doesNotMatch(await redis.cli("get", "{postern}:shared:tickets"), new RegExp(String(seen[0]?.[0])));
  // Its time is over.
  await redis.cli("del", "{postern}:shared:tickets");
  await eventually("another secret", () => seen[0]?.length === 2 && seen[1]?.length === 2);
  assert.deepEqual(seen[0], seen[1]);
  await redis.kill();
  await eventually("the store to be down", () => !one.connection.up);
  assert.equal(seen[0]?.length, 2);
});

test("replicas whose secrets differ do not take each other's values, and are told", async () => {
  await using redis = await startRedis();
  await using store = await connect({ url: redis.url });
  const foreign: string[] = [];
  const ours = openSharing(store.connection, SECRET, (name) => foreign.push(name));
  const others = openSharing(store.connection, `${SECRET}!`, (name) => foreign.push(name));
  await ours.certificate("mail").write("PEM");
  assert.equal(await ours.certificate("mail").read(), "PEM");
  assert.deepEqual(foreign, []);
  assert.equal(await others.certificate("mail").read(), undefined);
  assert.deepEqual(foreign, ["certificate:mail"]);
});

test("nothing that is shared is without an end", async () => {
  await using redis = await startRedis();
  await using store = await connect({ url: redis.url });
  const sharing = openSharing(store.connection, SECRET, () => {});
  await using _lease = await sharing.leases.acquire("order", 60_000);
  using _tickets = await sharing.tickets(() => {});
  await sharing.certificate("mail").write("PEM");
  await using _answer = await sharing.answers.show("token", "answer");
  assert.equal(await sharing.answers.find("token"), "answer");
  assert.equal(await sharing.answers.find("another"), undefined);
  const keys = (await redis.cli("keys", "*")).split("\n");
  assert.ok(keys.length >= 5, keys.join());
  for (const key of keys) {
    assert.match(key, /^\{postern\}:/);
    assert.ok(Number(await redis.cli("pttl", key)) > 0, key);
  }
});
