import {
  AggregatorRegistry,
  Counter,
  Histogram,
  type MetricObjectWithValues,
  type MetricValue,
  Registry,
} from "prom-client";

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
  const own = first.map((metric) => (metric.aggregator === "omit" ? ofThisProcess(metric) : metric));
  return sum([own, ...others]).metrics();
}

/** What a registry has counted, without what only is so now. */
export function countedOf(registry: Registry): Promise<Snapshot> {
  const counting = registry
    .getMetricsAsArray()
    .filter((metric) => metric instanceof Counter || metric instanceof Histogram);
  return Promise.all(counting.map((metric) => metric.get())) as Promise<Snapshot>;
}

/** A newer count beside the levels that were read last. */
export function withLevels(counted: Snapshot, before: Snapshot): Snapshot {
  return [...counted, ...before.filter(({ type }) => !COUNTING.has(String(type)))];
}

/** Adds what a process that is gone has counted; what only was so at a time is gone with it. */
export async function retain(retained: Snapshot, gone: Snapshot): Promise<Snapshot> {
  const counted = gone.filter(({ type }) => COUNTING.has(String(type)));
  return (await sum([retained, counted]).getMetricsAsJSON()) as Snapshot;
}

const COUNTING: ReadonlySet<string> = new Set(["counter", "histogram"]);

function ofThisProcess(metric: Snapshot[number]): Snapshot[number] {
  return { ...metric, aggregator: "first" };
}

function sum(snapshots: readonly Snapshot[]): Registry {
  return AggregatorRegistry.aggregate(snapshots as unknown as object[]);
}
