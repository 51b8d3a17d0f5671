import { setTimeout as delay } from "node:timers/promises";
import { Refused } from "../refusal.ts";
import { Networks } from "../wire/networks.ts";
import { type Limit, type LimitBucket, Rule } from "./limit.ts";
import { type Facts, showKey } from "./limit-key.ts";
import type { CounterStore, Receipt } from "./store/store.ts";

export type { Limit } from "./limit.ts";

export interface PolicyOptions {
  readonly limits: readonly Limit[];
  readonly mode: "enforce" | "observe";
  /** Addresses and networks (CIDR) that are never limited and never banned. */
  readonly exempt: readonly string[];
  readonly ipv6Prefix: number;
  readonly store: CounterStore;
  readonly observer: PolicyObserver;
}

/** Hears what a limit in observe mode would have done, and of each ban. */
export interface PolicyObserver {
  wouldRefuse(limit: string, key: string): void;
  banned(limit: string, key: string, ms: number): void;
}

/** The engine's asking points. Each rejects with Refused, or resolves to what is to be given back. */
export interface Policy {
  /** May this peer speak at all? Asked before the greeting. */
  connection(facts: Facts, signal?: AbortSignal): Promise<AsyncDisposable>;
  /** May this peer try a password for this name? Asked before anybody looks at it. */
  attempt(facts: Facts, signal?: AbortSignal): Promise<Attempt>;
  /** May this user, now known, enter? */
  login(facts: Facts, signal?: AbortSignal): Promise<AsyncDisposable>;
  /** May this session begin one more message? */
  message(facts: Facts): Promise<void>;
  /** May it name one more recipient? */
  recipient(facts: Facts): Promise<void>;
  /** Seats held now. */
  readonly seats: number;
}

/** One try at a password, counted before it is looked at. */
export interface Attempt {
  /** Waits for the answer; only a wrong password stays counted, an outage or a success is given back. */
  settle<T>(answer: Promise<T>): Promise<T>;
}

type LimitReceipt = Receipt<LimitBucket>;

interface Admitted {
  readonly receipts: readonly LimitReceipt[];
  readonly delayMs: number;
}

const NO_LEASE: AsyncDisposable = { async [Symbol.asyncDispose]() {} };
const NO_ATTEMPT: Attempt = { settle: (answer) => answer };

/** Puts the limits behind the asking points. */
export function createPolicy(options: PolicyOptions): Policy {
  return new Engine(options);
}

class Engine implements Policy {
  readonly #rules: readonly Rule[];
  readonly #banning: readonly Rule[];
  readonly #exempt: Networks;
  readonly #store: CounterStore;
  readonly #observer: PolicyObserver;
  #seats = 0;

  constructor({ limits, mode, exempt, ipv6Prefix, store, observer }: PolicyOptions) {
    this.#rules = limits.map((limit) => new Rule(limit, mode, ipv6Prefix));
    this.#banning = this.#rules.filter((rule) => rule.banMs !== undefined);
    this.#exempt = new Networks(exempt);
    this.#store = store;
    this.#observer = observer;
  }

  get seats(): number {
    return this.#seats;
  }

  connection(facts: Facts, signal?: AbortSignal): Promise<AsyncDisposable> {
    return this.#seat("connections", facts, signal);
  }

  login(facts: Facts, signal?: AbortSignal): Promise<AsyncDisposable> {
    return this.#seat("sessions", facts, signal);
  }

  message(facts: Facts): Promise<void> {
    return this.#count("messages", facts);
  }

  recipient(facts: Facts): Promise<void> {
    return this.#count("recipients", facts);
  }

  async attempt(facts: Facts, signal?: AbortSignal): Promise<Attempt> {
    const { receipts, delayMs } = await this.#admit("authFailures", facts);
    await pause(delayMs, signal);
    if (receipts.length === 0) return NO_ATTEMPT;
    return { settle: (answer) => this.#settle(answer, receipts) };
  }

  async #count(count: "messages" | "recipients", facts: Facts): Promise<void> {
    await pause((await this.#admit(count, facts)).delayMs);
  }

  async #seat(
    count: "connections" | "sessions",
    facts: Facts,
    signal: AbortSignal | undefined,
  ): Promise<AsyncDisposable> {
    const { receipts, delayMs } = await this.#admit(count, facts);
    const lease = this.#lease(receipts.filter(({ bucket }) => bucket.windowMs === undefined));
    await pause(delayMs, signal);
    return lease;
  }

  /** One asking: bans first, then one point from each bucket, or from none. */
  async #admit(count: Limit["count"], facts: Facts): Promise<Admitted> {
    if (this.#exempt.vouchFor(facts.ip, facts.claimed)) return { receipts: [], delayMs: 0 };
    // A ban holds wherever its key is met, whatever the limit that led to it matches.
    const bans = this.#banning.flatMap((rule) => rule.whom(facts) ?? []);
    const buckets = this.#rules.flatMap((rule) => (rule.count === count ? (rule.bucket(facts) ?? []) : []));
    const answer = await this.#store.take(bans, buckets);
    if ("leftMs" in answer) {
      throw new Refused("banned", `banned: ${showKey(answer.key)}`, {
        retryAfterMs: Math.ceil(answer.leftMs),
      });
    }
    const { receipts, over, retryAfterMs } = answer;
    const full = over.find((bucket) => !bucket.soft);
    if (full) {
      // A guess that is still undecided bans nobody: it may turn out right.
      if (count !== "authFailures") await this.#ban(over);
      throw full.rule.refusal(full.whom, retryAfterMs);
    }
    for (const { rule, whom } of over) {
      if (rule.observed) this.#observer.wouldRefuse(rule.name, showKey(whom));
    }
    return { receipts, delayMs: Math.max(0, ...over.map(({ rule }) => rule.delayMs)) };
  }

  #lease(held: readonly LimitReceipt[]): AsyncDisposable {
    if (held.length === 0) return NO_LEASE;
    this.#seats += held.length;
    let released = false;
    return {
      [Symbol.asyncDispose]: async () => {
        if (released) return;
        released = true;
        this.#seats -= held.length;
        await this.#store.giveBack(held);
      },
    };
  }

  async #settle<T>(answer: Promise<T>, receipts: readonly LimitReceipt[]): Promise<T> {
    try {
      const settled = await answer;
      await this.#store.giveBack(receipts);
      return settled;
    } catch (error) {
      const guessed = error instanceof Refused && error.refusal.kind === "badCredential";
      if (guessed) await this.#ban(await this.#store.keep(receipts));
      else await this.#store.giveBack(receipts);
      throw error;
    }
  }

  async #ban(buckets: readonly LimitBucket[]): Promise<void> {
    for (const { rule, whom } of buckets) {
      if (rule.banMs === undefined) continue;
      await this.#store.ban(whom, rule.banMs);
      this.#observer.banned(rule.name, showKey(whom), rule.banMs);
    }
  }
}

/** A tarpit costs a timer, not a worker; a client that leaves ends it. */
async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  if (ms > 0) await delay(ms, undefined, { ref: false, ...(signal && { signal }) }).catch(() => {});
}
