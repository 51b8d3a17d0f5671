import { createHmac } from "node:crypto";
import { availableParallelism } from "node:os";
import { Events } from "./app/events-owner.ts";
import { openCarrier, type Shared } from "./app/open-carrier.ts";
import { observePolicy } from "./app/policy-observer.ts";
import { openGeoFiles, openPlaces } from "./app/rooms.ts";
import { openStore } from "./app/store-owner.ts";
import { ownTls, type TlsOwner } from "./app/tls-owner.ts";
import type { LoadResult } from "./config/load.ts";
import type { Config } from "./config/schema.ts";
import type { Bound } from "./listen/listener.ts";
import type { Keeper } from "./policy/store/keeper.ts";
import { alone } from "./supervisor/alone.ts";
import type { Predecessor } from "./supervisor/heir.ts";
import { newsDesk } from "./supervisor/news.ts";
import { PolicyDesk } from "./supervisor/policy-desk.ts";
import { PolicyPort } from "./supervisor/policy-port.ts";
import { StartError } from "./supervisor/start-error.ts";
import { Supervisor } from "./supervisor/supervisor.ts";
import type { Spawn } from "./supervisor/worker-handle.ts";
import { Workers, type WorkersOptions } from "./supervisor/workers.ts";
import type { Logger } from "./telemetry/logger.ts";
import { Offers } from "./upstream/capabilities.ts";

export { StartError } from "./supervisor/start-error.ts";

/** A gateway that runs. */
export interface Postern {
  readonly listeners: readonly Bound[];
  readonly adminPort: number;
  /** Takes the configuration as it is now, whole or not at all. */
  reload(): Promise<unknown>;
  /** Has the program that is installed now take over. */
  upgrade(): Promise<unknown>;
  /** Resolves when another process has taken over. */
  readonly replaced: Promise<void>;
  /** Ends at once. */
  kill(): void;
  /** Lets sessions end, with their protocol's goodbye and within the drain time; then ends everything else. */
  close(): Promise<void>;
  /** The same, but sessions are left alone for as long before that. */
  leave(): Promise<void>;
}

/** Processes that carry sessions beside the one that starts them. */
export type Processes = Pick<WorkersOptions, "count" | "spawn">;

export interface StartOptions {
  readonly processes?: Processes | undefined;
  /** Reads the configuration anew, for a reload. */
  readonly load?: () => LoadResult;
  /** How to start the program anew, for an upgrade. */
  readonly successor?: Spawn;
  /** The gateway to take over from. */
  readonly predecessor?: Predecessor | undefined;
}

/**
 * A Config in, a running Postern out; without `processes` all of it is in this one. Throws StartError or BindError
 * when something that the configuration names cannot be had; then nothing is left running.
 */
export async function startPostern(config: Config, log: Logger, more: StartOptions = {}): Promise<Postern> {
  const { processes, load, successor, predecessor } = more;
  await using opening = new AsyncDisposableStack();
  let tls: TlsOwner | undefined;
  let desk: PolicyDesk | undefined;
  let port: PolicyPort | undefined;
  let keeper: Keeper | undefined;
  let events: Events | undefined;
  const supervisor = await Supervisor.start(config, log, {
    apart: processes !== undefined,
    load,
    successor,
    predecessor,
    async openCrew(options) {
      const { metrics } = options;
      const news = newsDesk(log);
      const opened = await openStore(config, log, metrics, opening);
      const { isAlone, sharing, secret } = opened;
      keeper = opened.keeper;
      events = opening.use(openEvents(config, opened, log, metrics, predecessor !== undefined));
      const { store } = events;
      tls = opening.use(await ownTls(config, log, metrics, sharing));
      desk = new PolicyDesk(config, store, observePolicy(log), isAlone, events.top);
      const geo = openGeoFiles(news);
      port = opening.use(
        await PolicyPort.open(config, {
          ...{ store, observer: observePolicy(log, metrics), metrics, log },
          places: (next, held) => openPlaces(next, { geo }, held),
        }),
      );
      const shared = {
        store,
        secret: commonSecret(config, secret),
        backend: backendNews(log),
        news,
        offers: new Offers(),
        tls: tls.common,
        hashThreads:
          processes && Math.max(1, Math.min(4, Math.floor(availableParallelism() / processes.count))),
      };
      if (processes) return Workers.start({ ...options, ...processes, ...shared, config, log });
      return alone({ ...options, carrier: await openCarrier(config, log, { ...shared, geo }) });
    },
    policy: () => desk,
    policyPort: () => port,
    events: () => events?.waiting ?? 0,
    async reloaded(next) {
      desk?.change(next);
      events?.change(next);
      keeper?.moveTo(next.dataDir);
      await Promise.all([port?.change(next), tls?.change(next)]);
    },
    async standBack() {
      await Promise.all([tls?.pause(), keeper?.flush()]);
    },
    async handOver() {
      await Promise.all([keeper?.pause(), events?.pause()]);
    },
    async inherit() {
      await keeper?.read();
      events?.goOn();
    },
    goOn() {
      keeper?.goOn();
      events?.goOn();
      return tls?.renew();
    },
  });
  await tls?.renew();
  const kept = opening.move();
  const end = async (sessionsEnd: Promise<void>): Promise<void> => {
    await Promise.all([sessionsEnd, tls?.pause()]);
    await kept.disposeAsync();
  };
  return {
    listeners: supervisor.listeners,
    adminPort: supervisor.adminPort,
    reload: () => supervisor.reload(),
    upgrade: () => supervisor.upgrade(),
    replaced: supervisor.replaced,
    kill: () => supervisor.kill(),
    leave: () => end(supervisor.leave()),
    close: () => end(supervisor.stop()),
  };
}

/** Throws StartError when what events need cannot be read. */
function openEvents(...given: ConstructorParameters<typeof Events>): Events {
  try {
    return new Events(...given);
  } catch (error) {
    throw new StartError(`policy.events: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/**
 * What fingerprints of passwords and decoys are made with: the same in all processes, in all gateways of one Redis, and
 * after a restart where what was counted by it is there again.
 */
function commonSecret({ clusterSecret }: Config, kept: Uint8Array): Uint8Array {
  return createHmac("sha256", clusterSecret ?? kept)
    .update("fingerprints and decoys")
    .digest();
}

/** One line for each change, whoever of many saw it first. */
function backendNews(log: Logger): Shared["backend"] {
  const failing = new Set<string>();
  return (backend, reason) => {
    if ((reason !== undefined) === failing.has(backend)) return;
    if (reason === undefined) {
      failing.delete(backend);
      log.info({ backend }, "a backend answers again");
    } else {
      failing.add(backend);
      log.warn({ backend, reason }, "a backend does not answer");
    }
  };
}
