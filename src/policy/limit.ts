import { Refused } from "../refusal.ts";
import { Networks } from "../wire/networks.ts";
import { canonical, inOrder, type KeyPart, limitKey, type Subject, showKey } from "./limit-key.ts";
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
  readonly match: Match;
  readonly mode?: "enforce" | "observe";
  readonly then: Consequence;
}

/** All that is given must fit. */
interface Match {
  readonly protocol?: readonly string[];
  readonly listener?: readonly string[];
  readonly network?: readonly string[];
  readonly user?: readonly string[];
  readonly domain?: readonly string[];
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
/** Everything that is counted of a limit: how often it did what, and how often nothing. */
export type LimitAnswer =
  | "allowed"
  | "refused"
  | "delayed"
  | "banned"
  | "throttled"
  | "alerted"
  | "wouldRefuse";

/** A limit at work. */
export class Rule {
  readonly name: string;
  readonly count: Limit["count"];
  readonly per: readonly KeyPart[];
  readonly deed: Deed;
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
  readonly #networks: Networks | undefined;
  readonly #names: { readonly user?: ReadonlySet<string>; readonly domain?: ReadonlySet<string> };

  constructor(limit: Limit, mode: "enforce" | "observe") {
    const { name, count, match, then } = limit;
    const observed = mode === "observe" || limit.mode === "observe";
    this.name = name;
    this.count = count;
    this.per = inOrder(limit.per);
    const { deed, delay = 0, throttle, ban, upTo } = consequence(then);
    // An alert is all that observing could be.
    this.deed = observed && deed !== "alert" ? "observe" : deed;
    this.soft = this.deed !== "refuse" && this.deed !== "ban";
    this.delayMs = delay;
    this.rate = throttle ?? Number.POSITIVE_INFINITY;
    this.ofName = count === "authFailures" && !this.per.includes("ip") && this.per.some(isOfName);
    this.points = limit.limit.points;
    this.windowMs = limit.limit.windowMs;
    if (this.deed === "ban" && ban !== undefined) {
      const upToMs = upTo === undefined ? {} : { upToMs: upTo };
      this.#ban = { by: name, ms: ban, ...upToMs, ...(this.ofName && { sparesKnown: true }) };
    }
    this.#match = match;
    this.#networks = match.network && new Networks(match.network);
    this.#names = {
      ...(match.user && { user: new Set(match.user.map(canonical)) }),
      ...(match.domain && { domain: new Set(match.domain.map(canonical)) }),
    };
  }

  get bans(): boolean {
    return this.#ban !== undefined;
  }

  /** The limit's key by itself, which is what a ban is for; undefined while a part of it is not known. */
  whom(subject: Subject): string | undefined {
    return limitKey(this.per, subject);
  }

  /** Whether it counts what this subject does; what nobody has asked about fits. */
  concerns({ address, listener, protocol, user, domain }: Subject): boolean {
    const { protocol: protocols, listener: listeners } = this.#match;
    if (protocols && protocol !== undefined && !protocols.includes(protocol)) return false;
    if (listeners && listener !== undefined && !listeners.includes(listener)) return false;
    const { user: users, domain: domains } = this.#names;
    if (users && !(user !== undefined && users.has(user))) return false;
    if (domains && !(domain !== undefined && domains.has(domain))) return false;
    return address === undefined || (this.#networks?.contains(address) ?? true);
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
      ...(this.count === "networks" && ip !== undefined && { distinct: ip }),
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
    const time = this.windowMs === undefined ? "at once" : `in ${inTime(this.windowMs)}`;
    return `limit ${this.name}: ${taken} of ${this.points} ${time} for ${showKey(whom)}`;
  }

  refusal(whom: string, count: Count): Refused {
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
  readonly deed: Deed;
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
