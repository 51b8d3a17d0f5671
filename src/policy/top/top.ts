import type { Limit } from "../limit.ts";
import { membersOf } from "../limit-key.ts";
import type { Ban, Outcome, Question, Receipt, Taken, Visitor } from "../store/store.ts";
import type { StoreWatcher } from "../store/watched.ts";
import { HeavyHitters, type Hitter } from "./heavy-hitters.ts";

export type TopBy = "user" | "network";

/** What is told of; sessions are those that began, `refused` is every no of a limit or a ban. */
export type TopCount = Exclude<Limit["count"], "networks"> | "refused";

/** What is forgotten at once; what is known is of one to two of these. */
const HALF_MS = 30 * 60_000;
/** Of each count. */
const PLACES = 512;
const LONGEST_NAME = 320;

/** Of each count. */
type Half = Map<string, Readonly<Record<TopBy, HeavyHitters>>>;

export interface TopList {
  readonly since: Date;
  readonly rows: readonly Hitter[];
}

/** Who does most of what, in the last hour at most, and in memory that no number of clients makes more of. */
export class Top implements StoreWatcher {
  readonly #now: () => number;
  #counts: ReadonlyMap<string, Limit["count"]> = new Map();
  #current: Half = new Map();
  #former: Half = new Map();
  #began: number;
  #formerBegan: number | undefined;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#began = now();
  }

  /** What limits count from now on. */
  change(limits: readonly Pick<Limit, "name" | "count">[]): void {
    this.#counts = new Map(limits.map(({ name, count }) => [name, count]));
  }

  /** Those with most, and since when they are counted. */
  list(by: TopBy, count: TopCount, most: number): TopList {
    this.#turn();
    const since = new Date(Date.now() - (this.#now() - (this.#formerBegan ?? this.#began)));
    const sums = new Map<string, Hitter>();
    for (const half of [this.#former, this.#current])
      for (const { key, count: times, error } of half.get(count)?.[by].all() ?? []) {
        const sum = sums.get(key);
        sums.set(key, { key, count: times + (sum?.count ?? 0), error: error + (sum?.error ?? 0) });
      }
    const rows = [...sums.values()].toSorted((one, other) => other.count - one.count);
    return { since, rows: rows.slice(0, most) };
  }

  taken({ bans, visitor, guess }: Question, answer: { readonly ban: Ban } | Taken): void {
    if ("ban" in answer || answer.refused) {
      const [, ip] = bans.find((key) => ONLY_IP.test(key))?.split("=") ?? [];
      this.#add("refused", visitor?.network ?? ip, visitor?.user, 1);
    } else if (!guess) this.#count(answer.receipts, visitor);
  }

  settled(receipts: readonly Receipt[], outcome: Outcome, visitor: Visitor | undefined): void {
    if (outcome === "wrong" || outcome === "unknownName") this.#count(receipts, visitor);
  }

  #count(receipts: readonly Receipt[], visitor: Visitor | undefined): void {
    if (receipts.length === 0) return;
    if (visitor || receipts.length === 1) this.#countOne(receipts, visitor);
    else this.#countMany(receipts);
  }

  #countOne(receipts: readonly Receipt[], visitor: Visitor | undefined): void {
    const counted: string[] = [];
    for (const { bucket } of receipts) {
      const count = this.#counts.get(limitOf(bucket.key));
      // Several limits may count one thing.
      if (count === undefined || counted.includes(count)) continue;
      counted.push(count);
      const { ip, user } = visitor ? { ip: visitor.network, user: visitor.user } : whomOf(bucket.key);
      this.#add(count, ip, user, bucket.cost ?? 1);
    }
  }

  /** What many did, in the buckets of many limits: of each the limit speaks that has counted most of it. */
  #countMany(receipts: readonly Receipt[]): void {
    const sums = new Map<string, Map<string, number>>();
    for (const { bucket } of receipts) {
      const limit = limitOf(bucket.key);
      const { ip, user } = whomOf(bucket.key);
      for (const [by, who] of Object.entries({ network: ip, user })) {
        if (who === undefined) continue;
        const key = `${this.#counts.get(limit)}\u0000${by}\u0000${who}`;
        const ofLimits = sums.get(key) ?? new Map<string, number>();
        sums.set(key, ofLimits.set(limit, (ofLimits.get(limit) ?? 0) + (bucket.cost ?? 1)));
      }
    }
    for (const [key, ofLimits] of sums) {
      const [count = "", by, who] = key.split("\u0000");
      const most = Math.max(...ofLimits.values());
      this.#add(count, by === "network" ? who : undefined, by === "user" ? who : undefined, most);
    }
  }

  #add(count: string, network: string | undefined, user: string | undefined, by: number): void {
    this.#turn();
    let hitters = this.#current.get(count);
    if (!hitters) {
      hitters = { network: new HeavyHitters(PLACES), user: new HeavyHitters(PLACES) };
      this.#current.set(count, hitters);
    }
    if (network !== undefined) hitters.network.add(network, by);
    if (user !== undefined) hitters.user.add(user.length > LONGEST_NAME ? cut(user) : user, by);
  }

  #turn(): void {
    const over = this.#now() - this.#began;
    if (over < HALF_MS) return;
    // After a long silence what was before it is too old as well.
    this.#former = over < 2 * HALF_MS ? this.#current : new Map();
    this.#formerBegan = over < 2 * HALF_MS ? this.#began : undefined;
    this.#current = new Map();
    this.#began = this.#now();
  }
}

const ONLY_IP = /^ip=[^\0]*$/u;

function cut(name: string): string {
  return name.slice(0, LONGEST_NAME);
}

function limitOf(key: string): string {
  return key.slice(0, key.indexOf("\u0000"));
}

function whomOf(key: string): { readonly ip?: string; readonly user?: string } {
  return membersOf(key.slice(key.indexOf("\u0000") + 1));
}
