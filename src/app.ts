import { createHmac, randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import { availableParallelism } from "node:os";
import { type Authenticator, createAuthenticator } from "./auth/authenticator.ts";
import { FileSource } from "./auth/file-source.ts";
import { HashWorkers } from "./auth/password/hash-workers.ts";
import { ProvenPasswords } from "./auth/proven-passwords.ts";
import type { LoadResult } from "./config/load.ts";
import { formatProblem, type Problem } from "./config/problem.ts";
import type { Config, ListenerConfig, SourceConfig } from "./config/schema.ts";
import { loadSenders } from "./config/senders.ts";
import { type Accept, Door, type HeaderOutcome } from "./listen/door.ts";
import type { Bound } from "./listen/listener.ts";
import { createPolicy, type Policy } from "./policy/engine.ts";
import type { PolicyObserver } from "./policy/observer.ts";
import { BanKeeper, type BanKeeperObserver } from "./policy/store/ban-keeper.ts";
import { FailoverStore } from "./policy/store/failover.ts";
import { MemoryStore } from "./policy/store/memory.ts";
import { RedisStore } from "./policy/store/redis.ts";
import type { CounterStore } from "./policy/store/store.ts";
import { imap } from "./protocols/imap/index.ts";
import { pop3 } from "./protocols/pop3/index.ts";
import { sieve } from "./protocols/sieve/index.ts";
import { smtp, submission } from "./protocols/smtp/index.ts";
import { maySendAs } from "./protocols/smtp/senders.ts";
import { connectRedis, type RedisObserver } from "./redis/connection.ts";
import { openSharing, type Sharing } from "./redis/sharing.ts";
import { Refused } from "./refusal.ts";
import { IdleWatch } from "./relay/idle-watch.ts";
import { startRelay } from "./relay/relay.ts";
import { createRouter } from "./routing/router.ts";
import { LiveSessions } from "./session/live-sessions.ts";
import type { Protocol } from "./session/protocol.ts";
import { type Rooms, runSession } from "./session/run-session.ts";
import { type Frontend, type FrontendTls, Session } from "./session/session.ts";
import { alone } from "./supervisor/alone.ts";
import {
  type Carrier,
  fits,
  type Listing,
  type SessionFilter,
  type SessionRow,
} from "./supervisor/carrier.ts";
import type { Predecessor } from "./supervisor/heir.ts";
import { type News, newsDesk } from "./supervisor/news.ts";
import { PolicyDesk } from "./supervisor/policy-desk.ts";
import { StartError } from "./supervisor/start-error.ts";
import { Supervisor } from "./supervisor/supervisor.ts";
import type { Spawn } from "./supervisor/worker-handle.ts";
import { Workers, type WorkersOptions } from "./supervisor/workers.ts";
import type { Logger } from "./telemetry/logger.ts";
import { createMetrics, type Metrics } from "./telemetry/metrics.ts";
import { createHeaderReports } from "./telemetry/proxy-headers.ts";
import { createRecorder } from "./telemetry/recorder.ts";
import type { SupervisorMetrics } from "./telemetry/supervisor-metrics.ts";
import { openCertificateFiles } from "./tls/certificate-files.ts";
import { CertificateStore } from "./tls/certificate-store.ts";
import type { ClientAuthorities } from "./tls/client-authorities.ts";
import { followClientAuthorities, readClientAuthorities } from "./tls/client-authority-files.ts";
import type { CommonTls } from "./tls/common.ts";
import { failureCause } from "./tls/failure.ts";
import { type ListenerTls, serverTls } from "./tls/frontend.ts";
import { TicketSecret } from "./tls/tickets.ts";
import { ownTls, type TlsOwner } from "./tls-owner.ts";
import { CapabilityBoard, type Offer, Offers } from "./upstream/capabilities.ts";
import { type Endpoint, endpointConnector } from "./upstream/connector.ts";
import { clientFacts, Introduction } from "./upstream/identity.ts";
import { type Asked, startLearning } from "./upstream/learning.ts";
import { signInAs } from "./upstream/sign-in.ts";
import { printable } from "./wire/printable.ts";

export { StartError } from "./supervisor/start-error.ts";

const PROTOCOLS: Readonly<Record<ListenerConfig["protocol"], Protocol>> = {
  imap,
  pop3,
  sieve,
  smtp,
  submission,
};
/** How long the first clients may wait for what a slow backend offers, in milliseconds. */
const FIRST_ROUND = 2_000;

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
  let bans: BanKeeper | undefined;
  const supervisor = await Supervisor.start(config, log, {
    apart: processes !== undefined,
    load,
    successor,
    predecessor,
    async openCrew(options) {
      const { store, isAlone, sharing, keeper } = await openStore(config, log, options.metrics, opening);
      bans = keeper;
      tls = opening.use(await ownTls(config, log, options.metrics, sharing));
      desk = new PolicyDesk(config, store, observePolicy(log), isAlone);
      const shared = {
        store,
        secret: commonSecret(config),
        backend: backendNews(log),
        news: newsDesk(log),
        offers: new Offers(),
        tls: tls.common,
        hashThreads:
          processes && Math.max(1, Math.min(4, Math.floor(availableParallelism() / processes.count))),
      };
      if (processes) return Workers.start({ ...options, ...processes, ...shared, config, log });
      return alone({ ...options, carrier: await openCarrier(config, log, shared) });
    },
    policy: () => desk,
    reloaded(next) {
      desk?.change(next);
      bans?.moveTo(next.dataDir);
      return tls?.change(next);
    },
    async standBack() {
      await Promise.all([tls?.pause(), bans?.flush()]);
    },
    handOver: () => bans?.pause(),
    inherit: () => bans?.read(),
    goOn() {
      bans?.goOn();
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

/** What fingerprints of passwords and decoys are made with: the same in all processes, and in all gateways of one Redis. */
function commonSecret({ clusterSecret }: Config): Uint8Array {
  if (clusterSecret === undefined) return randomBytes(32);
  return createHmac("sha256", clusterSecret).update("fingerprints and decoys").digest();
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
}

/** What outlives a configuration in a process that carries sessions. */
interface Premises extends Shared {
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
  });
  const headers = createHeaderReports(log, metrics);
  const recorder = createRecorder(log, metrics, live, headers);
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
  const policy = makePolicy(config, premises);
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

function makePolicy(config: Config, { log, metrics, store }: Premises): Policy {
  return createPolicy({ ...config.policy, store, observer: observePolicy(log, metrics) });
}

/** Without metrics it is told of what operators do: that is no limit's answer. */
function observePolicy(log: Logger, metrics?: Metrics): PolicyObserver {
  return {
    wouldRefuse(limit, key, counter) {
      metrics?.wouldRefuse.inc({ limit });
      log.info(
        { limit, key: printable(key), counter: printable(counter) },
        "a limit in observe mode would have refused",
      );
    },
    banned(limit, key, ms) {
      metrics?.bans.inc({ limit });
      log.warn({ limit, key: printable(key), seconds: Math.round(ms / 1000) }, "banned");
    },
  };
}

interface OpenStore {
  readonly store: CounterStore;
  /** Whether several gateways share it, and it is away. */
  readonly isAlone: () => boolean;
  readonly sharing?: Sharing;
  /** Where its bans would end with the process. */
  readonly keeper?: BanKeeper;
}

/** Where limits are counted, and what several gateways share by it where they have a secret for that. */
async function openStore(
  { policy: { store, onStoreFailure }, clusterSecret, dataDir }: Config,
  log: Logger,
  metrics: SupervisorMetrics,
  rooms: AsyncDisposableStack,
): Promise<OpenStore> {
  if (store === "memory") {
    metrics.storeUp.set(1);
    const memory = new MemoryStore();
    const keeper = rooms.use(await BanKeeper.open(dataDir, memory, watchBans(log)));
    return { store: memory, isAlone: () => false, keeper };
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
  failover = new FailoverStore(rooms.use(new RedisStore(connection)), onStoreFailure);
  const opened = { store: failover, isAlone: () => alone };
  if (clusterSecret === undefined) return opened;
  return { ...opened, sharing: openSharing(connection, clusterSecret, tellOfForeign(log)) };
}

function watchBans(log: Logger): BanKeeperObserver {
  return {
    notWritten: (path, reason) =>
      log.error({ path, reason }, "bans cannot be kept: a restart would forget them"),
    written: (path) => log.info({ path }, "bans are kept again"),
    ignored: (path, reason) => log.error({ path, reason }, "the file of bans is broken, and ignored"),
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
  const told = new Map<string, number>();
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
      const now = performance.now();
      if (now - (told.get(kind) ?? Number.NEGATIVE_INFINITY) < 60_000) return;
      told.set(kind, now);
      log.warn({ call, kind, reason }, "the store failed in one question");
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

async function openAuth(
  config: Config,
  { news, secret, hashThreads }: Premises,
  rooms: AsyncDisposableStack,
): Promise<Authenticator> {
  const workers = new HashWorkers(hashThreads === undefined ? {} : { threads: hashThreads });
  rooms.defer(() => workers.close());
  const proven = new ProvenPasswords({ ttlMs: config.authentication.cache.ttl });
  const sources: FileSource[] = [];
  for (const { path } of config.authentication.sources satisfies readonly SourceConfig[]) {
    const loaded = await FileSource.load({
      path,
      workers,
      proven,
      secret,
      backends: Object.keys(config.backends),
    });
    if ("problems" in loaded) throw new StartError(sayAll(loaded.problems));
    const { source } = loaded;
    source.watch({
      onReload: (users) => news({ level: "info", fields: { path, users }, message: "users reloaded" }),
      onProblem: (problems) =>
        news({
          level: "error",
          fields: { path, problems: problems.map(formatProblem) },
          message: "the users' new file is broken; the old users stay",
        }),
    });
    rooms.use(source);
    sources.push(source);
  }
  const forbiddenInNames = Object.values(config.backends).flatMap(({ login }) =>
    typeof login === "object" && login.master.separator ? [login.master.separator] : [],
  );
  return createAuthenticator({ sources, forbiddenInNames, secret });
}

function sayAll(problems: readonly Problem[]): string {
  return problems.map(formatProblem).join("\n");
}

/** What one backend speaks at one port. */
export interface Service extends Asked {
  readonly backend: string;
  readonly endpoint: Endpoint;
}

function serviceName(backend: string, protocol: string): string {
  return `${backend}/${protocol}`;
}

/** What we speak at a backend's port: LMTP (RFC 2033) is where SMTP's mail may end. */
function protocolOf(name: string): Protocol {
  return name === "lmtp" ? smtp : PROTOCOLS[name as ListenerConfig["protocol"]];
}

/** The backend's service for a protocol, where it has one. */
function serviceFor(
  services: ReadonlyMap<string, Service>,
  backend: string,
  protocol: string,
): Service | undefined {
  const service = services.get(serviceName(backend, protocol));
  return service ?? (protocol === "smtp" ? services.get(serviceName(backend, "lmtp")) : undefined);
}

/** Each protocol of each backend, by its service name; `learned` hears what it offers. */
export function openServices(
  config: Config,
  learned: (protocol: string, backend: string, capabilities: readonly string[]) => void,
): Map<string, Service> {
  const services = Object.entries(config.backends).flatMap(([backend, { host, trust, helo, protocols }]) =>
    Object.entries(protocols).map(([name, { port, tls, identity }]): Service => {
      const protocol = protocolOf(name);
      const introduction = new Introduction(identity);
      const ourName = config.hostname;
      const endpoint = { backend, protocol: name, host, port, tls, trust, helo, introduction, ourName };
      const connect = endpointConnector(endpoint, config.timeouts.connect, (capabilities) =>
        learned(protocol.name, backend, capabilities),
      );
      return { backend, name: serviceName(backend, name), protocol, connect, introduction, endpoint };
    }),
  );
  return new Map(services.map((service) => [service.name, service]));
}

/** Left of the login deadline when a backend's time is over, so that the client still hears why. */
const LAST_WORDS = 1_000;

function makeConnector(config: Config, services: ReadonlyMap<string, Service>): Rooms["connector"] {
  return {
    async connect(session, route) {
      const service = serviceFor(services, route.backend, session.protocol.name);
      if (!service) throw new Error(`no connector for ${route.backend}`);
      const conversationMs = Math.max(session.loginTimeLeftMs - LAST_WORDS, 1);
      const trusted = config.backends[route.backend]?.login === "none" && session.user !== undefined;
      const client = clientFacts(session, trusted ? route.login : undefined);
      return service.connect({ signal: session.signal, conversationMs, client });
    },
    signIn(route, credential, identity) {
      const backend = config.backends[route.backend];
      if (!backend) throw new Error(`no backend ${route.backend}`);
      // The backend takes our word for it.
      if (backend.login === "none") return undefined;
      return signInAs(backend.login, route.login, credential, identity.password);
    },
  };
}

function makeRelay(config: Config): Rooms["relay"] {
  const watches = new Map<number, IdleWatch>();
  return (session, upstream) => {
    const idleMs = config.timeouts[session.protocol.idleTimeout];
    const watch = watches.get(idleMs) ?? new IdleWatch(idleMs);
    watches.set(idleMs, watch);
    const ends = { client: session.channel.detach(), upstream: upstream.channel.detach() };
    const relay = startRelay(ends, watch, ({ refusal }) => session.protocol.farewell(refusal));
    session.relayedBy(relay);
    return relay.done;
  };
}

/** The certificates, and who is told when their files change. */
async function openCertificates(
  config: Config,
  { tls, news }: Premises,
  rooms: AsyncDisposableStack,
): Promise<CertificateStore> {
  const { certificates, profile, clientCa, clientCrl } = config.tls;
  try {
    const clients = clientCa === undefined ? undefined : await readClientAuthorities(clientCa, clientCrl);
    const tickets = rooms.use(new TicketSecret({ rotateMs: 0 }));
    const store = new CertificateStore(tickets, {
      profile,
      ...(clients && { clients }),
    });
    const files = openCertificateFiles(store, certificates);
    rooms.use(tls.follow(store, tickets));
    rooms.use(
      files.follow({
        onSwapped: (path) => news({ level: "info", fields: { path }, message: "certificate taken" }),
        onProblem: (path, reason) =>
          news({
            level: "error",
            fields: { path, reason },
            message: "the new certificate is broken; the old one stays",
          }),
      }),
    );
    if (clients && clientCa !== undefined) {
      const take = (next: ClientAuthorities): void => store.change({ profile, clients: next });
      const events = {
        onTaken: () =>
          news({
            level: "info",
            fields: { path: clientCa },
            message: "authorities for clients' certificates taken",
          }),
        onProblem: (reason: string) =>
          news({
            level: "error",
            fields: { path: clientCa, reason },
            message: "the new authorities are broken; the old ones stay",
          }),
      };
      rooms.use(followClientAuthorities({ ca: clientCa, crl: clientCrl, now: clients }, take, events));
    }
    return store;
  } catch (error) {
    throw new StartError(`tls: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function listenerTls({ tls }: Config, listener: ListenerConfig): ListenerTls {
  const { alpn } = PROTOCOLS[listener.protocol];
  const certificate = listener.clientCertificate ?? (tls.clientCa === undefined ? "none" : "optional");
  return {
    listener: listener.name,
    implicit: listener.tls === "implicit",
    alpn,
    ...(certificate !== "none" && { clients: { certificate, name: tls.clientName } }),
  };
}

function openSenders(config: Config): (user: string, address: string) => boolean {
  const { map } = config.submission.senders;
  const loaded = map === undefined ? undefined : loadSenders(map);
  if (loaded && !loaded.ok) throw new StartError(sayAll(loaded.problems));
  const senders = loaded?.senders ?? new Map();
  return (user, address) => maySendAs(senders, user, address);
}

function makeFrontend(
  config: Config,
  listener: ListenerConfig,
  certificates: CertificateStore,
  metrics: Metrics,
  board: CapabilityBoard,
  auth: Authenticator,
  sendsAs: (user: string, address: string) => boolean,
): Frontend {
  const protocol = PROTOCOLS[listener.protocol];
  const implicitTls = listener.tls === "implicit";
  const tls: FrontendTls = {
    ...serverTls(certificates, listenerTls(config, listener)),
    settled(outcome) {
      if (outcome instanceof Error) {
        const cause = failureCause(outcome);
        if (cause) metrics.handshakeFailures.inc({ listener: listener.name, cause });
        return;
      }
      const { version, cipher, resumed } = outcome;
      metrics.handshakes.inc({ listener: listener.name, version, cipher, resumed: resumed ? "yes" : "no" });
    },
  };
  return {
    listener: listener.name,
    hostname: config.hostname,
    protocol,
    implicitTls,
    requireTls: listener.requireTls,
    mechanisms: config.authentication.mechanisms,
    handshakeTimeoutMs: config.timeouts.handshake,
    loginTimeoutMs: config.timeouts.login,
    idleTimeoutMs: config.timeouts[protocol.idleTimeout],
    content: { ...config.submission, senders: config.submission.senders.enforce, maySendAs: sendsAs },
    get tls() {
      return certificates.empty ? undefined : tls;
    },
    backendCapabilities: () => board.common(protocol.name),
    eachBackendsCapabilities: () => board.each(protocol.name),
    verifiesApop: () => auth.verifiesApop,
  };
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
