import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import { countedOf, type Snapshot } from "./snapshot.ts";

/** Seconds; from a password check in the cache to a backend that makes one wait. */
const STAGE_BUCKETS = [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60];

/** Seconds; a client waits for a hook. */
const HOOK_BUCKETS = [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10];

/** What is read where it lives when Prometheus asks, and costs nothing before. */
export interface Readings {
  openSessions(): Iterable<{ listener: string; bytes: { in: number; out: number } }>;
  seats(): number;
  certificates(): Iterable<{ name: string; expiresAt: Date }>;
  readonly limitAnswers: LimitAnswers;
  hooks(): Iterable<{ readonly name: string; readonly pending: number; readonly resting: boolean }>;
}

/** Levels that are named as counters, and are sums of others: promtool complains of them. */
const MISNAMED = [
  "nodejs_active_handles_total",
  "nodejs_active_requests_total",
  "nodejs_active_resources_total",
];

/** What Node says of a process. */
export function collectProcessMetrics(registry: Registry): void {
  collectDefaultMetrics({ register: registry });
  for (const name of MISNAMED) registry.removeSingleMetric(name);
}

/** How often each limit gave which answer. */
type LimitAnswers = () => Iterable<{ limit: string; answer: string; times: number }>;

/** Of limits, wherever they are asked: in the processes that carry sessions, and in the one above, which Postfix asks. */
export function createLimitMetrics(registry: Registry, answers: LimitAnswers) {
  const registers = [registry];
  new Counter({
    name: "postern_limit_total",
    help: "What limits answered: allowed, refused, delayed, banned, throttled, alerted or wouldRefuse.",
    labelNames: ["limit", "answer"] as const,
    registers,
    collect() {
      this.reset();
      for (const { limit, answer, times } of answers()) this.inc({ limit, answer }, times);
    },
  });
  return {
    wouldRefuse: new Counter({
      name: "postern_limit_would_refuse_total",
      help: "How often limits and rules in observe mode would have refused, delayed, banned or slowed down.",
      labelNames: ["limit"] as const,
      registers,
    }),
    bans: new Counter({
      name: "postern_bans_total",
      help: "Bans that limits led to, and those by hand, as of the limit `operator`.",
      labelNames: ["limit"] as const,
      registers,
    }),
  };
}

export type Metrics = ReturnType<typeof createMetrics>;

/** Every metric that Postern has. No label's value comes from a client. */
export function createMetrics(readings: Readings) {
  const registry = new Registry();
  const registers = [registry];
  collectProcessMetrics(registry);
  const connections = new Counter({
    name: "postern_connections_total",
    help: "Connections accepted.",
    labelNames: ["listener"] as const,
    registers,
  });
  const proxyHeaders = new Counter({
    name: "postern_proxy_headers_total",
    help: "Connections from networks that send PROXY headers, and headers from others, by what came of them.",
    labelNames: ["listener", "outcome"] as const,
    registers,
  });
  const logins = new Counter({
    name: "postern_logins_total",
    help: "Complete tries to sign in, by what came of them: ok, or the kind of refusal.",
    labelNames: ["listener", "outcome"] as const,
    registers,
  });
  const messages = new Counter({
    name: "postern_messages_total",
    help: "Messages that backends had whole: accepted, refused, or of unknown fate.",
    labelNames: ["listener", "outcome"] as const,
    registers,
  });
  const refusals = new Counter({
    name: "postern_refusals_total",
    help: "Every no that was said, by its kind.",
    labelNames: ["kind"] as const,
    registers,
  });
  const limits = createLimitMetrics(registry, readings.limitAnswers);
  const stages = new Histogram({
    name: "postern_stage_duration_seconds",
    help: "Time that sessions spent in each stage before the relay.",
    labelNames: ["stage"] as const,
    buckets: STAGE_BUCKETS,
    registers,
  });
  const failures = new Counter({
    name: "postern_session_errors_total",
    help: "Sessions that ended by a fault of the gateway itself.",
    registers,
  });
  const handshakes = new Counter({
    name: "postern_tls_handshakes_total",
    help: "TLS handshakes with clients that succeeded.",
    labelNames: ["listener", "version", "cipher", "resumed"] as const,
    registers,
  });
  const handshakeFailures = new Counter({
    name: "postern_tls_handshake_failures_total",
    help: "TLS handshakes with clients that failed, by why.",
    labelNames: ["listener", "cause"] as const,
    registers,
  });
  const hookAnswers = new Counter({
    name: "postern_hook_total",
    help: "What hooks answered: allowed, refused, delayed or wouldRefuse; or why they did not: timeout, connect, broken, tooLarge, status, malformed, busy or resting.",
    labelNames: ["hook", "answer"] as const,
    registers,
  });
  const hookDuration = new Histogram({
    name: "postern_hook_duration_seconds",
    help: "Time until a hook that was asked answered, or was given up.",
    labelNames: ["hook"] as const,
    buckets: HOOK_BUCKETS,
    registers,
  });
  const hookReports = new Counter({
    name: "postern_hook_reports_total",
    help: "Reports to hooks: sent, failed, or dropped because too many were on their way.",
    labelNames: ["hook", "outcome"] as const,
    registers,
  });
  const bytesOfClosed = new Map<string, { in: number; out: number }>();

  new Gauge({
    name: "postern_sessions_open",
    help: "Sessions that are open now.",
    labelNames: ["listener"] as const,
    registers,
    collect() {
      const counts = new Map([...bytesOfClosed.keys()].map((listener) => [listener, 0]));
      // Each worker counts all of its sessions once a second: a look-up of labels for each would be felt.
      for (const { listener } of readings.openSessions())
        counts.set(listener, (counts.get(listener) ?? 0) + 1);
      for (const [listener, count] of counts) this.set({ listener }, count);
    },
  });
  new Gauge({
    name: "postern_leases",
    help: "Seats of limits on how many at once that are held now.",
    registers,
    collect() {
      this.set(readings.seats());
    },
  });
  new Gauge({
    name: "postern_hook_pending",
    help: "Questions to hooks that wait for an answer now.",
    labelNames: ["hook"] as const,
    registers,
    collect() {
      this.reset();
      for (const { name: hook, pending } of readings.hooks()) this.inc({ hook }, pending);
    },
  });
  new Gauge({
    name: "postern_hook_resting",
    help: "Processes in which a hook is not asked for now, because it has not answered.",
    labelNames: ["hook"] as const,
    registers,
    collect() {
      this.reset();
      for (const { name: hook, resting } of readings.hooks()) this.inc({ hook }, resting ? 1 : 0);
    },
  });
  new Gauge({
    name: "postern_certificate_expiry_seconds",
    help: "Seconds until a certificate expires, below zero when it has; by the first of its names.",
    labelNames: ["certificate"] as const,
    registers,
    // All processes have the same certificates; one that has not taken the new one yet is what matters.
    aggregator: "min",
    collect() {
      this.reset();
      for (const [certificate, seconds] of soonest(readings.certificates()))
        this.set({ certificate }, seconds);
    },
  });
  new Counter({
    name: "postern_bytes_total",
    help: "Bytes from (in) and to (out) clients, without what TLS adds.",
    labelNames: ["listener", "direction"] as const,
    registers,
    collect() {
      const sums = new Map([...bytesOfClosed].map(([listener, sum]) => [listener, { ...sum }]));
      for (const { listener, bytes } of readings.openSessions()) add(sums, listener, bytes);
      this.reset();
      for (const [listener, sum] of sums) {
        this.inc({ listener, direction: "in" }, sum.in);
        this.inc({ listener, direction: "out" }, sum.out);
      }
    },
  });

  return {
    connections,
    proxyHeaders,
    logins,
    messages,
    refusals,
    ...limits,
    stages,
    failures,
    handshakes,
    handshakeFailures,
    hookAnswers,
    hookDuration,
    hookReports,
    /** Only what is counted: levels, as of handles that are open, can cost much to read. */
    counted: (): Promise<Snapshot> => countedOf(registry),
    /** All of it, for the sum over all processes. */
    snapshot: (): Promise<Snapshot> => registry.getMetricsAsJSON() as Promise<Snapshot>,
    /** Makes a listener's series visible before its first session. */
    announce(listener: string): void {
      add(bytesOfClosed, listener, { in: 0, out: 0 });
      connections.inc({ listener }, 0);
    },
    /** The same for a hook, before it is first asked. */
    announceHook: (hook: string) => hookAnswers.inc({ hook, answer: "allowed" }, 0),
    /** Keeps what a session moved when it is no longer open. */
    keepBytes: (listener: string, bytes: { in: number; out: number }) => add(bytesOfClosed, listener, bytes),
  };
}

/** Of several certificates of one name the one that ends first. */
function soonest(certificates: Iterable<{ name: string; expiresAt: Date }>): Map<string, number> {
  const seconds = new Map<string, number>();
  for (const { name, expiresAt } of certificates) {
    const left = Math.round((expiresAt.getTime() - Date.now()) / 1000);
    seconds.set(name, Math.min(left, seconds.get(name) ?? left));
  }
  return seconds;
}

function add(
  sums: Map<string, { in: number; out: number }>,
  listener: string,
  bytes: { in: number; out: number },
): void {
  const sum = sums.get(listener) ?? { in: 0, out: 0 };
  sum.in += bytes.in;
  sum.out += bytes.out;
  sums.set(listener, sum);
}
