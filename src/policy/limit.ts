import { Refused } from "../refusal.ts";
import { type Facts, type KeyPart, limitKey, showKey } from "./limit-key.ts";
import type { Bucket } from "./store/store.ts";

/** One limit as configured; durations in milliseconds. */
export interface Limit {
  readonly name: string;
  readonly count: "connections" | "authFailures" | "sessions" | "messages" | "recipients";
  readonly per: readonly KeyPart[];
  readonly limit: { readonly points: number; readonly windowMs?: number };
  readonly match: { readonly protocol?: readonly string[]; readonly listener?: readonly string[] };
  readonly mode?: "enforce" | "observe";
  readonly then: "refuse" | { readonly delay: number } | { readonly ban: number };
}

/** A bucket that knows which limit it counts for, and whom. */
export interface LimitBucket extends Bucket {
  readonly rule: Rule;
  /** The limit's key by itself: what a ban is for. */
  readonly whom: string;
}

/** A limit at work. */
export class Rule {
  readonly name: string;
  readonly count: Limit["count"];
  /** Only counted, because it is observed or because it delays. */
  readonly soft: boolean;
  readonly observed: boolean;
  /** Undefined where the limit bans nobody. */
  readonly banMs: number | undefined;
  readonly delayMs: number;
  readonly #limit: Limit;
  readonly #ipv6Prefix: number;

  constructor(limit: Limit, mode: "enforce" | "observe", ipv6Prefix: number) {
    const { then } = limit;
    this.name = limit.name;
    this.count = limit.count;
    this.observed = mode === "observe" || limit.mode === "observe";
    this.delayMs = !this.observed && typeof then === "object" && "delay" in then ? then.delay : 0;
    this.banMs = !this.observed && typeof then === "object" && "ban" in then ? then.ban : undefined;
    this.soft = this.observed || this.delayMs > 0;
    this.#limit = limit;
    this.#ipv6Prefix = ipv6Prefix;
  }

  /** Whom these facts are about, for this limit; undefined while a part of that is not known. */
  whom(facts: Facts): string | undefined {
    return limitKey(this.#limit.per, facts, this.#ipv6Prefix);
  }

  /** What to count for these facts, if this limit is about them. */
  bucket(facts: Facts): LimitBucket | undefined {
    const { match, limit } = this.#limit;
    if (match.protocol && !match.protocol.includes(facts.protocol)) return undefined;
    if (match.listener && !match.listener.includes(facts.listener)) return undefined;
    const whom = this.whom(facts);
    return whom === undefined
      ? undefined
      : { key: `${this.name}\u0000${whom}`, soft: this.soft, rule: this, whom, ...limit };
  }

  refusal(whom: string, retryAfterMs: number | undefined): Refused {
    const { points, windowMs } = this.#limit.limit;
    const kind = windowMs === undefined ? "tooManySessions" : "tooFast";
    const detail = `limit ${this.name} of ${points} reached for ${showKey(whom)}`;
    return new Refused(
      kind,
      detail,
      retryAfterMs === undefined ? {} : { retryAfterMs: Math.ceil(retryAfterMs) },
    );
  }
}
