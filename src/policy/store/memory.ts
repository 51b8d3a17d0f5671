import type { Ban, Bucket, CounterStore, Receipt, Taken } from "./store.ts";

interface Counter {
  /** Milliseconds of the clock; a seat counter has no end. */
  endsAt: number;
  window: number;
  taken: number;
  /** Taken, and neither given back nor kept yet. */
  open: number;
}

/** Counters of one process. More keys than this, and the oldest counters that are far from full make room. */
const MAX_KEYS = 500_000;
/** Most evictions look at one; a row of offenders this long may cost one of them its count. */
const EVICTION_LOOKS = 256;

/**
 * Fixed windows that begin with their first point. Written here and not taken from rate-limiter-flexible: its
 * memory store holds one timer a key, has no bound on keys and no clock to inject; its Redis stores fit later.
 */
export class MemoryStore implements CounterStore {
  readonly #windowed = new Map<string, Counter>();
  /** As many as there are open sessions; they are never evicted, because nobody could give them back. */
  readonly #seats = new Map<string, Counter>();
  readonly #bans = new Map<string, number>();
  readonly #now: () => number;
  readonly #maxKeys: number;
  #windows = 0;

  /** `now`: milliseconds of a clock that never goes back. */
  constructor(now: () => number = () => performance.now(), maxKeys = MAX_KEYS) {
    this.#now = now;
    this.#maxKeys = maxKeys;
  }

  /** Keys held, of counters and bans. */
  get size(): number {
    return this.#windowed.size + this.#seats.size + this.#bans.size;
  }

  async take<B extends Bucket>(bans: readonly string[], buckets: readonly B[]): Promise<Ban | Taken<B>> {
    return this.#banned(bans) ?? this.#take(buckets);
  }

  async giveBack(receipts: readonly Receipt[]): Promise<void> {
    for (const { bucket, window } of receipts) {
      const counters = this.#countersOf(bucket);
      const counter = counters.get(bucket.key);
      if (counter?.window !== window) continue;
      counter.taken -= 1;
      counter.open -= 1;
      if (counter.taken <= 0) counters.delete(bucket.key);
    }
  }

  async keep<B extends Bucket>(receipts: readonly Receipt<B>[]): Promise<readonly B[]> {
    return receipts.flatMap(({ bucket, window }) => {
      const counter = this.#countersOf(bucket).get(bucket.key);
      if (counter?.window !== window) return [];
      counter.open -= 1;
      return counter.taken - counter.open >= bucket.points ? [bucket] : [];
    });
  }

  async ban(key: string, ms: number): Promise<void> {
    const until = this.#now() + ms;
    if ((this.#bans.get(key) ?? 0) >= until) return;
    this.#bans.delete(key);
    this.#bans.set(key, until);
    if (this.#bans.size > this.#maxKeys) this.#bans.delete(this.#bans.keys().next().value as string);
  }

  #banned(keys: readonly string[]): Ban | undefined {
    let longest: Ban | undefined;
    for (const key of keys) {
      const leftMs = (this.#bans.get(key) ?? 0) - this.#now();
      if (leftMs > (longest?.leftMs ?? 0)) longest = { key, leftMs };
      else if (leftMs <= 0) this.#bans.delete(key);
    }
    return longest;
  }

  #take<B extends Bucket>(buckets: readonly B[]): Taken<B> {
    const now = this.#now();
    const over = buckets.filter((bucket) => (this.#live(bucket, now)?.taken ?? 0) >= bucket.points);
    const full = over.filter((bucket) => !bucket.soft);
    if (full.length > 0) {
      const ends = full.map((bucket) => this.#live(bucket, now)?.endsAt ?? now);
      const retryAfterMs = Math.max(...ends) - now;
      return {
        receipts: [],
        over: full,
        retryAfterMs: Number.isFinite(retryAfterMs) ? retryAfterMs : undefined,
      };
    }
    return { receipts: buckets.map((bucket) => this.#count(bucket, now)), over, retryAfterMs: undefined };
  }

  #count<B extends Bucket>(bucket: B, now: number): Receipt<B> {
    const counter = this.#live(bucket, now) ?? this.#open(bucket, now);
    counter.taken += 1;
    counter.open += 1;
    return { bucket, window: counter.window };
  }

  #live(bucket: Bucket, now: number): Counter | undefined {
    const counter = this.#countersOf(bucket).get(bucket.key);
    return counter && counter.endsAt > now ? counter : undefined;
  }

  #open(bucket: Bucket, now: number): Counter {
    const counters = this.#countersOf(bucket);
    if (this.#windowed.size + this.#seats.size >= this.#maxKeys) this.#evict(now);
    this.#windows += 1;
    const endsAt = now + (bucket.windowMs ?? Number.POSITIVE_INFINITY);
    const counter = { endsAt, window: this.#windows, taken: 0, open: 0 };
    counters.delete(bucket.key);
    counters.set(bucket.key, counter);
    return counter;
  }

  #countersOf(bucket: Bucket): Map<string, Counter> {
    return bucket.windowMs === undefined ? this.#seats : this.#windowed;
  }

  /** Of the oldest counters, one that is over or has counted once goes; those that it passes get a second chance. */
  #evict(now: number): void {
    let victim = "";
    let least = Number.POSITIVE_INFINITY;
    for (const [key, counter] of this.#windowed.entries().take(EVICTION_LOOKS)) {
      const weight = counter.endsAt <= now ? 0 : counter.taken;
      if (weight < least) {
        victim = key;
        least = weight;
      }
      if (least <= 1) break;
      this.#windowed.delete(key);
      this.#windowed.set(key, counter);
    }
    this.#windowed.delete(victim);
  }
}
