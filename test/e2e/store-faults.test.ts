import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { connect } from "../support/conversation.ts";
import { type Gateway, startGateway } from "../support/gateway.ts";
import { LoginLoad, quantile } from "../support/login-load.ts";
import { freePort } from "../support/ports.ts";
import { startProcess } from "../support/processes.ts";
import { type RedisServer, startRedis } from "../support/redis.ts";
import { openLink, type SlowLink } from "../support/slow-link.ts";
import { eventually } from "../support/waiting.ts";

/** The full size is 500 logins a second and 30 seconds of each fault. */
const PER_SECOND = Number(process.env["POSTERN_FAULT_LOGINS"] ?? 60);
const FAULT_MS = Number(process.env["POSTERN_FAULT_SECONDS"] ?? 3) * 1000;
const WORKERS = Number(process.env["POSTERN_FAULT_WORKERS"] ?? 1);
const PASSWORD = "right";
const USERS = Array.from({ length: 50 }, (_, n) => `user${n}@example.org`);
const LIMIT = 10;
/** What one replica lets pass by itself. */
const LOCAL = LIMIT / 2;
/**
 * How much longer a login may take meanwhile. Whoever asks as the store falls silent waits the 100 ms for it: of few
 * logins they are more than one in a hundred, and wait for the machine beside.
 */
const MARGIN_MS = PER_SECOND * FAULT_MS > 5_000_000 ? 100 : 250;
/** A seat's life without its holder, in milliseconds. */
const SEAT_MS = 60_000;
/** Descriptors that a fault may add, beside those of the logins under way. */
const MORE_DESCRIPTORS = 16;

interface Replica {
  readonly gateway: Gateway;
  readonly port: number;
  readonly link: SlowLink;
}

async function openReplica(link: SlowLink, backend: number, victims: readonly string[]): Promise<Replica> {
  const port = await freePort();
  const gateway = await startGateway({
    users: Object.fromEntries([...USERS, ...victims].map((user) => [user, PASSWORD])),
    config: {
      hostname: "door.example.org",
      workers: WORKERS,
      listeners: [{ protocol: "imap", port, host: "127.0.0.1", requireTls: false }],
      backends: { store: { host: "127.0.0.1", tls: "none", protocols: { imap: backend } } },
      routes: [{ to: "store" }],
      policy: {
        exempt: [],
        store: `redis://127.0.0.1:${link.port}`,
        limits: [
          { name: "connects", count: "connections", per: "ip", limit: "100000/1m" },
          { name: "guesses", count: "authFailures", per: "user", limit: `${LIMIT}/10m` },
          { name: "open", count: "sessions", per: "user", limit: 1000 },
        ],
      },
    },
  });
  return { gateway, port, link };
}

/** How many of these guesses at a name were looked at; the others must have been refused by the limit. */
async function guess({ port }: Replica, victim: string, times: number, serial: { n: number }) {
  let looked = 0;
  for (let left = times; left > 0; ) {
    await using client = await connect({ port, localAddress: "127.0.9.9" });
    await client.expect("* OK ");
    // A session may be wrong ten times, and is closed then.
    for (let n = Math.min(left, 8); n > 0; n -= 1, left -= 1) {
      serial.n += 1;
      await client.send(`g${serial.n} LOGIN ${victim} wrong${serial.n}`);
      const reply = await client.expect(`g${serial.n} NO [`);
      assert.match(reply, /\[(AUTHENTICATIONFAILED|LIMIT)\]/);
      if (reply.includes("[AUTHENTICATIONFAILED]")) looked += 1;
    }
  }
  return looked;
}

interface Fault {
  readonly name: string;
  begin(redis: RedisServer, replicas: readonly Replica[]): Promise<unknown> | unknown;
  end(redis: RedisServer, replicas: readonly Replica[]): Promise<unknown> | unknown;
  /** Whether what was counted is there again afterwards. */
  readonly forgets?: true;
  /** Replicas that it concerns. */
  readonly of?: 1;
}

const FAULTS: readonly Fault[] = [
  {
    name: "killed, and restarted empty",
    begin: (redis) => redis.kill(),
    end: (redis) => redis.restart(),
    forgets: true,
  },
  { name: "hung", begin: (redis) => redis.signal("SIGSTOP"), end: (redis) => redis.signal("SIGCONT") },
  {
    name: "200 ms slow",
    begin: (_redis, replicas) => replicas.map(({ link }) => link.delay(100)),
    end: (_redis, replicas) => replicas.map(({ link }) => link.delay(0)),
  },
  {
    name: "read-only",
    begin: (redis) => redis.cli("replicaof", "127.0.0.1", "1"),
    end: (redis) => redis.cli("replicaof", "no", "one"),
  },
  {
    name: "full",
    begin: (redis) => redis.cli("config", "set", "maxmemory", "1"),
    end: (redis) => redis.cli("config", "set", "maxmemory", "0"),
  },
  {
    name: "cut off from one of two",
    begin: (_redis, [one]) => one?.link.cut(),
    end: (_redis, [one]) => one?.link.mend(),
    of: 1,
  },
];

const victimOf = ({ name }: Fault): string => `${name.replaceAll(/\W+/g, "-")}@example.org`;

test(`a store that is killed, hung, slow, read-only, full or cut off under ${PER_SECOND} logins a second`, {
  timeout: 600_000,
}, async (t) => {
  await using redis = await startRedis();
  await using links = new AsyncDisposableStack();
  const backend = await startProcess(process.execPath, [
    fileURLToPath(new URL("../../bench/peers/backend.ts", import.meta.url)),
  ]);
  links.defer(async () => {
    await backend.stop();
  });
  const backendPort = Number((await backend.waitFor(/^port (\d+)$/m))[1]);
  const replicas: Replica[] = [];
  for (let n = 0; n < 2; n += 1) {
    const link = links.use(await openLink(redis.port));
    const replica = await openReplica(link, backendPort, FAULTS.map(victimOf));
    links.use(replica.gateway);
    replicas.push(replica);
  }
  const [one, two] = replicas as [Replica, Replica];
  const serial = { n: 0 };
  const storeIs = (up: 0 | 1, of = replicas) =>
    Promise.all(of.map(({ gateway }) => gateway.metricIs("postern_store_up", up)));

  const ports = replicas.map(({ port }) => port);
  const user = (n: number): string => USERS[n % USERS.length] ?? "";
  await using load = new LoginLoad({ ports, perSecond: PER_SECOND, user, password: PASSWORD });
  const descriptors = async (): Promise<number> =>
    Math.max(
      ...(await Promise.all(replicas.map(async ({ gateway }) => (await gateway.descriptors()).length))),
    );
  const p99 = (since: number): number =>
    quantile(
      load.since(since).map(({ ms }) => ms),
      0.99,
    );
  // The first logins compile the program.
  await pause(PER_SECOND * 15);

  for (const fault of FAULTS) {
    await t.test(fault.name, async (t) => {
      const concerned = fault.of === undefined ? replicas : replicas.slice(0, fault.of);
      const victim = victimOf(fault);
      let at = performance.now();
      const before = (await guess(one, victim, LIMIT, serial)) + (await guess(two, victim, 4, serial));
      assert.equal(before, LIMIT, "the shared limit");
      await pause(FAULT_MS / 2);
      const calm = p99(at);
      const base = await descriptors();

      at = performance.now();
      await fault.begin(redis, replicas);
      const deadline = at + FAULT_MS;
      const excess = (await guess(one, victim, LIMIT, serial)) + (await guess(two, victim, LIMIT, serial));
      await storeIs(0, concerned);
      await pause(Math.max(0, deadline - performance.now()));
      const troubled = p99(at);
      const more = (await descriptors()) - base;

      at = performance.now();
      await fault.end(redis, replicas);
      await storeIs(1, concerned);
      const backAfter = performance.now() - at;
      const after = (await guess(two, victim, LIMIT, serial)) + (await guess(one, victim, LIMIT, serial));
      await pause(FAULT_MS / 2);
      const again = p99(at);
      t.diagnostic(
        `login p99 ${calm.toFixed(0)} ms before, ${troubled.toFixed(0)} during, ${again.toFixed(0)} after; ` +
          `${excess} guesses beyond the limit, ${after} when it was back after ${backAfter.toFixed(0)} ms; ` +
          `${more} more descriptors`,
      );
      assert.ok(excess <= concerned.length * LOCAL, `${excess} guesses beyond the limit`);
      assert.ok(after <= (fault.forgets ? LIMIT : 0), `${after} guesses when the store was back`);
      assert.ok(troubled <= calm + MARGIN_MS, `p99 ${troubled} ms, ${calm} before`);
      assert.ok(again <= calm + MARGIN_MS, `p99 ${again} ms afterwards, ${calm} before`);
      assert.ok(more <= MORE_DESCRIPTORS, `${more} more descriptors`);
      for (const { link } of replicas) assert.ok(link.open <= 2, `${link.open} connections to the store`);
    });
  }

  await load[Symbol.asyncDispose]();
  const failed = load.logins.filter(({ reply }) => !reply.startsWith("a OK"));
  t.diagnostic(`${load.logins.length} logins, ${failed.length} failed`);
  assert.deepEqual(failed, []);
  for (const { gateway } of replicas) {
    assert.equal(await gateway.metric("postern_session_errors_total"), 0);
    assert.deepEqual(
      gateway.log().filter(({ level }) => level === "fatal"),
      [],
    );
    // Every seat came back, from whichever store it was.
    await eventually("the seats", async () => (await gateway.metric("postern_sessions_open")) === 0);
  }
  // What could not be given back while the store was away ends by itself.
  const ends =
    "local s = 0 for _, k in ipairs(redis.call('KEYS', '*')) do s = math.max(s, redis.call('PTTL', k) < 0 and 1e9 or 0) end return s";
  assert.equal(await redis.cli("eval", ends, "0"), "0", "nothing is kept for ever");
  const seats =
    "local t = 0 for _, k in ipairs(redis.call('KEYS', '*seats*')) do t = math.max(t, redis.call('PTTL', k)) end return t";
  assert.ok(Number(await redis.cli("eval", seats, "0")) <= SEAT_MS);
});
