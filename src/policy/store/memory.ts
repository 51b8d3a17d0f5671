import { BanList } from "./ban-list.ts";
import { type Counter, Counters } from "./counters.ts";
import { Remembered } from "./remembered.ts";
import type {
  Ban,
  Bucket,
  Count,
  CounterStore,
  Imposed,
  Outcome,
  Question,
  Receipt,
  Sentence,
  Standing,
  Taken,
  Visitor,
} from "./store.ts";

/** Counters of one process, and as many bans. */
const MAX_KEYS = 1_000_000;
const DAY = 86_400_000;
/** A mobile phone is in a new network every day; of those it comes from, the last few matter. */
const KNOWN_NETWORKS = { subjects: 100_000, each: 16, ms: 30 * DAY };
/** A device that was not told the new password tries the old one for days. */
const WRONG_PASSWORDS = { subjects: 100_000, each: 8, ms: DAY };
/** Names that are nobody's take a tenth of the room, at the expense of each other only. */
const STRANGERS = 10;

/** Everything in the memory of one process. */
export class MemoryStore implements CounterStore {
  readonly #counters: Counters;
  /**
   * What the buckets of names that are nobody's would hold. They count for nothing, but a name that never gets
   * the answer of a full bucket would be known to be nobody's.
   */
  readonly #decoys: Counters;
  readonly #bans: BanList;
  readonly #networks = new Remembered(KNOWN_NETWORKS);
  readonly #wrong = new Remembered(WRONG_PASSWORDS);
  /** Of names that are nobody's: made up in any number, they push out no user's. */
  readonly #wrongOfStrangers = new Remembered(WRONG_PASSWORDS);
  readonly #now: () => number;

  /** `now`: milliseconds of a clock that never goes back. */
  constructor(now: () => number = () => performance.now(), maxKeys = MAX_KEYS) {
    this.#now = now;
    this.#counters = new Counters(maxKeys);
    this.#decoys = new Counters(Math.ceil(maxKeys / STRANGERS));
    this.#bans = new BanList(maxKeys);
  }

  /** Keys held, of counters and bans. */
  get size(): number {
    return this.#counters.size + this.#decoys.size + this.#bans.size;
  }

  async take(question: Question): Promise<{ readonly ban: Ban } | Taken> {
    const { bans, buckets, visitor, guess = false } = question;
    const now = this.#now();
    const known = this.#isKnown(visitor, now);
    const ban = this.#bans.longest(bans, known, now);
    if (ban) return { ban };
    const counts = buckets.map((bucket) => this.#count(bucket, known, now));
    const refused = counts.some(({ over }, at) => over && !buckets[at]?.soft);
    const imposed = guess ? [] : this.#imposeOn(buckets, counts, now);
    if (refused || (guess && this.#isRepeated(visitor, now)))
      return { refused, counts, receipts: [], imposed };
    const receipts: Receipt[] = [];
    for (const [at, bucket] of buckets.entries()) {
      const { cost = 1, ofName } = bucket;
      if (cost === 0 || (ofName && known)) continue;
      const { window } = this.#add(bucket, cost, guess, now);
      (counts[at] as { taken: number }).taken += cost;
      receipts.push({ bucket, window, guess });
    }
    return { refused, counts, receipts, imposed };
  }

  async giveBack(receipts: readonly Receipt[]): Promise<void> {
    for (const receipt of receipts) this.#giveBack(receipt);
  }

  async settle(
    receipts: readonly Receipt[],
    outcome: Outcome,
    visitor?: Visitor,
  ): Promise<readonly Imposed[]> {
    const now = this.#now();
    if (outcome === "right" && visitor) this.#networks.add(visitor.user, visitor.network, now);
    const wrong = outcome === "wrong" || outcome === "unknownName";
    const repeated = wrong && this.#isRepeated(visitor, now);
    if (wrong && visitor?.fingerprint !== undefined) {
      const wrongs = outcome === "wrong" ? this.#wrong : this.#wrongOfStrangers;
      wrongs.add(visitor.user, visitor.fingerprint, now);
    }
    if (!wrong || repeated) {
      await this.giveBack(receipts);
      return [];
    }
    return receipts.flatMap((receipt) => this.#keep(receipt, outcome, now) ?? []);
  }

  async look({ bans, buckets, visitor }: Question): Promise<Standing> {
    const now = this.#now();
    const known = this.#isKnown(visitor, now);
    const counts = buckets.map((bucket) => ({
      ...this.#count(bucket, known, now),
      taken: this.#counters.live(bucket, now)?.taken ?? 0,
    }));
    return { bans: this.#bans.among(bans, now), counts, known };
  }

  async bans(): Promise<readonly Ban[]> {
    return this.#bans.all(this.#now());
  }

  async ban(sentence: Sentence): Promise<Imposed | undefined> {
    return this.#bans.impose(sentence, this.#now());
  }

  async unban(key: string, counters: readonly string[]): Promise<boolean> {
    for (const counter of counters) this.#counters.forget(counter);
    return this.#bans.lift(key, this.#now());
  }

  #isKnown(visitor: Visitor | undefined, now: number): boolean {
    return visitor !== undefined && this.#networks.has(visitor.user, visitor.network, now);
  }

  /** Whether this wrong password has been counted for this name before. */
  #isRepeated(visitor: Visitor | undefined, now: number): boolean {
    if (visitor?.fingerprint === undefined) return false;
    const { user, fingerprint } = visitor;
    return this.#wrong.has(user, fingerprint, now) || this.#wrongOfStrangers.has(user, fingerprint, now);
  }

  #count(bucket: Bucket, known: boolean, now: number): Count {
    const counter = this.#counters.live(bucket, now);
    const decoy = bucket.ofName ? this.#decoys.live(bucket, now) : undefined;
    const taken = (counter?.taken ?? 0) + (decoy?.taken ?? 0);
    const endsAt = Math.max(counter?.endsAt ?? 0, decoy?.endsAt ?? 0);
    const leftMs = bucket.windowMs === undefined ? undefined : endsAt === 0 ? bucket.windowMs : endsAt - now;
    const over = !(bucket.ofName && known) && taken + Math.max(bucket.cost ?? 1, 1) > bucket.points;
    return { taken, leftMs, over };
  }

  #add(bucket: Bucket, cost: number, guess: boolean, now: number): Counter {
    const counter = this.#counters.add(bucket, cost, now);
    if (guess) counter.open += cost;
    return counter;
  }

  #giveBack({ bucket, window, guess }: Receipt): void {
    const { cost = 1 } = bucket;
    const counter = this.#counters.ofWindow(bucket, window);
    if (!counter) return;
    if (guess) counter.open -= cost;
    this.#counters.subtract(bucket, counter, cost);
  }

  #keep(receipt: Receipt, outcome: Outcome, now: number): Imposed | undefined {
    const { bucket, window } = receipt;
    const { cost = 1, ofName, ban, points } = bucket;
    if (ofName && outcome === "unknownName") {
      this.#giveBack(receipt);
      this.#decoys.add(bucket, cost, now);
      return undefined;
    }
    const counter = this.#counters.ofWindow(bucket, window);
    if (!counter) return undefined;
    counter.open -= cost;
    const full = counter.taken - counter.open >= points;
    return ban && full ? this.#bans.impose(ban, now) : undefined;
  }

  #imposeOn(buckets: readonly Bucket[], counts: readonly Count[], now: number): Imposed[] {
    return buckets.flatMap(({ ban, cost }, at) =>
      ban && cost !== 0 && counts[at]?.over ? (this.#bans.impose(ban, now) ?? []) : [],
    );
  }
}
