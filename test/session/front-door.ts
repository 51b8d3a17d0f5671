import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { pino } from "pino";
import { createFingerprints } from "../../src/auth/fingerprint.ts";
import { bind, type ListenerOptions } from "../../src/listen/listener.ts";
import { createPolicy, type Limit, type Policy } from "../../src/policy/engine.ts";
import { MemoryStore } from "../../src/policy/store/memory.ts";
import { imap } from "../../src/protocols/imap/index.ts";
import { type Refusal, Refused } from "../../src/refusal.ts";
import { IdleWatch } from "../../src/relay/idle-watch.ts";
import { startRelay } from "../../src/relay/relay.ts";
import { createRouter, type RouteRule } from "../../src/routing/router.ts";
import { LiveSessions } from "../../src/session/live-sessions.ts";
import { type Rooms, runSession } from "../../src/session/run-session.ts";
import { type Frontend, Session } from "../../src/session/session.ts";
import { createMetrics } from "../../src/telemetry/metrics.ts";
import { createHeaderReports } from "../../src/telemetry/proxy-headers.ts";
import { createRecorder } from "../../src/telemetry/recorder.ts";
import { exposeSum } from "../../src/telemetry/snapshot.ts";
import { serverTls } from "../../src/tls/frontend.ts";
import type { KeyPair } from "../../src/tls/key-pair.ts";
import { CapabilityBoard } from "../../src/upstream/capabilities.ts";
import { endpointConnector } from "../../src/upstream/connector.ts";
import { signInAs, type UpstreamLogin } from "../../src/upstream/sign-in.ts";
import { type Conversation, type ConversationOptions, connect } from "../support/conversation.ts";
import { eventually, within } from "../support/waiting.ts";
import { storeOf } from "../tls/store.ts";
import { frontend } from "./stub-session.ts";

export interface FrontDoorOptions {
  /** What the listener means; TLS comes with `certificate`. */
  readonly frontend?: Partial<Frontend>;
  readonly certificate?: KeyPair;
  /** Who is believed about clients. */
  readonly listener?: Pick<ListenerOptions, "proxyProtocol" | "xclient" | "headerTimeoutMs">;
  /** As the policy's. */
  readonly exempt?: readonly string[];
  /** Passwords by name. */
  readonly users?: Readonly<Record<string, string>>;
  /** Instead of `users`. */
  readonly authenticate?: Rooms["auth"]["authenticate"];
  readonly limits?: readonly Limit[];
  readonly clock?: () => number;
  /** Instead of the engine's. */
  readonly policy?: Partial<Policy>;
  readonly routes?: readonly RouteRule[];
  /** Where the one backend listens; without it nothing does. */
  readonly backend?: {
    readonly port: number;
    readonly tls?: "none" | "starttls" | "implicit";
    readonly ca?: string;
  };
  readonly login?: UpstreamLogin;
  readonly connectTimeoutMs?: number;
  readonly idleMs?: number;
  /** How many sessions the test makes fail inside. */
  readonly faults?: number;
}

/** What the log says of a session as it closes, and everything else it says. */
export type LogLine = Readonly<Record<string, unknown>>;

/** The whole story in this process: every room for real but the users, on a listener of its own. */
export interface FrontDoor {
  readonly port: number;
  readonly live: LiveSessions;
  readonly policy: Policy;
  /** Every log line, down to trace. */
  readonly log: LogLine[];
  /** The account records so far. */
  accounts(): LogLine[];
  /** Waits until this many sessions have closed; gives their records. */
  closed(count: number): Promise<LogLine[]>;
  /** The kinds of all that was refused so far. */
  refusals(): string[];
  metrics(): Promise<string>;
  connect(options?: Partial<ConversationOptions>): Promise<Conversation>;
  /** Connected, and the greeting read. */
  greeted(options?: Partial<ConversationOptions>): Promise<Conversation>;
}

/** The name of its listener and of its backend. */
export const LISTENER = "imap-143";
export const BACKEND = "north";

/** Opens it for the time of a test, and fails the test when a session failed inside or anything stays behind. */
export async function frontDoor(t: TestContext, options: FrontDoorOptions = {}): Promise<FrontDoor> {
  const log: LogLine[] = [];
  const logger = pino(
    { level: "trace", base: null },
    { write: (line: string) => log.push(JSON.parse(line)) },
  );
  const live = new LiveSessions();
  const engine = createPolicy({
    limits: options.limits ?? [],
    mode: "enforce",
    exempt: options.exempt ?? [],
    ipv6Prefix: 64,
    store: new MemoryStore(options.clock),
    observer: { wouldRefuse: () => {}, delayed: () => {}, banned: () => {} },
  });
  const policy = overlay(engine, options.policy ?? {});
  const metrics = createMetrics({
    openSessions: () =>
      Array.from(live, (session) => ({ listener: session.frontend.listener, bytes: session.bytes })),
    seats: () => policy.seats,
    certificates: () => [],
    limitAnswers: () => policy.answers(),
    hooks: () => [],
  });
  const headers = createHeaderReports(logger, metrics);
  const recorder = createRecorder(logger, metrics, live, headers);
  const board = new CapabilityBoard();
  const { port: backendPort = 1, tls = "none", ca } = options.backend ?? {};
  const reach = endpointConnector(
    {
      backend: BACKEND,
      protocol: "imap",
      host: "localhost",
      ourName: "door.example.org",
      port: backendPort,
      tls,
      trust: ca === undefined ? {} : { ca },
    },
    options.connectTimeoutMs ?? 2_000,
    (capabilities) => board.learn("imap", BACKEND, capabilities),
  );
  const idle = new IdleWatch(options.idleMs ?? 1_800_000);
  const rooms: Rooms = {
    policy,
    auth: {
      authenticate: options.authenticate ?? knownUsers(options.users ?? { alice: "secret" }),
      fingerprint: createFingerprints(),
    },
    router: createRouter(options.routes ?? [], [BACKEND], () => true),
    connector: {
      connect: (session, _route) =>
        reach({ signal: session.signal, conversationMs: session.loginTimeLeftMs }),
      signIn: (route, credential) => signInAs(options.login ?? "passthrough", route.login, credential),
    },
    relay(session, upstream) {
      const ends = { client: session.channel.detach(), upstream: upstream.channel.detach() };
      const relay = startRelay(ends, idle, ({ refusal }) => session.protocol.farewell(refusal));
      session.relayedBy(relay);
      return relay.done;
    },
    telemetry: recorder,
  };
  const certificates = options.certificate && storeOf(t, [options.certificate]);
  const face = frontend({
    listener: LISTENER,
    tls: certificates && serverTls(certificates, { listener: LISTENER, implicit: false, alpn: imap.alpn }),
    backendCapabilities: () => board.common("imap"),
    ...options.frontend,
  });
  metrics.announce(LISTENER);
  const running = new Set<Promise<void>>();
  const place: ListenerOptions = {
    name: LISTENER,
    host: "127.0.0.1",
    port: 0,
    tls: face.implicitTls ? "implicit" : "starttls",
    onHeader: (outcome, proxy) => headers(LISTENER, outcome, proxy),
    ...options.listener,
  };
  const listener = await bind(place, (socket, peer) => {
    const session = new Session(socket, peer, face);
    recorder.opened(session);
    const story = runSession(session, rooms).finally(() => running.delete(story));
    running.add(story);
  });
  const clients: Conversation[] = [];

  t.after(async () => {
    await Promise.all(clients.map((client) => client[Symbol.asyncDispose]()));
    for (const session of live) session.channel.destroy();
    await within(5_000, "the sessions to end", Promise.all(running));
    await within(5_000, "the listener to close", listener.close());
    const faults = log.filter((line) => line["msg"] === "a fault of the gateway ended this session");
    assert.equal(
      faults.length,
      options.faults ?? 0,
      `sessions that failed inside: ${JSON.stringify(faults)}`,
    );
    assert.equal(engine.seats, 0, "seats are held by nobody");
    assert.equal(live.size, 0, "sessions live that have ended");
  });

  const accounts = (): LogLine[] => log.filter((line) => line["msg"] === "session");
  const open = async (more: Partial<ConversationOptions> = {}): Promise<Conversation> => {
    const client = await connect({ port: listener.port, timeoutMs: 5_000, ...more });
    clients.push(client);
    return client;
  };
  return {
    port: listener.port,
    live,
    policy,
    log,
    accounts,
    closed: (count) =>
      eventually(
        () => `${count} closed sessions; the log says ${JSON.stringify(log)}`,
        () => (accounts().length >= count ? accounts() : undefined),
        { timeoutMs: 8_000, everyMs: 5 },
      ),
    refusals: () => log.filter((line) => line["msg"] === "refused").map((line) => String(line["kind"])),
    metrics: () => metrics.snapshot().then((snapshot) => exposeSum([snapshot])),
    connect: open,
    async greeted(more) {
      const client = await open(more);
      await client.expect("* OK [CAPABILITY IMAP4rev1 ");
      return client;
    },
  };
}

/** The engine, with some of its answers a test's own. */
function overlay(engine: Policy, own: Partial<Policy>): Policy {
  return new Proxy(engine, {
    get(target, key) {
      const value: unknown = Reflect.get(key in own ? own : target, key, key in own ? own : target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

function knownUsers(users: Readonly<Record<string, string>>): Rooms["auth"]["authenticate"] {
  return async ({ authcid, password }) => {
    if (users[authcid] === password) return { user: authcid };
    throw new Refused("badCredential", "wrong");
  };
}

/** Authentication that says no in any way there is. */
export function refusing(kind: Refusal["kind"], detail = "for a test"): Rooms["auth"]["authenticate"] {
  return async () => {
    throw new Refused(kind, detail);
  };
}

export const base64 = (text: string): string => Buffer.from(text, "utf8").toString("base64");
