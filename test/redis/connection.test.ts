import assert from "node:assert/strict";
import { after, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { StoreFailure } from "../../src/redis/failure.ts";
import { script } from "../../src/redis/script.ts";
import { certificateAuthority } from "../support/certificates.ts";
import { freePort } from "../support/ports.ts";
import { runProcess, startProcess } from "../support/processes.ts";
import { startRedis } from "../support/redis.ts";
import { startScriptedSentinel } from "../support/scripted-sentinel.ts";
import { temporaryFolder } from "../support/temp.ts";
import { eventually } from "../support/waiting.ts";
import { connect, type Observed } from "./observed.ts";

const ECHO = script("echo", "return ARGV[1]");
const WRITE = script("write", "redis.call('SET', KEYS[1], ARGV[1], 'PX', 60000) return 1");

const unhandled: unknown[] = [];
process.on("unhandledRejection", (reason) => unhandled.push(reason));
after(() => assert.deepEqual(unhandled, []));

/** How a call fails, and that it does so in time. */
async function failure({ connection }: Observed, budgetMs = 250): Promise<string> {
  const began = performance.now();
  try {
    await connection.run(WRITE, [`${connection.prefix}k`], ["v"]);
  } catch (error) {
    assert.ok(error instanceof StoreFailure);
    const took = performance.now() - began;
    assert.ok(took < budgetMs, `it took ${took} ms`);
    return error.kind;
  }
  return "ok";
}

const isUp = ({ connection }: Observed) => eventually("the store to be up", () => connection.up);

test("a script runs, and runs again after the server has forgotten it", async () => {
  await using redis = await startRedis();
  await using store = await connect({ url: redis.url });
  assert.equal(await store.connection.run(ECHO, [], ["one"]), "one");
  await redis.cli("script", "flush");
  assert.equal(await store.connection.run(ECHO, [], ["two"]), "two");
  assert.deepEqual(store.told, ["up"]);
});

test("a database and a password come from the URL or beside it", async () => {
  await using redis = await startRedis({
    args: ["--requirepass", "p@ss"],
    cliArgs: ["-a", "p@ss", "-n", "3"],
  });
  const where = `127.0.0.1:${redis.port}/3`;
  for (const settings of [
    { url: `redis://:p%40ss@${where}` },
    { url: `redis://${where}`, password: "p@ss" },
  ]) {
    await using store = await connect(settings);
    await store.connection.run(WRITE, [`${store.connection.prefix}k`], ["v"]);
    assert.equal(await redis.cli("get", "{postern}:k"), "v");
    await redis.cli("flushdb");
  }
});

test("a wrong password is a store that is down, and names no password", async () => {
  await using redis = await startRedis({ args: ["--requirepass", "right"] });
  await using store = await connect({ url: redis.url, password: "wrong" });
  assert.deepEqual(store.told, ["down: denied"]);
  assert.equal(await failure(store), "down");
  const refused = await store.connection.run(ECHO, [], []).catch((error: Error) => error.message);
  assert.doesNotMatch(String(refused), /wrong"|'wrong'/);
});

test("a server that is down at the start is taken up when it comes", async () => {
  const port = await freePort();
  await using store = await connect({ url: `redis://127.0.0.1:${port}` });
  assert.deepEqual(store.told, ["down: lost"]);
  assert.equal(await failure(store, 20), "down");
  await using _redis = await startRedis({ port });
  await isUp(store);
  assert.equal(await failure(store), "ok");
  assert.deepEqual(store.told, ["down: lost", "up"]);
});

test("a server that is killed and comes back empty is told of once, and used again", async () => {
  await using redis = await startRedis();
  await using store = await connect({ url: redis.url });
  await redis.kill();
  await eventually("the store to be down", () => !store.connection.up);
  for (let i = 0; i < 50; i++) assert.equal(await failure(store, 50), "down");
  await redis.restart();
  await isUp(store);
  assert.equal(await failure(store), "ok");
  assert.deepEqual(store.told, ["up", "down: lost", "up"]);
});

test("a server that stands still costs one time-out, and its late replies reach nobody else", async () => {
  await using redis = await startRedis();
  await using store = await connect({ url: redis.url });
  redis.signal("SIGSTOP");
  const asked = Array.from({ length: 100 }, (_, i) =>
    store.connection.run(ECHO, [], [`late ${i}`]).then(
      () => "ok",
      (error: StoreFailure) => error.kind,
    ),
  );
  assert.deepEqual(new Set(await Promise.all(asked)), new Set(["timeout"]));
  assert.equal(await failure(store, 20), "down");
  await pause(300);
  redis.signal("SIGCONT");
  await isUp(store);
  const answers = await Promise.all(
    Array.from({ length: 50 }, (_, i) => store.connection.run(ECHO, [], [i])),
  );
  assert.deepEqual(
    answers,
    Array.from({ length: 50 }, (_, i) => String(i)),
  );
  assert.deepEqual(store.told, ["up", "down: timeout", "up"]);
});

test("a connection that stays silent is given up for another one", async () => {
  await using redis = await startRedis();
  await using store = await connect({ url: redis.url });
  redis.signal("SIGSTOP");
  assert.equal(await failure(store), "timeout");
  await pause(4_000);
  redis.signal("SIGCONT");
  await isUp(store);
  assert.equal(await failure(store), "ok");
});

test("a process that was too busy to read does not blame the server", async () => {
  await using redis = await startRedis();
  await using store = await connect({ url: redis.url });
  const answer = store.connection.run(ECHO, [], ["here"]);
  await pause(0);
  const until = performance.now() + 300;
  while (performance.now() < until);
  assert.equal(await answer, "here");
  assert.deepEqual(store.told, ["up"]);
});

test("a master that became a replica is down until it may write again", async () => {
  await using redis = await startRedis();
  await using store = await connect({ url: redis.url });
  await redis.cli("replicaof", "127.0.0.1", "1");
  assert.equal(await failure(store), "readonly");
  assert.equal(await failure(store, 20), "down");
  await redis.cli("replicaof", "no", "one");
  await isUp(store);
  assert.deepEqual(store.told, ["up", "down: readonly", "up"]);
});

test("a full server is down until it has room", async () => {
  await using redis = await startRedis();
  await using store = await connect({ url: redis.url });
  await redis.cli("config", "set", "maxmemory", "1");
  assert.equal(await failure(store), "full");
  await redis.cli("config", "set", "maxmemory", "0");
  await isUp(store);
  assert.deepEqual(store.told, ["up", "down: full", "up"]);
});

test("a foreign value under a key of ours fails one call, and not the store", async () => {
  await using redis = await startRedis();
  await using store = await connect({ url: redis.url });
  const push = script("push", "return redis.call('LPUSH', KEYS[1], 'x')");
  await redis.cli("set", "{postern}:k", "v");
  await assert.rejects(store.connection.run(push, ["{postern}:k"], []), { kind: "wrongType" });
  assert.equal(await store.connection.run(ECHO, [], ["on"]), "on");
  assert.deepEqual(store.told, ["up", "failed: wrongType"]);
});

test("a policy that throws keys away is told of at the start, and only where memory has an end", async () => {
  for (const [policy, memory, told] of [
    ["allkeys-lru", "100mb", ["up", "evicts: allkeys-lru"]],
    ["volatile-ttl", "100mb", ["up", "evicts: volatile-ttl"]],
    ["noeviction", "100mb", ["up"]],
    ["allkeys-lru", "0", ["up"]],
  ] as const) {
    await using redis = await startRedis({ args: ["--maxmemory-policy", policy, "--maxmemory", memory] });
    await using store = await connect({ url: redis.url });
    await eventually(`${told} and not ${store.told}`, () => store.told.length === told.length);
    await store.connection.run(ECHO, [], ["x"]);
    assert.deepEqual(store.told, told);
  }
});

test("rediss:// believes the authority it is given, and no other", async () => {
  const [authority, other] = [await certificateAuthority("Ours"), await certificateAuthority("Another")];
  const pair = await authority.issue(["127.0.0.1", "localhost"]);
  await using folder = await temporaryFolder();
  const [cert, key] = [await folder.write("cert.pem", pair.cert), await folder.write("key.pem", pair.key)];
  const [ca, wrongCa] = [
    await folder.write("ca.pem", authority.ca),
    await folder.write("other.pem", other.ca),
  ];
  const tlsPort = await freePort();
  const tls = ["--tls-port", String(tlsPort), "--tls-cert-file", cert, "--tls-key-file", key];
  await using _redis = await startRedis({
    args: [...tls, "--tls-ca-cert-file", ca, "--tls-auth-clients", "no"],
  });
  const url = `rediss://localhost:${tlsPort}`;
  await using store = await connect({ url, tls: { ca } });
  assert.equal(await failure(store), "ok");
  await using distrustful = await connect({ url, tls: { ca: wrongCa } });
  assert.deepEqual(distrustful.told, ["down: lost"]);
});

test("in a Cluster all of our keys are in one slot, and a script sees them all", async () => {
  // Its bus would be 10,000 ports above, where somebody may be.
  const bus = ["--cluster-port", String(await freePort()), "--cluster-announce-ip", "127.0.0.1"];
  await using redis = await startRedis({ args: ["--cluster-enabled", "yes", ...bus] });
  await redis.cli("cluster", "addslotsrange", "0", "16383");
  await eventually("the cluster", async () => (await redis.cli("cluster", "info")).includes("state:ok"));
  await using store = await connect({ nodes: [`127.0.0.1:${redis.port}`], prefix: "mail" });
  await isUp(store);
  const { connection } = store;
  const both = script("both", "redis.call('SET', KEYS[1], 1) redis.call('SET', KEYS[2], 2) return 'both'");
  assert.equal(await connection.run(both, [`${connection.prefix}a`, `${connection.prefix}b`], []), "both");
  await redis.cli("config", "set", "cluster-require-full-coverage", "yes");
  await redis.cli("cluster", "delslots", "1");
  await eventually("the store to be down", async () => (await failure(store)) === "down");
  await redis.cli("cluster", "addslots", "1");
  await isUp(store);
});

test("news of a fail-over that come while a Sentinel is asked do not end the connection for good", async () => {
  await using redis = await startRedis();
  await using sentinel = await startScriptedSentinel(redis.port);
  await using store = await connect({ sentinels: [`127.0.0.1:${sentinel.port}`], name: "mail" });
  await isUp(store);
  const { promise: go, resolve } = Promise.withResolvers<void>();
  const asked = sentinel.hold(go);
  await redis.kill();
  await asked;
  await sentinel.announce();
  await redis.restart();
  resolve();
  await isUp(store);
  assert.equal(await failure(store), "ok");
});

test("Sentinel says who is master, also when that changes", async () => {
  await using first = await startRedis({ args: ["--repl-diskless-sync-delay", "0"] });
  await using second = await startRedis({ args: ["--replicaof", `127.0.0.1 ${first.port}`] });
  await using folder = await temporaryFolder();
  const port = await freePort();
  const lines = [`port ${port}`, "bind 127.0.0.1", `sentinel monitor mail 127.0.0.1 ${first.port} 1`];
  const times = ["sentinel down-after-milliseconds mail 2500", "sentinel failover-timeout mail 5000"];
  const config = await folder.write("sentinel.conf", [...lines, ...times, ""].join("\n"));
  await using _sentinel = await startProcess("redis-server", [config, "--sentinel"], { name: "sentinel" });
  await eventually("the replica", async () =>
    (await second.cli("info", "replication")).includes("link_status:up"),
  );
  // It asks a master for its replicas now and then, and can only choose one that it has heard of.
  await eventually(
    "Sentinel to know the replica",
    async () => {
      const { stdout } = await runProcess("redis-cli", ["-p", String(port), "sentinel", "replicas", "mail"]);
      return /^master-link-status\nok$/m.test(stdout);
    },
    { timeoutMs: 30_000 },
  );
  await using store = await connect({ sentinels: [`127.0.0.1:${port}`], name: "mail" });
  await isUp(store);
  assert.equal(await failure(store), "ok");
  await first.kill();
  await eventually("a new master", async () => (await failure(store)) === "ok", { timeoutMs: 60_000 });
  assert.equal(await second.cli("get", "{postern}:k"), "v");
});
