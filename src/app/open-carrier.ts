import type { Socket } from "node:net";
import type { Config } from "../config/schema.ts";
import { type Accept, Door, type HeaderOutcome } from "../listen/door.ts";
import { createPolicy, type Policy } from "../policy/engine.ts";
import type { GeoFiles } from "../policy/geo/geo-files.ts";
import type { Places } from "../policy/geo/places.ts";
import type { Guard } from "../policy/hooks/guard.ts";
import { withHooks } from "../policy/hooks/hooked-policy.ts";
import type { CounterStore } from "../policy/store/store.ts";
import { Refused } from "../refusal.ts";
import { createRouter } from "../routing/router.ts";
import { LiveSessions } from "../session/live-sessions.ts";
import { type Rooms, runSession } from "../session/run-session.ts";
import { Session } from "../session/session.ts";
import {
  type Carrier,
  fits,
  type Listing,
  type SessionFilter,
  type SessionRow,
} from "../supervisor/carrier.ts";
import type { News } from "../supervisor/news.ts";
import type { Logger } from "../telemetry/logger.ts";
import { createMetrics, type Metrics } from "../telemetry/metrics.ts";
import { createHeaderReports } from "../telemetry/proxy-headers.ts";
import { createRecorder } from "../telemetry/recorder.ts";
import type { CertificateStore } from "../tls/certificate-store.ts";
import type { CommonTls } from "../tls/common.ts";
import { CapabilityBoard, type Offer } from "../upstream/capabilities.ts";
import { startLearning } from "../upstream/learning.ts";
import { printable } from "../wire/printable.ts";
import { openHooks } from "./hooks.ts";
import { observePolicy } from "./policy-observer.ts";
import { makeFrontend, makeRelay, openAuth, openCertificates, openPlaces, openSenders } from "./rooms.ts";
import { makeConnector, openServices, serviceFor } from "./services.ts";

/** How long the first clients may wait for what a slow backend offers, in milliseconds. */
const FIRST_ROUND = 2_000;

/** What a process that carries sessions shares with the others, or with those after it. */
export interface Shared {
  readonly store: CounterStore;
  /** Secret. */
  readonly secret: Uint8Array;
  readonly tls: CommonTls;
  /** Threads that hash passwords in each process; undefined where there is only one process. */
  readonly hashThreads?: number | undefined;
  /** Hears when a backend stops answering, and why, and when it answers again. */
  readonly backend: (name: string, trouble: string | undefined) => void;
  /** What backends offer, as any process has heard it. */
  readonly offers: { readonly all: readonly Offer[]; learn(offer: Offer): unknown };
  /** Hears what every process sees for itself, and what is worth one line of the log. */
  readonly news: (news: News) => void;
  /** The databases of places that are in use in this process. */
  readonly geo: GeoFiles;
}

/** What outlives a configuration in a process that carries sessions. */
export interface Premises extends Shared {
  readonly log: Logger;
  readonly live: LiveSessions;
  readonly metrics: Metrics;
  readonly headers: ReturnType<typeof createHeaderReports>;
  readonly recorder: ReturnType<typeof createRecorder>;
  /** What the limits of configurations before this one have answered. */
  readonly answers: Answers;
}

type Answers = Map<string, { readonly limit: string; readonly answer: string; times: number }>;

/** Keeps what a policy has answered when it is no longer asked. */
function keepAnswers(answers: Answers, policy: Policy): void {
  for (const { limit, answer, times } of policy.answers()) {
    const key = `${limit} ${answer}`;
    const kept = answers.get(key) ?? { limit, answer, times: 0 };
    kept.times += times;
    answers.set(key, kept);
  }
}

/** How long connections for a listener that has just gone may still be on their way, in milliseconds. */
const ON_THE_WAY = 1_000;

/** The rooms of one configuration, with the sessions that are in them. */
interface Generation {
  readonly policy: Policy;
  readonly hooks: readonly Guard[];
  readonly certificates: CertificateStore;
  readonly logLevel: Config["logging"]["level"];
  has(listener: string): boolean;
  accept(listener: string, socket: Socket): Promise<void>;
  /** Nobody comes in any more; it ends with its last session. */
  retire(): void;
  /** Those who still owe a header are sent away. */
  close(): void;
}

/** Everything that carries sessions in one process. Throws StartError when it cannot. */
export async function openCarrier(config: Config, log: Logger, shared: Shared): Promise<Carrier> {
  const live = new LiveSessions();
  const generations = new Set<Generation>();
  const answers: Answers = new Map();
  const metrics = createMetrics({
    openSessions: () => readOpen(live),
    seats: () => generations.values().reduce((sum, { policy }) => sum + policy.seats, 0),
    certificates: () => current.certificates,
    limitAnswers: () => [
      ...answers.values(),
      ...generations.values().flatMap(({ policy }) => policy.answers()),
    ],
    hooks: () => generations.values().flatMap(({ hooks }) => hooks),
  });
  const headers = createHeaderReports(log, metrics);
  const recorder = createRecorder(log, metrics, live, headers, (session) =>
    current.policy.place(session.facts),
  );
  const premises = { ...shared, log, live, metrics, headers, recorder, answers };
  const open = (next: Config): Promise<Generation> => openGeneration(next, premises, generations);

  let current = await open(config);
  let next: Generation | undefined;
  let hurry = new AbortController();
  /** The one before, for connections that were accepted while it was in use. */
  let former: Generation | undefined;
  return {
    accept(listener, socket) {
      const door = [current, former].find((generation) => generation?.has(listener)) ?? current;
      return door.accept(listener, socket);
    },
    async prepare(config) {
      try {
        next = await open(config);
        return undefined;
      } catch (error) {
        // Whatever it is, a reload that fails is no reason to end.
        return error instanceof Error ? error.message : String(error);
      }
    },
    async commit() {
      if (!next) return;
      const old = current;
      former = current;
      current = next;
      next = undefined;
      log.level = current.logLevel;
      setTimeout(() => {
        if (former === old) former = undefined;
        old.retire();
      }, ON_THE_WAY).unref();
    },
    async abandon() {
      next?.retire();
      next = undefined;
    },
    metrics: () => metrics.snapshot(),
    counted: () => metrics.counted(),
    list: async (filter, limit) => listSessions(live, filter, limit),
    kick: async (filter) => kickSessions(live, filter),
    async stop(drainMs, quietMs) {
      hurry.abort();
      hurry = new AbortController();
      await live.empty(quietMs, hurry.signal);
      for (const generation of generations) generation.close();
      await live.stop(new Refused("shutdown", "the gateway stops"), drainMs);
      current.retire();
    },
  };
}

async function openGeneration(
  config: Config,
  premises: Premises,
  generations: Set<Generation>,
): Promise<Generation> {
  const { metrics, recorder, headers, backend, offers } = premises;
  await using rooms = new AsyncDisposableStack();
  const places = await openPlaces(config, premises, rooms);
  const hooks = openHooks(config, premises, rooms);
  const policy = withHooks(makePolicy(config, premises, places), hooks);
  const certificates = await openCertificates(config, premises, rooms);
  const auth = await openAuth(config, premises, rooms);
  const board = new CapabilityBoard();
  const connectors = openServices(config, (protocol, name, capabilities) => {
    if (board.learn(protocol, name, capabilities)) offers.learn({ protocol, backend: name, capabilities });
  });
  const known = offers.all.filter((offer) => serviceFor(connectors, offer.backend, offer.protocol));
  for (const { protocol, backend: name, capabilities } of known) board.learn(protocol, name, capabilities);
  const sendsAs = openSenders(config);

  const learning = startLearning([...connectors.values()], (name, error) => backend(name, error?.message));
  rooms.defer(() => learning.stop());
  if (known.length === 0)
    await Promise.race([
      learning.firstRound,
      new Promise((resolve) => setTimeout(resolve, FIRST_ROUND).unref()),
    ]);

  const story: Rooms = Object.freeze({
    policy,
    auth,
    router: createRouter(
      config.routes,
      Object.keys(config.backends),
      (backend, protocol) => serviceFor(connectors, backend, protocol) !== undefined,
    ),
    connector: makeConnector(config, connectors),
    relay: makeRelay(config),
    telemetry: recorder,
  });

  const doors = new Map<string, Door>();
  for (const listener of config.listeners) {
    const { name } = listener;
    const frontend = makeFrontend(config, listener, certificates, metrics, board, auth, sendsAs);
    metrics.announce(name);
    const options = {
      ...listener,
      headerTimeoutMs: config.timeouts.handshake,
      onHeader: (outcome: HeaderOutcome, proxy: string) => headers(name, outcome, proxy),
    };
    const accept: Accept = (socket, peer, over) => {
      const session = new Session(socket, peer, frontend);
      recorder.opened(session);
      void runSession(session, story).then(over);
    };
    doors.set(name, new Door(options, accept));
  }

  const kept = rooms.move();
  let inside = 0;
  let retired = false;
  const leave = (): void => {
    if (!retired || inside > 0 || !generations.delete(generation)) return;
    keepAnswers(premises.answers, policy);
    void kept.disposeAsync();
  };
  const generation: Generation = {
    policy,
    hooks,
    certificates,
    logLevel: config.logging.level,
    has: (name) => doors.has(name),
    accept(name, socket) {
      inside += 1;
      return new Promise((resolve) => {
        const over = (): void => {
          inside -= 1;
          leave();
          resolve();
        };
        const door = doors.get(name);
        if (door) return door.open(socket, over);
        socket.destroy();
        over();
      });
    },
    retire() {
      retired = true;
      leave();
    },
    close() {
      for (const door of doors.values()) door.close();
    },
  };
  generations.add(generation);
  return generation;
}

function makePolicy(config: Config, { log, metrics, store }: Premises, places: Places | undefined): Policy {
  return createPolicy({ ...config.policy, store, observer: observePolicy(log, metrics), places });
}

function* readOpen(live: LiveSessions): Iterable<{ listener: string; bytes: { in: number; out: number } }> {
  for (const session of live) yield { listener: session.frontend.listener, bytes: session.bytes };
}

function listSessions(live: LiveSessions, filter: SessionFilter, limit: number): Listing {
  const rows = [...live].map(describeSession).filter((row) => fits(filter, row));
  return { total: rows.length, rows: rows.slice(0, limit) };
}

function kickSessions(live: LiveSessions, filter: SessionFilter): number {
  const meant = [...live].filter((session) => fits(filter, describeSession(session)));
  for (const session of meant) session.stop(new Refused("kicked", "ended by the operator"));
  return meant.length;
}

function describeSession(session: Session): SessionRow {
  return {
    id: session.id,
    pid: process.pid,
    listener: session.frontend.listener,
    protocol: session.protocol.name,
    ip: session.peer.address,
    ...(session.user !== undefined && { user: printable(session.user) }),
    ...(session.backend !== undefined && { backend: session.backend }),
    stage: session.stage,
    tls: session.channel.tls?.version ?? "none",
    seconds: Math.round((performance.now() - session.startedAt) / 1000),
    bytes: session.bytes,
  };
}
