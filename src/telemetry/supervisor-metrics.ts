import { Counter, Gauge, Histogram, Registry } from "prom-client";
import { collectProcessMetrics, createLimitMetrics, type Readings } from "./metrics.ts";
import type { Snapshot } from "./snapshot.ts";

/** Seconds: a store is asked for a tenth of one at most. */
const STORE_BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1];

/** What is read where it lives when Prometheus asks. */
export interface SupervisorReadings {
  workers(): number;
  waiting(): number;
  /** Events that the webhook has not taken yet. */
  events(): number;
  /** Of what is not asked by those who carry sessions. */
  readonly limitAnswers: Readings["limitAnswers"];
}

export type SupervisorMetrics = ReturnType<typeof createSupervisorMetrics>;

/** What only the supervisor knows. `alone`: the process itself is counted by those who carry sessions in it. */
export function createSupervisorMetrics(readings: SupervisorReadings, alone: boolean) {
  const registry = new Registry();
  const registers = [registry];
  if (!alone) collectProcessMetrics(registry);
  new Gauge({
    name: "postern_workers",
    help: "Worker processes that can take sessions now; 0 where one process does everything.",
    registers,
    collect() {
      this.set(readings.workers());
    },
  });
  new Gauge({
    name: "postern_connections_waiting",
    help: "Accepted connections that wait until a process has room for them.",
    registers,
    collect() {
      this.set(readings.waiting());
    },
  });
  new Gauge({
    name: "postern_webhook_waiting",
    help: "Events that wait for the webhook, or are on their way to it.",
    registers,
    collect() {
      this.set(readings.events());
    },
  });
  return {
    ...createLimitMetrics(registry, readings.limitAnswers),
    policyRequests: new Counter({
      name: "postern_policy_requests_total",
      help: "Questions of Postfix, by what it was told: dunno, deferred, banned, refused, or failed, where it was told nothing.",
      labelNames: ["answer"] as const,
      registers,
    }),
    events: new Counter({
      name: "postern_events_total",
      help: "Events of the policy: ban, unban, limit or suspected.",
      labelNames: ["kind"] as const,
      registers,
    }),
    eventsDropped: new Counter({
      name: "postern_events_dropped_total",
      help: "Events that somebody was not told of: the webhook, because its queue was full, they were old, it refused them, or the gateway stopped; the file, because it could not be written.",
      labelNames: ["to", "reason"] as const,
      registers,
    }),
    webhookRequests: new Counter({
      name: "postern_webhook_requests_total",
      help: "Requests to the webhook: ok, failed, which are tried again, or refused.",
      labelNames: ["outcome"] as const,
      registers,
    }),
    unbans: new Counter({
      name: "postern_unbans_total",
      help: "Bans that operators lifted.",
      registers,
    }),
    dropped: new Counter({
      name: "postern_connections_dropped_total",
      help: "Connections closed unserved, because nobody had room for them in time.",
      registers,
    }),
    workerDeaths: new Counter({
      name: "postern_worker_deaths_total",
      help: "Workers that ended by themselves or had to be ended, and were replaced.",
      registers,
    }),
    reloads: new Counter({
      name: "postern_reloads_total",
      help: "Reloads of the configuration: ok, or failed, where the old one stays.",
      labelNames: ["outcome"] as const,
      registers,
    }),
    acmeOrders: new Counter({
      name: "postern_acme_orders_total",
      help: "Orders of certificates, by what came of them: ok or failed.",
      labelNames: ["outcome"] as const,
      registers,
    }),
    acmeFailures: new Gauge({
      name: "postern_acme_failures",
      help: "Orders of certificates that failed in a row; 0 when the last one went well.",
      registers,
    }),
    storeUp: new Gauge({
      name: "postern_store_up",
      help: "1 while policy.store answers and takes writes, as memory always does; 0 while decisions are made without it.",
      registers,
    }),
    storeCalls: new Histogram({
      name: "postern_store_call_duration_seconds",
      help: "Round trips to the Redis of policy.store.",
      labelNames: ["call"] as const,
      buckets: STORE_BUCKETS,
      registers,
    }),
    storeFailures: new Counter({
      name: "postern_store_failures_total",
      help: "Questions that the Redis of policy.store did not answer, by why.",
      labelNames: ["kind"] as const,
      registers,
    }),
    snapshot: (): Promise<Snapshot> => registry.getMetricsAsJSON() as Promise<Snapshot>,
  };
}
