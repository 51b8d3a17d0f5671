import { AggregatorRegistry, type MetricObjectWithValues, type MetricValue, Registry } from "prom-client";

/** All metrics of one process with their values, as plain data that crosses to another process. */
export type Snapshot = readonly MetricObjectWithValues<MetricValue<string>>[];

/** What Prometheus calls the form of `exposeSum`. */
export const METRICS_TYPE = Registry.PROMETHEUS_CONTENT_TYPE;

/**
 * The text that Prometheus reads, summed over all processes. What is never summed, as the time of a start, is
 * that of the first.
 */
export function exposeSum(snapshots: readonly Snapshot[]): Promise<string> {
  const [first = [], ...others] = snapshots;
  const own = first.map((metric) => (metric.aggregator === "omit" ? FIRST(metric) : metric));
  return sum([own, ...others]).metrics();
}

/** What stays of processes that are gone: what they counted, and nothing that only was so at a time. */
export class Retained {
  #snapshot: Snapshot = [];

  get snapshot(): Snapshot {
    return this.#snapshot;
  }

  async add(gone: Snapshot): Promise<void> {
    const counted = gone.filter(({ type }) => COUNTING.has(String(type)));
    this.#snapshot = (await sum([this.#snapshot, counted]).getMetricsAsJSON()) as Snapshot;
  }
}

/** A type's name, or its place in the library's enumeration. */
const COUNTING: ReadonlySet<string> = new Set(["counter", "histogram"]);

function FIRST(metric: Snapshot[number]): Snapshot[number] {
  return { ...metric, aggregator: "first" };
}

function sum(snapshots: readonly Snapshot[]): Registry {
  return AggregatorRegistry.aggregate(snapshots as unknown as object[]);
}
