import { randomBytes } from "node:crypto";
import type { Config } from "../config/schema.ts";
import { FailoverStore } from "../policy/store/failover.ts";
import { bansOf, countersOf, Keeper } from "../policy/store/keeper.ts";
import type { KeeperObserver } from "../policy/store/kept-file.ts";
import { MemoryStore } from "../policy/store/memory.ts";
import { RedisStore } from "../policy/store/redis.ts";
import type { Ban, CounterStore } from "../policy/store/store.ts";
import { connectRedis, type RedisObserver } from "../redis/connection.ts";
import { openSharing, type Sharing } from "../redis/sharing.ts";
import { StartError } from "../supervisor/start-error.ts";
import type { Logger } from "../telemetry/logger.ts";
import { Quiet } from "../telemetry/quiet.ts";
import type { SupervisorMetrics } from "../telemetry/supervisor-metrics.ts";

export interface OpenStore {
  readonly store: CounterStore;
  /** All bans that hold, those of other gateways too; rejects while the store that they share is away. */
  readonly bans: () => Promise<readonly Ban[]>;
  /** Whether several gateways share it, and it is away. */
  readonly isAlone: () => boolean;
  readonly sharing?: Sharing;
  /** Where it would end with the process: what keeps it. */
  readonly keeper?: Keeper;
  /** Known to this process and, where the store is kept, to those after it. */
  readonly secret: Uint8Array;
}

/** Where limits are counted, and what several gateways share by it where they have a secret for that. */
export async function openStore(
  { policy: { store, onStoreFailure }, clusterSecret, dataDir }: Config,
  log: Logger,
  metrics: SupervisorMetrics,
  rooms: AsyncDisposableStack,
): Promise<OpenStore> {
  if (store === "memory") {
    metrics.storeUp.set(1);
    const memory = new MemoryStore();
    const things = [bansOf(memory), countersOf(memory)];
    const keeper = rooms.use(await Keeper.open(dataDir, things, watchKeeper(log)));
    return { store: memory, bans: () => memory.bans(), isAlone: () => false, keeper, secret: memory.secret };
  }
  let failover: FailoverStore | undefined;
  let alone = false;
  const connection = await connectRedis(
    store.redis,
    watchRedis(log, metrics, (up) => {
      alone = !up;
      if (up) failover?.back();
    }),
  ).catch((error: Error) => {
    throw new StartError(`policy.store: ${error.message}`);
  });
  rooms.use(connection);
  const shared = rooms.use(new RedisStore(connection));
  failover = new FailoverStore(shared, onStoreFailure);
  const opened = {
    ...{ store: failover, bans: () => shared.bans(), isAlone: () => alone },
    secret: randomBytes(32),
  };
  if (clusterSecret === undefined) return opened;
  return { ...opened, sharing: openSharing(connection, clusterSecret, tellOfForeign(log)) };
}

function watchKeeper(log: Logger): KeeperObserver {
  return {
    notWritten: (what, path, reason) =>
      log.error({ path, reason }, `${what} cannot be kept: a restart would forget them`),
    written: (what, path) => log.info({ path }, `${what} are kept again`),
    ignored: (what, path, reason) =>
      log.error({ path, reason }, `the file of ${what} is broken, and ignored`),
  };
}

function tellOfForeign(log: Logger): (name: string) => void {
  const told = new Set<string>();
  return (name) => {
    const [what = ""] = name.split(":", 1);
    if (told.has(what)) return;
    told.add(what);
    log.error({ what }, "what another Postern shares cannot be opened: its clusterSecret is another one");
  };
}

function watchRedis(log: Logger, metrics: SupervisorMetrics, changed: (up: boolean) => void): RedisObserver {
  const quiet = new Quiet();
  return {
    up() {
      changed(true);
      metrics.storeUp.set(1);
      log.info("the store answers");
    },
    down({ kind, message: reason }) {
      changed(false);
      metrics.storeUp.set(0);
      log.error({ kind, reason }, "the store does not answer; decisions are made without it");
    },
    failed(call, { kind, message: reason }) {
      if (quiet.breaks(kind)) log.warn({ call, kind, reason }, "the store failed in one question");
    },
    settled(call, ms, failure) {
      if (failure) metrics.storeFailures.inc({ kind: failure.kind });
      else metrics.storeCalls.observe({ call }, ms / 1000);
    },
    evicts: (eviction) =>
      log.warn(
        { policy: eviction },
        "the store throws keys away when it is full, and so forgets counters and bans: set maxmemory-policy noeviction",
      ),
  };
}
