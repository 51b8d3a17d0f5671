import type { Refused } from "../refusal.ts";
import type { Limit, Rule } from "./limit.ts";
import { type Facts, type Subject, showKey } from "./limit-key.ts";
import type { PolicyObserver } from "./observer.ts";
import type { Bucket, Count, CounterStore, Imposed, Taken } from "./store/store.ts";

/** Bytes that a session has moved lately, from (in) and to (out) its client. */
export interface Traffic {
  readonly facts: Facts;
  readonly in: number;
  readonly out: number;
}

/** Bytes a second. */
export interface Rates {
  readonly in?: number;
  readonly out?: number;
}

/** What is to become of a session that has moved so much. */
export interface TrafficVerdict {
  readonly refused?: Refused;
  /** How fast it may be from now on, where a limit slows it down. */
  readonly rates?: Rates;
}

/** The same, of whoever is counted; undefined for who is not. */
export interface SubjectTraffic {
  readonly subject: Subject | undefined;
  readonly in: number;
  readonly out: number;
}

/** What all sessions of one key moved together. */
interface Sum {
  readonly rule: Rule;
  readonly whom: string;
  bytes: number;
  sessions: number;
}

export function countsBytes({ count }: { readonly count: Limit["count"] }): boolean {
  return count === "bytesIn" || count === "bytesOut";
}

/** Buckets of one question: a shared store answers others in between. */
const AT_ONCE = 500;

/**
 * Counts what sessions have moved; answers session by session. Rejects when nothing of it is counted: what a store
 * without an answer leaves out later is lost, and not counted twice.
 */
export async function judgeTraffic(
  rules: readonly Rule[],
  traffic: readonly SubjectTraffic[],
  store: CounterStore,
  observer: PolicyObserver,
): Promise<{ readonly verdicts: readonly TrafficVerdict[]; readonly imposed: readonly Imposed[] }> {
  const sums = new Map<string, Sum>();
  const keys = traffic.map((moved) => addUp(rules.filter(countsBytes), moved, sums));
  const all = [...sums.values()];
  const verdicts = new Map<string, TrafficVerdict>();
  const imposed: Imposed[] = [];
  for (let at = 0; at < all.length; at += AT_ONCE) {
    const some = all.slice(at, at + AT_ONCE);
    const answer = await ask(some, store).catch((error: unknown) => {
      if (at === 0) throw error;
    });
    if (!answer) break;
    imposed.push(...answer.imposed);
    for (const [place, sum] of some.entries()) {
      const count = answer.counts[place];
      if (count?.over) verdicts.set(sum.rule.counterKey(sum.whom), verdictOf(sum, count, observer));
    }
  }
  return { verdicts: keys.map((mine) => worst(mine.flatMap((key) => verdicts.get(key) ?? []))), imposed };
}

/** They have moved already: counted they are, whatever the limit says. */
async function ask(sums: readonly Sum[], store: CounterStore): Promise<Taken | undefined> {
  const buckets = sums.map(
    ({ rule, whom, bytes }): Bucket => ({ ...rule.bucketOf(whom, bytes), soft: true }),
  );
  const answer = await store.take({ bans: [], buckets });
  return "ban" in answer ? undefined : answer;
}

/** Adds one session's bytes to every key that they count for; returns those keys. */
function addUp(
  rules: readonly Rule[],
  { subject, ...moved }: SubjectTraffic,
  sums: Map<string, Sum>,
): string[] {
  return rules.flatMap((rule) => {
    const bytes = rule.count === "bytesIn" ? moved.in : moved.out;
    const whom = subject && rule.concerns(subject) ? rule.whom(subject) : undefined;
    if (whom === undefined || bytes <= 0) return [];
    const key = rule.counterKey(whom);
    const sum = sums.get(key) ?? { rule, whom, bytes: 0, sessions: 0 };
    sum.bytes += bytes;
    sum.sessions += 1;
    sums.set(key, sum);
    return [key];
  });
}

function verdictOf({ rule, whom, sessions }: Sum, count: Count, observer: PolicyObserver): TrafficVerdict {
  if (rule.deed === "observe") {
    rule.heard("wouldRefuse");
    observer.wouldRefuse(rule.name, showKey(whom), rule.describe(whom, count), rule.would);
    return {};
  }
  if (rule.deed === "alert") {
    rule.heard("alerted");
    return {};
  }
  if (rule.deed !== "throttle") {
    rule.heard("refused");
    return { refused: rule.refusal(whom, count) };
  }
  rule.heard("throttled");
  // Those that move now share what the key may.
  const rate = rule.rate / sessions;
  return { rates: rule.count === "bytesIn" ? { in: rate } : { out: rate } };
}

/** An end is worse than any rate, and the lowest rate holds. */
function worst(verdicts: readonly TrafficVerdict[]): TrafficVerdict {
  const refused = verdicts.find((verdict) => verdict.refused);
  if (refused) return refused;
  const rates = verdicts.reduce<Rates>((slowest, verdict) => slower(slowest, verdict.rates ?? {}), {});
  return rates.in === undefined && rates.out === undefined ? {} : { rates };
}

function slower(one: Rates, other: Rates): Rates {
  const lowest = (way: "in" | "out") => Math.min(one[way] ?? Infinity, other[way] ?? Infinity);
  return {
    ...(lowest("in") < Infinity && { in: lowest("in") }),
    ...(lowest("out") < Infinity && { out: lowest("out") }),
  };
}
