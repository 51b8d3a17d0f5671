import { Refused } from "../refusal.ts";
import { amountOf } from "./amount.ts";
import { inOrder, type KeyPart, limitKey, type Subject, showKey } from "./limit-key.ts";
import { Match, type Matching } from "./match.ts";
import { inTime } from "./period.ts";
import type { Bucket, Count, Sentence } from "./store/store.ts";

/** One limit as configured; durations in milliseconds, sizes in bytes. */
export interface Limit {
  readonly name: string;
  readonly count:
    | "connections"
    | "logins"
    | "authFailures"
    | "sessions"
    | "messages"
    | "recipients"
    | "refusedRecipients"
    | "networks"
    | "bytesIn"
    | "bytesOut";
  readonly per: readonly KeyPart[];
  readonly limit: { readonly points: number; readonly windowMs?: number };
  readonly match: Matching;
  readonly mode?: "enforce" | "observe";
  readonly then: Consequence;
}

type Consequence =
  | "refuse"
  /** Tells somebody, and does nothing else. */
  | "alert"
  | { readonly delay: number }
  | { readonly ban: number; readonly upTo?: number }
  /** Bytes a second. */
  | { readonly throttle: number };

/** What a limit does to whoever is beyond it. */
export type Deed = "refuse" | "delay" | "ban" | "throttle" | "alert" | "observe";
/** What it would do if it were enforced. */
export type Would = Exclude<Deed, "observe">;
/** Everything that is counted of a limit: how often it did what, and how often nothing. */
export type LimitAnswer =
  | "allowed"
  | "refused"
  | "delayed"
  | "banned"
  | "throttled"
  | "alerted"
  | "wouldRefuse";

/** What ends by itself, and may be counted as it is open. */
const AT_ONCE: ReadonlySet<Limit["count"]> = new Set(["connections", "sessions"]);
/** None at all needs no period, but who is only observed has to be counted in some. */
const MOMENT = 60_000;

/** A limit at work. */
export class Rule {
  readonly name: string;
  readonly count: Limit["count"];
  readonly per: readonly KeyPart[];
  readonly deed: Deed;
  readonly would: Would;
  /** Only counted, because it is observed, or because it alerts, delays or slows down. */
  readonly soft: boolean;
  readonly delayMs: number;
  /** Bytes a second, where the limit slows down. */
  readonly rate: number;
  /** Guesses at a name from wherever they come. */
  readonly ofName: boolean;
  readonly points: number;
  readonly windowMs: number | undefined;
  /** How often each answer was given. */
  readonly answers = new Map<LimitAnswer, number>();
  readonly #ban: Omit<Sentence, "key"> | undefined;
  readonly #match: Match;

  constructor(limit: Limit, mode: "enforce" | "observe") {
    const { name, count, match, then } = limit;
    const observed = mode === "observe" || limit.mode === "observe";
    this.name = name;
    this.count = count;
    this.per = inOrder(limit.per);
    const { deed, delay = 0, throttle, ban, upTo } = consequence(then);
    // An alert is all that observing could be.
    this.would = deed;
    this.deed = observed && deed !== "alert" ? "observe" : deed;
    this.soft = this.deed !== "refuse" && this.deed !== "ban";
    this.delayMs = delay;
    this.rate = throttle ?? Number.POSITIVE_INFINITY;
    this.points = limit.limit.points;
    // None at all is none from known networks too.
    this.ofName =
      this.points > 0 && count === "authFailures" && !this.per.includes("ip") && this.per.some(isOfName);
    this.windowMs = limit.limit.windowMs ?? (this.points === 0 && !AT_ONCE.has(count) ? MOMENT : undefined);
    if (this.deed === "ban" && ban !== undefined) {
      const upToMs = upTo === undefined ? {} : { upToMs: upTo };
      this.#ban = { by: name, ms: ban, ...upToMs, ...(this.ofName && { sparesKnown: true }) };
    }
    this.#match = new Match(match);
  }

  get bans(): boolean {
    return this.#ban !== undefined;
  }

  /** The limit's key by itself, which is what a ban is for; undefined while a part of it is not known. */
  whom(subject: Subject): string | undefined {
    return limitKey(this.per, subject);
  }

  /** Whether it counts what this subject does; what nobody has asked about fits. */
  concerns(subject: Subject): boolean {
    return this.#match.fits(subject);
  }

  /** Where so many points are counted; `ip`: the client's, where it is counted how many there are. */
  bucketOf(whom: string, cost: number, ip?: string): Bucket {
    const { points, windowMs, soft, ofName } = this;
    const key = this.counterKey(whom);
    const ban = this.#ban && { ...this.#ban, key: whom };
    const rest = {
      ...(windowMs !== undefined && { windowMs }),
      ...(ban && { ban }),
      ...(ofName && { ofName }),
      // Where nobody asks about an address, as one that was not counted.
      ...(this.count === "networks" && { distinct: ip ?? "" }),
    };
    return { key, points, soft, cost, ...rest };
  }

  counterKey(whom: string): string {
    return `${this.name}\u0000${whom}`;
  }

  heard(answer: LimitAnswer): void {
    this.answers.set(answer, (this.answers.get(answer) ?? 0) + 1);
  }

  /** For the log: `limit guesses: 10 of 10 in 10m for ip=203.0.113.5`. */
  describe(whom: string, { taken }: Pick<Count, "taken">): string {
    if (this.points === 0) return `limit ${this.name}: none at all for ${showKey(whom)}`;
    const time = this.windowMs === undefined ? "at once" : `in ${inTime(this.windowMs)}`;
    const amount = amountOf(this.count);
    return `limit ${this.name}: ${amount(taken)} of ${amount(this.points)} ${time} for ${showKey(whom)}`;
  }

  refusal(whom: string, count: Count): Refused {
    if (this.points === 0) return new Refused("forbidden", this.describe(whom, count));
    const kind = this.windowMs === undefined ? "tooManySessions" : "tooFast";
    const { leftMs } = count;
    return new Refused(
      kind,
      this.describe(whom, count),
      leftMs === undefined ? {} : { retryAfterMs: Math.ceil(leftMs) },
    );
  }
}

function isOfName(part: KeyPart): boolean {
  return part === "user" || part === "domain";
}

interface Told {
  readonly deed: Would;
  readonly delay?: number;
  readonly throttle?: number;
  readonly ban?: number;
  readonly upTo?: number;
}

function consequence(then: Consequence): Told {
  if (typeof then === "string") return { deed: then };
  if ("delay" in then) return { deed: "delay", ...then };
  return "ban" in then ? { deed: "ban", ...then } : { deed: "throttle", ...then };
}
