import type { Logger } from "./logger.ts";
import type { Metrics } from "./metrics.ts";

/** What came of the place where a PROXY header belongs; the values of a metric's label. */
export type HeaderOutcome =
  | "proxied"
  /** It does not say for whom: the proxy's own address is taken. */
  | "unknown"
  /** The proxy itself, such as its health check. */
  | "local"
  | "malformed"
  | "late"
  | "absent"
  /** It closed without a byte. */
  | "left"
  /** From an address that may not send one. */
  | "stray"
  | "second";

/** What most likely is wrong, for those outcomes where something is. */
const LIKELY: Readonly<Partial<Record<HeaderOutcome, string>>> = {
  malformed: "the proxy does not speak the PROXY protocol, version 1 or 2, as its specification has it",
  late:
    "a load balancer that sends its header only once the client speaks, which a mail client does not before it is " +
    "greeted (AWS NLB does so), or clients that connect from this network without a proxy",
  absent:
    "clients that connect from this network without a proxy, or a proxy that is not told to send a header",
  stray:
    "a proxy whose network is not in this listener's proxyProtocol.from, or a client that pretends to be one",
  second: "two proxies in a row that both add a header, or a client that pretends to be a proxy",
};

/** How often one listener may complain of one thing, in milliseconds. */
const EVERY = 60_000;

export type HeaderReports = (listener: string, outcome: HeaderOutcome, from: string) => void;

/** Counts every outcome, and says of each listener's troubles what is likely behind them, once a minute. */
export function createHeaderReports(
  log: Logger,
  metrics: Metrics,
  now = () => performance.now(),
): HeaderReports {
  const said = new Map<string, { at: number; unsaid: number }>();
  return (listener, outcome, from) => {
    metrics.proxyHeaders.inc({ listener, outcome });
    const likely = LIKELY[outcome];
    if (likely === undefined) return;
    const key = `${listener} ${outcome}`;
    const last = said.get(key);
    if (last && now() - last.at < EVERY) {
      last.unsaid += 1;
      return;
    }
    said.set(key, { at: now(), unsaid: 0 });
    const more = last && last.unsaid > 0 ? { sinceThen: last.unsaid } : {};
    log.warn({ listener, from, outcome, likely, ...more }, "no usable PROXY header");
  };
}
