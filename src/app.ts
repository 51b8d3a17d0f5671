import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Socket } from "node:net";
import { startAdmin } from "./admin/server.ts";
import { type Authenticator, createAuthenticator } from "./auth/authenticator.ts";
import { FileSource } from "./auth/file-source.ts";
import { HashWorkers } from "./auth/password/hash-workers.ts";
import { ProvenPasswords } from "./auth/proven-passwords.ts";
import { formatProblem, type Problem } from "./config/problem.ts";
import type { Config, ListenerConfig, SourceConfig } from "./config/schema.ts";
import { loadSenders } from "./config/senders.ts";
import { type AcceptedPeer, type Bound, bind } from "./listen/listener.ts";
import { createPolicy, type Policy } from "./policy/engine.ts";
import { MemoryStore } from "./policy/store/memory.ts";
import { imap } from "./protocols/imap/index.ts";
import { pop3 } from "./protocols/pop3/index.ts";
import { sieve } from "./protocols/sieve/index.ts";
import { smtp, submission } from "./protocols/smtp/index.ts";
import { maySendAs } from "./protocols/smtp/senders.ts";
import { Refused } from "./refusal.ts";
import { IdleWatch } from "./relay/idle-watch.ts";
import { startRelay } from "./relay/relay.ts";
import { createRouter } from "./routing/router.ts";
import { LiveSessions } from "./session/live-sessions.ts";
import type { Protocol } from "./session/protocol.ts";
import { type Rooms, runSession } from "./session/run-session.ts";
import { type Frontend, Session } from "./session/session.ts";
import type { Logger } from "./telemetry/logger.ts";
import { createMetrics, type Metrics } from "./telemetry/metrics.ts";
import { createRecorder } from "./telemetry/recorder.ts";
import { type Certificates, loadCertificates } from "./tls/certificates.ts";
import { wrapServer } from "./tls/frontend.ts";
import { selfSigned } from "./tls/self-signed.ts";
import { CapabilityBoard } from "./upstream/capabilities.ts";
import { type Connect, endpointConnector } from "./upstream/connector.ts";
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
  const policy = makePolicy(config, log, () => metrics);
  const metrics = createMetrics({
    openSessions: () => readOpen(live),
    seats: () => policy.seats,
    limitAnswers: () => policy.answers(),
  });
  const recorder = createRecorder(log, metrics, live);
  const auth = await openAuth(config, log, rooms);
  const board = new CapabilityBoard();
  const connectors = openConnectors(config, board);
  const certificates = await openCertificates(config);
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
    const frontend = makeFrontend(config, listener, certificates, board, auth, sendsAs);
    metrics.announce(listener.name);
    const accept = (socket: Socket, peer: AcceptedPeer): void => {
      const session = new Session(socket, peer, frontend);
      recorder.opened(session);
      void runSession(session, story);
    };
    const bound = await bind(listener, accept);
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

  const running = rooms.move();
  return {
    listeners,
    adminPort: admin.port,
    async close() {
      stopping = true;
      // Listeners first, so that nobody comes in while those inside are asked to leave.
      const closed = listeners.map((listener) => listener.close());
      await live.stop(new Refused("shutdown", "the gateway stops"), config.timeouts.drain);
      await Promise.all(closed);
      await running.disposeAsync();
    },
  };
}

function makePolicy(config: Config, log: Logger, metrics: () => Metrics): Policy {
  return createPolicy({
    ...config.policy,
    store: new MemoryStore(),
    observer: {
      wouldRefuse(limit, key, counter) {
        metrics().wouldRefuse.inc({ limit });
        log.info(
          { limit, key: printable(key), counter: printable(counter) },
          "a limit in observe mode would have refused",
        );
      },
      banned(limit, key, ms) {
        metrics().bans.inc({ limit });
        log.warn({ limit, key: printable(key), seconds: Math.round(ms / 1000) }, "banned");
      },
    },
  });
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

interface Service extends Asked {
  readonly backend: string;
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

/** One connector for each protocol of each backend, by its service name. */
function openConnectors(config: Config, board: CapabilityBoard): Map<string, Service> {
  const services = Object.entries(config.backends).flatMap(([backend, { host, trust, protocols }]) =>
    Object.entries(protocols).map(([name, { port, tls }]): Service => {
      const protocol = protocolOf(name);
      const connect: Connect = endpointConnector(
        { backend, protocol: name, host, port, tls, trust, ourName: config.hostname },
        config.timeouts.connect,
        (capabilities) => board.learn(protocol.name, backend, capabilities),
      );
      return { backend, name: serviceName(backend, name), protocol, connect };
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
      return service.connect({ signal: session.signal, conversationMs });
    },
    signIn(route, credential, identity) {
      const backend = config.backends[route.backend];
      if (!backend) throw new Error(`no backend ${route.backend}`);
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

async function openCertificates(config: Config): Promise<Certificates | undefined> {
  const pairs = config.tls.certificates.map(({ cert, key }) => ({
    cert: readFileSync(cert, "utf8"),
    key: readFileSync(key, "utf8"),
  }));
  if (config.tls.selfSigned) pairs.push(await selfSigned([config.hostname, "localhost", "127.0.0.1", "::1"]));
  return loadCertificates(pairs);
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
  certificates: Certificates | undefined,
  board: CapabilityBoard,
  auth: Authenticator,
  sendsAs: (user: string, address: string) => boolean,
): Frontend {
  const protocol = PROTOCOLS[listener.protocol];
  return {
    listener: listener.name,
    hostname: config.hostname,
    protocol,
    implicitTls: listener.tls === "implicit",
    requireTls: listener.requireTls,
    mechanisms: config.authentication.mechanisms,
    handshakeTimeoutMs: config.timeouts.handshake,
    loginTimeoutMs: config.timeouts.login,
    idleTimeoutMs: config.timeouts[protocol.idleTimeout],
    content: { ...config.submission, senders: config.submission.senders.enforce, maySendAs: sendsAs },
    wrapTls: certificates && ((socket) => wrapServer(socket, certificates, protocol.alpn)),
    backendCapabilities: () => board.common(protocol.name),
    eachBackendsCapabilities: () => board.each(protocol.name),
    verifiesApop: () => auth.verifiesApop,
  };
}

function* readOpen(live: LiveSessions): Iterable<{ listener: string; bytes: { in: number; out: number } }> {
  for (const session of live) yield { listener: session.frontend.listener, bytes: session.bytes };
}
