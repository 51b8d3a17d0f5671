import type { Bucket } from "./store.ts";

export interface Counter {
  /** Milliseconds of the clock; a seat counter has no end. */
  endsAt: number;
  readonly window: number;
  taken: number;
  /** Taken, and neither given back nor kept yet. */
  open: number;
}

/** Most evictions look at one; a row of offenders this long may cost one of them its count. */
const EVICTION_LOOKS = 256;

/**
 * Fixed windows that begin with their first point. Beyond `maxKeys` of them, the oldest that are far from full make
 * room. Written here and not taken from rate-limiter-flexible: its memory store holds one timer a key, has no bound on
 * keys and no clock to inject; its Redis stores fit later.
 */
export class Counters {
  readonly #windowed = new Map<string, Counter>();
  /** As many as there are open sessions; they are never evicted, because nobody could give them back. */
  readonly #seats = new Map<string, Counter>();
  readonly #maxKeys: number;
  #windows = 0;

  constructor(maxKeys: number) {
    this.#maxKeys = maxKeys;
  }

  get size(): number {
    return this.#windowed.size + this.#seats.size;
  }

  /** The bucket's counter, while its window lasts. */
  live(bucket: Bucket, now: number): Counter | undefined {
    const counter = this.#mapOf(bucket).get(bucket.key);
    return counter && counter.endsAt > now ? counter : undefined;
  }

  /** The same, for points of one window. */
  ofWindow(bucket: Bucket, window: number): Counter | undefined {
    const counter = this.#mapOf(bucket).get(bucket.key);
    return counter?.window === window ? counter : undefined;
  }

  add(bucket: Bucket, points: number, now: number): Counter {
    const counter = this.live(bucket, now) ?? this.#open(bucket, now);
    counter.taken += points;
    return counter;
  }

  /** Takes points away again; an empty counter takes no room. */
  subtract(bucket: Bucket, counter: Counter, points: number): void {
    counter.taken -= points;
    if (counter.taken <= 0) this.#mapOf(bucket).delete(bucket.key);
  }

  /** Seats stay: whoever sits there gives them back. */
  forget(key: string): void {
    this.#windowed.delete(key);
  }

  #open(bucket: Bucket, now: number): Counter {
    if (this.size >= this.#maxKeys) this.#evict(now);
    this.#windows += 1;
    const endsAt = now + (bucket.windowMs ?? Number.POSITIVE_INFINITY);
    const counter = { endsAt, window: this.#windows, taken: 0, open: 0 };
    const counters = this.#mapOf(bucket);
    counters.delete(bucket.key);
    counters.set(bucket.key, counter);
    return counter;
  }

  #mapOf(bucket: Bucket): Map<string, Counter> {
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
