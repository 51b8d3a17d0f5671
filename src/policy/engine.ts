import { BlockList, isIPv6 } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { Refused } from "../refusal.ts";
import { type Facts, type KeyPart, limitKey, showKey } from "./limit-key.ts";
import type { Bucket, CounterStore, Receipt } from "./store/store.ts";

/** One limit as configured; durations in milliseconds. */
export interface Limit {
  readonly name: string;
  readonly count: "connections" | "authFailures" | "sessions";
  readonly per: readonly KeyPart[];
  readonly limit: { readonly points: number; readonly windowMs?: number };
  readonly match: { readonly protocol?: readonly string[]; readonly listener?: readonly string[] };
  readonly mode?: "enforce" | "observe";
  readonly then: "refuse" | { readonly delay: number } | { readonly ban: number };
}

export interface PolicyOptions {
  readonly limits: readonly Limit[];
  readonly mode: "enforce" | "observe";
  /** Addresses and networks (CIDR) that are never limited and never banned. */
  readonly exempt: readonly string[];
  readonly ipv6Prefix: number;
  readonly store: CounterStore;
  /** Hears what a limit in observe mode would have done, and of each ban. */
  readonly observer: {
    wouldRefuse(limit: string, key: string): void;
    banned(limit: string, key: string, ms: number): void;
  };
}

/** The engine's three asking points. Each resolves to something to give back, or rejects with Refused. */
export interface Policy {
  /** May this peer speak at all? Asked before the greeting. */
  connection(facts: Facts): Promise<AsyncDisposable>;
  /** May this peer try a password for this name? Asked before anybody looks at it. */
  attempt(facts: Facts, signal?: AbortSignal): Promise<Attempt>;
  /** May this user, now known, enter? */
  login(facts: Facts): Promise<AsyncDisposable>;
  /** Seats held now. */
  readonly seats: number;
}

export interface Attempt {
  settle<T>(answer: Promise<T>): Promise<T>;
}

/** A limit with what the engine needs to know of it at every asking. */
interface Rule extends Limit {
  readonly soft: boolean;
  readonly banMs: number | undefined;
  readonly delayMs: number;
}

interface Asked {
  readonly receipts: readonly Receipt[];
  readonly delayMs: number;
}

const NOTHING: Asked = { receipts: [], delayMs: 0 };
const NO_LEASE: AsyncDisposable = { async [Symbol.asyncDispose]() {} };
const NO_ATTEMPT: Attempt = { settle: (answer) => answer };

/** Puts the limits behind the asking points. */
export function createPolicy(options: PolicyOptions): Policy {
  const { store, observer } = options;
  const exempt = blockList(options.exempt);
  const rules = options.limits.map((limit) => toRule(limit, options.mode));
  const byBucket = new WeakMap<Bucket, Rule>();
  let seats = 0;

  const keyOf = (rule: Rule, facts: Facts): string | undefined =>
    limitKey(rule.per, facts, options.ipv6Prefix);

  const bucketsFor = (count: Limit["count"], facts: Facts): Bucket[] =>
    rules.flatMap((rule) => {
      const key = rule.count === count && applies(rule, facts) ? keyOf(rule, facts) : undefined;
      if (key === undefined) return [];
      const bucket = { key: `${rule.name}\u0000${key}`, soft: rule.soft, ...rule.limit };
      byBucket.set(bucket, rule);
      return [bucket];
    });

  /** A ban holds wherever its key is met, whatever the limit that led to it matches. */
  const banKeys = (facts: Facts): string[] =>
    rules.flatMap((rule) => (rule.banMs === undefined ? [] : (keyOf(rule, facts) ?? [])));

  const punish = async (buckets: readonly Bucket[], facts: Facts): Promise<void> => {
    for (const bucket of buckets) {
      const rule = byBucket.get(bucket);
      const key = rule && keyOf(rule, facts);
      if (rule?.banMs === undefined || key === undefined) continue;
      await store.ban(key, rule.banMs);
      observer.banned(rule.name, showKey(key), rule.banMs);
    }
  };

  const ask = async (count: Limit["count"], facts: Facts): Promise<Asked> => {
    if (rules.length === 0 || isListed(exempt, facts.ip)) return NOTHING;
    const answer = await store.take(banKeys(facts), bucketsFor(count, facts));
    if ("leftMs" in answer) {
      throw new Refused("banned", `banned: ${showKey(answer.key)}`, {
        retryAfterMs: Math.ceil(answer.leftMs),
      });
    }
    const hit = answer.over.flatMap((bucket) => byBucket.get(bucket) ?? []);
    if (answer.receipts.length === 0 && hit[0]) {
      // A guess that is still undecided bans nobody: it may turn out right.
      if (count !== "authFailures") await punish(answer.over, facts);
      throw refusedBy(hit[0], keyOf(hit[0], facts) ?? "", answer.retryAfterMs);
    }
    for (const rule of hit) {
      if (rule.delayMs === 0) observer.wouldRefuse(rule.name, showKey(keyOf(rule, facts) ?? ""));
    }
    return { receipts: answer.receipts, delayMs: Math.max(0, ...hit.map((rule) => rule.delayMs)) };
  };

  const lease = (receipts: readonly Receipt[]): AsyncDisposable => {
    const held = receipts.filter(({ bucket }) => bucket.windowMs === undefined);
    if (held.length === 0) return NO_LEASE;
    seats += held.length;
    let released = false;
    return {
      async [Symbol.asyncDispose]() {
        if (released) return;
        released = true;
        seats -= held.length;
        await store.giveBack(held);
      },
    };
  };

  const seat = async (count: "connections" | "sessions", facts: Facts): Promise<AsyncDisposable> => {
    const { receipts, delayMs } = await ask(count, facts);
    const held = lease(receipts);
    await pause(delayMs);
    return held;
  };

  return {
    connection: (facts) => seat("connections", facts),
    login: (facts) => seat("sessions", facts),
    async attempt(facts, signal) {
      const { receipts, delayMs } = await ask("authFailures", facts);
      await pause(delayMs, signal);
      if (receipts.length === 0) return NO_ATTEMPT;
      return {
        async settle(answer) {
          try {
            const settled = await answer;
            await store.giveBack(receipts);
            return settled;
          } catch (error) {
            const guessed = error instanceof Refused && error.refusal.kind === "badCredential";
            if (guessed) await punish(await store.keep(receipts), facts);
            else await store.giveBack(receipts);
            throw error;
          }
        },
      };
    },
    get seats() {
      return seats;
    },
  };
}

function toRule(limit: Limit, mode: "enforce" | "observe"): Rule {
  const observed = (limit.mode ?? mode) === "observe" || mode === "observe";
  const { then } = limit;
  const delayMs = !observed && typeof then === "object" && "delay" in then ? then.delay : 0;
  const banMs = !observed && typeof then === "object" && "ban" in then ? then.ban : undefined;
  return { ...limit, soft: observed || delayMs > 0, banMs, delayMs };
}

function applies({ match }: Rule, facts: Facts): boolean {
  return (
    (match.protocol?.includes(facts.protocol) ?? true) && (match.listener?.includes(facts.listener) ?? true)
  );
}

function refusedBy(rule: Rule, key: string, retryAfterMs: number | undefined): Refused {
  const kind = rule.limit.windowMs === undefined ? "tooManySessions" : "tooFast";
  const detail = `limit ${rule.name} of ${rule.limit.points} reached for ${showKey(key)}`;
  return new Refused(
    kind,
    detail,
    retryAfterMs === undefined ? {} : { retryAfterMs: Math.ceil(retryAfterMs) },
  );
}

/** A tarpit costs a timer, not a worker; a client that leaves ends it. */
async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  if (ms > 0) await delay(ms, undefined, { ref: false, ...(signal && { signal }) }).catch(() => {});
}

function blockList(networks: readonly string[]): BlockList {
  const list = new BlockList();
  for (const network of networks) {
    const [address = "", prefix] = network.split("/");
    const family = isIPv6(address) ? "ipv6" : "ipv4";
    if (prefix === undefined) list.addAddress(address, family);
    else list.addSubnet(address, Number(prefix), family);
  }
  return list;
}

function isListed(list: BlockList, address: string): boolean {
  return list.check(address, isIPv6(address) ? "ipv6" : "ipv4");
}
