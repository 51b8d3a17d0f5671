import { type Authenticator, createAuthenticator } from "../auth/authenticator.ts";
import { FileSource } from "../auth/file-source.ts";
import { HashWorkers } from "../auth/password/hash-workers.ts";
import { ProvenPasswords } from "../auth/proven-passwords.ts";
import { formatProblem, type Problem } from "../config/problem.ts";
import type { Config, ListenerConfig, SourceConfig } from "../config/schema.ts";
import { loadSenders } from "../config/senders.ts";
import { GeoFiles } from "../policy/geo/geo-files.ts";
import type { Places } from "../policy/geo/places.ts";
import { maySendAs } from "../protocols/smtp/senders.ts";
import { IdleWatch } from "../relay/idle-watch.ts";
import { startRelay } from "../relay/relay.ts";
import type { Rooms } from "../session/run-session.ts";
import type { Frontend, FrontendTls } from "../session/session.ts";
import { StartError } from "../supervisor/start-error.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { openCertificateFiles } from "../tls/certificate-files.ts";
import { CertificateStore } from "../tls/certificate-store.ts";
import type { ClientAuthorities } from "../tls/client-authorities.ts";
import { followClientAuthorities, readClientAuthorities } from "../tls/client-authority-files.ts";
import { failureCause } from "../tls/failure.ts";
import { type ListenerTls, serverTls } from "../tls/frontend.ts";
import { TicketSecret } from "../tls/tickets.ts";
import type { CapabilityBoard } from "../upstream/capabilities.ts";
import type { Premises } from "./open-carrier.ts";
import { PROTOCOLS } from "./services.ts";

export async function openAuth(
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

/** Who is told when the files that say where addresses are change. */
export function openGeoFiles(news: Premises["news"]): GeoFiles {
  return new GeoFiles({
    taken: (path, type, builtAt) =>
      news({
        level: "info",
        fields: { path, type, built: builtAt.toISOString() },
        message: "database of places taken",
      }),
    broken: (path, reason) =>
      news({
        level: "error",
        fields: { path, reason },
        message: "the new database of places is broken; the old one stays",
      }),
  });
}

export async function openPlaces(
  { policy }: Config,
  { geo }: Premises,
  rooms: AsyncDisposableStack,
): Promise<Places | undefined> {
  try {
    return await geo.places(policy.geo, rooms);
  } catch (error) {
    throw new StartError(error instanceof Error ? error.message : String(error));
  }
}

function sayAll(problems: readonly Problem[]): string {
  return problems.map(formatProblem).join("\n");
}

export function makeRelay(config: Config): Rooms["relay"] {
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
export async function openCertificates(
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

export function openSenders(config: Config): (user: string, address: string) => boolean {
  const { map } = config.submission.senders;
  const loaded = map === undefined ? undefined : loadSenders(map);
  if (loaded && !loaded.ok) throw new StartError(sayAll(loaded.problems));
  const senders = loaded?.senders ?? new Map();
  return (user, address) => maySendAs(senders, user, address);
}

export function makeFrontend(
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
