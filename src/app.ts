import { randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import { startAdmin } from "./admin/server.ts";
import { type Authenticator, createAuthenticator } from "./auth/authenticator.ts";
import { FileSource } from "./auth/file-source.ts";
import { HashWorkers } from "./auth/password/hash-workers.ts";
import { ProvenPasswords } from "./auth/proven-passwords.ts";
import { formatProblem, type Problem } from "./config/problem.ts";
import {
  type AcmeConfig,
  type Config,
  HTTP_CHALLENGE_PORT,
  type ListenerConfig,
  type SourceConfig,
} from "./config/schema.ts";
import { loadSenders } from "./config/senders.ts";
import { type AcceptedPeer, type Bound, bind } from "./listen/listener.ts";
import { createPolicy, type Policy } from "./policy/engine.ts";
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
import type { Logger } from "./telemetry/logger.ts";
import { createMetrics, type Metrics } from "./telemetry/metrics.ts";
import { createHeaderReports } from "./telemetry/proxy-headers.ts";
import { createRecorder } from "./telemetry/recorder.ts";
import { openAcme } from "./tls/acme/open.ts";
import type { Acme, AcmeObserver } from "./tls/acme/renewer.ts";
import { openCertificateFiles } from "./tls/certificate-files.ts";
import { CertificateStore } from "./tls/certificate-store.ts";
import type { ClientAuthorities } from "./tls/client-authorities.ts";
import { followClientAuthorities, readClientAuthorities } from "./tls/client-authority-files.ts";
import { failureCause } from "./tls/failure.ts";
import { type ListenerTls, serverTls } from "./tls/frontend.ts";
import { selfSigned } from "./tls/self-signed.ts";
import { TicketSecret } from "./tls/tickets.ts";
import { CapabilityBoard } from "./upstream/capabilities.ts";
import { type Endpoint, endpointConnector } from "./upstream/connector.ts";
import { clientFacts, Introduction } from "./upstream/identity.ts";
import { type Asked, startLearning } from "./upstream/learning.ts";
import { signInAs } from "./upstream/sign-in.ts";
import { printable } from "./wire/printable.ts";

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
  /** Lets sessions end, with their protocol's goodbye and within the drain time; then ends everything else. */
  close(): Promise<void>;
}

/** Why a gateway cannot start, each in the words of an operator's file. */
export class StartError extends Error {
  override readonly name = "StartError";
}

/**
 * A Config in, a running Postern out: the only file that knows every room. Throws StartError or BindError when
 * something that the configuration names cannot be had; then nothing is left running.
 */
export async function startPostern(config: Config, log: Logger): Promise<Postern> {
  await using rooms = new AsyncDisposableStack();
  const live = new LiveSessions();
  const metrics = createMetrics({
    openSessions: () => readOpen(live),
    seats: () => policy.seats,
    certificates: () => certificates,
    limitAnswers: () => policy.answers(),
  });
  const { store, sharing } = await openStore(config, log, metrics, rooms);
  const policy = makePolicy(config, log, metrics, store);
  const certificates = await openCertificates(config, log, rooms, sharing);
  const headers = createHeaderReports(log, metrics);
  const recorder = createRecorder(log, metrics, live, headers);
  const auth = await openAuth(config, log, rooms);
  const board = new CapabilityBoard();
  const connectors = openServices(config, (protocol, backend, capabilities) =>
    board.learn(protocol, backend, capabilities),
  );
  const acme = await startAcme(config, certificates, log, metrics, sharing);
  if (acme) rooms.use(acme);
  const sendsAs = openSenders(config);

  const learning = startLearning([...connectors.values()], (name, error) => {
    if (error) log.warn({ backend: name, reason: error.message }, "a backend does not answer");
    else log.info({ backend: name }, "a backend answers again");
  });
  rooms.defer(() => learning.stop());
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

  const listeners: Bound[] = [];
  let stopping = false;
  for (const listener of config.listeners) {
    const frontend = makeFrontend(config, listener, certificates, metrics, board, auth, sendsAs);
    metrics.announce(listener.name);
    const accept = (socket: Socket, peer: AcceptedPeer): void => {
      const session = new Session(socket, peer, frontend);
      recorder.opened(session);
      void runSession(session, story);
    };
    const bound = await bind(
      {
        ...listener,
        headerTimeoutMs: config.timeouts.handshake,
        onHeader: (outcome, proxy) => headers(listener.name, outcome, proxy),
      },
      accept,
    );
    rooms.defer(() => bound.close());
    listeners.push(bound);
  }
  // A start that fails from here on has clients already, and no port is free before they are gone.
  rooms.defer(() => live.stop(new Refused("shutdown", "the gateway stops"), 0));
  const admin = await startAdmin({
    ...config.admin,
    metrics,
    notReady: () => (stopping ? "stopping" : undefined),
  }).catch((error: Error) => {
    throw new StartError(
      `admin: cannot listen on ${config.admin.host}, port ${config.admin.port}: ${error.message}`,
    );
  });
  rooms.defer(() => admin.close());
  acme?.renew();

  const running = rooms.move();
  return {
    listeners,
    adminPort: admin.port,
    async close() {
      stopping = true;
      const ordered = acme?.[Symbol.asyncDispose]();
      // Listeners first, so that nobody comes in while those inside are asked to leave.
      const closed = listeners.map((listener) => listener.close());
      await live.stop(new Refused("shutdown", "the gateway stops"), config.timeouts.drain);
      await Promise.all([...closed, ordered]);
      await running.disposeAsync();
    },
  };
}

function makePolicy(config: Config, log: Logger, metrics: Metrics, store: CounterStore): Policy {
  return createPolicy({
    ...config.policy,
    store,
    observer: {
      wouldRefuse(limit, key, counter) {
        metrics.wouldRefuse.inc({ limit });
        log.info(
          { limit, key: printable(key), counter: printable(counter) },
          "a limit in observe mode would have refused",
        );
      },
      banned(limit, key, ms) {
        metrics.bans.inc({ limit });
        log.warn({ limit, key: printable(key), seconds: Math.round(ms / 1000) }, "banned");
      },
    },
  });
}

/** Where limits are counted, and what several gateways share by it where they have a secret for that. */
async function openStore(
  { policy: { store, onStoreFailure }, clusterSecret }: Config,
  log: Logger,
  metrics: Metrics,
  rooms: AsyncDisposableStack,
): Promise<{ readonly store: CounterStore; readonly sharing?: Sharing }> {
  if (store === "memory") {
    metrics.storeUp.set(1);
    return { store: new MemoryStore() };
  }
  let failover: FailoverStore | undefined;
  const connection = await connectRedis(
    store.redis,
    watchRedis(log, metrics, () => failover?.back()),
  ).catch((error: Error) => {
    throw new StartError(`policy.store: ${error.message}`);
  });
  rooms.use(connection);
  failover = new FailoverStore(rooms.use(new RedisStore(connection)), onStoreFailure);
  if (clusterSecret === undefined) return { store: failover };
  return { store: failover, sharing: openSharing(connection, clusterSecret, tellOfForeign(log)) };
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

function watchRedis(log: Logger, metrics: Metrics, back: () => void): RedisObserver {
  const told = new Map<string, number>();
  return {
    up() {
      back();
      metrics.storeUp.set(1);
      log.info("the store answers");
    },
    down({ kind, message: reason }) {
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

async function openAuth(config: Config, log: Logger, rooms: AsyncDisposableStack): Promise<Authenticator> {
  const secret = randomBytes(32);
  const workers = new HashWorkers();
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
      onReload: (users) => log.info({ path, users }, "users reloaded"),
      onProblem: (problems) =>
        log.error(
          { path, problems: problems.map(formatProblem) },
          "the users' new file is broken; the old users stay",
        ),
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
  log: Logger,
  rooms: AsyncDisposableStack,
  sharing: Sharing | undefined,
): Promise<CertificateStore> {
  const { certificates, selfSigned: own, profile, clientCa, clientCrl } = config.tls;
  try {
    const clients = clientCa === undefined ? undefined : await readClientAuthorities(clientCa, clientCrl);
    const tickets = rooms.use(new TicketSecret(sharing ? { rotateMs: 0 } : {}));
    if (sharing) rooms.use(await sharing.tickets((secret) => tickets.adopt(secret)));
    const store = new CertificateStore(tickets, {
      profile,
      ...(clients && { clients }),
    });
    const files = openCertificateFiles(store, certificates);
    const names = [config.hostname, "localhost", "127.0.0.1", "::1"];
    if (own) store.setPairs("selfSigned", [await selfSigned(names)]);
    rooms.use(
      files.follow({
        onSwapped: (path) => log.info({ path }, "certificate taken"),
        onProblem: (path, reason) =>
          log.error({ path, reason }, "the new certificate is broken; the old one stays"),
      }),
    );
    if (clients && clientCa !== undefined) {
      const take = (next: ClientAuthorities): void => store.change({ profile, clients: next });
      const events = {
        onTaken: () => log.info({ path: clientCa }, "authorities for clients' certificates taken"),
        onProblem: (reason: string) =>
          log.error({ path: clientCa, reason }, "the new authorities are broken; the old ones stay"),
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

/** Certificates by ACME, for the store; ordered from `renew` on. */
async function startAcme(
  { tls: { acme }, dataDir }: Config,
  store: CertificateStore,
  log: Logger,
  metrics: Metrics,
  sharing: Sharing | undefined,
): Promise<Acme | undefined> {
  if (!acme) return undefined;
  const settings = { httpPort: HTTP_CHALLENGE_PORT, ...acme };
  const isAlone = store.empty;
  return openAcme(settings, {
    dataDir,
    answers: store,
    use(pair) {
      store.setPairs("acme", [pair]);
      if (isAlone) store.setPairs("selfSigned", []);
    },
    showTemporary: isAlone
      ? async () => store.setPairs("selfSigned", [await selfSigned(acme.domains)])
      : undefined,
    observer: watchAcme(acme, log, metrics),
    hookSaid: (line) => log.info({ line }, "dnsHook says"),
    sharing,
  }).catch((error: Error) => {
    throw new StartError(`tls.acme: ${error.message}`);
  });
}

function watchAcme({ domains }: AcmeConfig, log: Logger, metrics: Metrics): AcmeObserver {
  return {
    inUse(certificate) {
      const temporary = "no certificate by ACME yet: clients see a temporary one that nobody trusts";
      if (!certificate) return log.warn({ domains }, temporary);
      const isOver = certificate.validTo < Date.now();
      const until = new Date(certificate.validTo);
      log[isOver ? "warn" : "info"]({ domains, until }, "certificate by ACME in use");
    },
    brokenFile: (error) => log.error({ reason: error.message }, "the file of the ACME certificate is broken"),
    ordered(failure) {
      metrics.acmeOrders.inc({ outcome: failure ? "failed" : "ok" });
      if (!failure) return metrics.acmeFailures.set(0);
      metrics.acmeFailures.inc();
      const { reason, nextTry, news } = failure;
      log[news ? "error" : "debug"](
        { domains, reason, nextTry: new Date(nextTry) },
        "no certificate by ACME",
      );
    },
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
