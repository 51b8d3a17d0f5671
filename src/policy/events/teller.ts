import { type Limit, Rule } from "../limit.ts";
import { OPERATOR } from "../refusals.ts";
import type { Bucket, Count, Imposed, Outcome, Question, Receipt, Taken, Visitor } from "../store/store.ts";
import type { StoreWatcher } from "../store/watched.ts";
import { newEvent, type PolicyEvent } from "./event.ts";

/** Keys whose limit was told; beyond that the first of them may be told again. */
const TOLD = 10_000;
/** Of a limit on how many at once, which has no window. */
const SEATS_QUIET_MS = 600_000;

export interface TellerPolicy {
  readonly limits: readonly Limit[];
  readonly mode: "enforce" | "observe";
}

interface Reached {
  readonly until: number;
  untold: number;
}

/** Makes events of what askings came to. */
export class Teller implements StoreWatcher {
  readonly #tell: (event: PolicyEvent) => void;
  readonly #now: () => number;
  readonly #reached = new Map<string, Reached>();
  #rules: ReadonlyMap<string, Rule> = new Map();
  #gateway = "";

  constructor(tell: (event: PolicyEvent) => void, now: () => number = () => performance.now()) {
    this.#tell = tell;
    this.#now = now;
  }

  /** What limits are called, and what they do, from now on. */
  change(gateway: string, { limits, mode }: TellerPolicy): void {
    this.#gateway = gateway;
    this.#rules = new Map(limits.map((limit) => [limit.name, new Rule(limit, mode)]));
  }

  taken({ buckets }: Question, answer: { readonly ban: unknown } | Taken): void {
    if ("ban" in answer) return;
    for (const imposed of answer.imposed) this.banned(imposed);
    for (const [at, count] of answer.counts.entries())
      if (count.over) this.#reach(buckets[at] as Bucket, count);
  }

  settled(
    _receipts: readonly Receipt[],
    _outcome: Outcome,
    _visitor: Visitor | undefined,
    imposed: readonly Imposed[],
  ): void {
    for (const one of imposed) this.banned(one);
  }

  banned({ key, by, ms, times }: Imposed): void {
    const until = new Date(Date.now() + ms).toISOString();
    this.#tell(
      newEvent(this.#gateway, key, { kind: "ban", by, seconds: Math.ceil(ms / 1000), until, times }),
    );
  }

  lifted(key: string): void {
    for (const name of this.#rules.keys()) this.#reached.delete(`${name}\u0000${key}`);
    this.#tell(newEvent(this.#gateway, key, { kind: "unban", by: OPERATOR }));
  }

  #reach({ key, points }: Bucket, { taken, leftMs = SEATS_QUIET_MS }: Count): void {
    const between = key.indexOf("\u0000");
    const rule = this.#rules.get(key.slice(0, between));
    // A ban is told as such, and a limit that is configured no more is nobody's interest.
    if (!rule || rule.deed === "ban") return;
    const before = this.#reached.get(key);
    if (before && before.until > this.#now()) {
      before.untold += 1;
      return;
    }
    this.#remember(key, this.#now() + leftMs);
    const { name: limit, count, deed, windowMs } = rule;
    this.#tell(
      newEvent(this.#gateway, key.slice(between + 1), {
        kind: deed === "alert" ? "suspected" : "limit",
        ...{ limit, count, then: deed, taken, points },
        ...(windowMs !== undefined && { windowSeconds: windowMs / 1000 }),
        untold: before?.untold ?? 0,
      }),
    );
  }

  #remember(key: string, until: number): void {
    this.#reached.delete(key);
    this.#reached.set(key, { until, untold: 0 });
    if (this.#reached.size <= TOLD) return;
    const [first] = this.#reached.keys();
    this.#reached.delete(first as string);
  }
}
