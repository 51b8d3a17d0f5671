import { Digests } from "./digests.ts";
import { Parts } from "./parts.ts";
import type { Bucket } from "./store.ts";

export interface Reading {
  readonly taken: number;
  /** Milliseconds of the clock; 0 while nothing is counted. A seat has no end. */
  readonly endsAt: number;
}

const NOTHING: Reading = { taken: 0, endsAt: 0 };
const FOREVER = Number.POSITIVE_INFINITY;
/** Seats have no windows, and so they have one. */
const SEATS = 1;
/** Windows up to this length are over before a restart is, and no reason to write anything. */
const BRIEF = 60_000;
/**
 * Fixed windows that begin with their first point. Beyond `maxKeys` of them, those that are far from full make room.
 * Written here and not taken from rate-limiter-flexible: its memory store holds one timer a key, has no bound on keys
 * and no clock to inject; its Redis stores fit later.
 */
export class Counters {
  /** The windows; seats end with the process. */
  readonly parts: Parts;
  /** As many as there are open sessions; they are never evicted, because nobody could give them back. */
  readonly #seats = new Map<string, number>();

  readonly #digests: Digests;
  #changes = 0;

  constructor(maxKeys: number, digests: Digests = new Digests()) {
    this.#digests = digests;
    this.parts = new Parts(maxKeys);
  }

  get size(): number {
    return this.parts.size + this.#seats.size;
  }

  /** Another number whenever a window that is worth keeping holds more or less than before. */
  get changes(): number {
    return this.#changes;
  }

  /** What the bucket holds in the window that lasts now. */
  read(bucket: Bucket, now: number): Reading {
    if (bucket.windowMs === undefined) return { taken: this.#seats.get(bucket.key) ?? 0, endsAt: FOREVER };
    const digest = this.#digests.of(bucket.key);
    const slots = this.parts.of(digest);
    const slot = slots.find(digest);
    if (slot < 0 || slots.endsAt(slot) <= now) return NOTHING;
    return { taken: slots.taken(slot), endsAt: slots.endsAt(slot) };
  }

  /** Adds points, undecided ones or not; returns the window that they are in. */
  add(bucket: Bucket, points: number, undecided: boolean, now: number): number {
    const { key, windowMs } = bucket;
    if (windowMs === undefined) {
      this.#seats.set(key, (this.#seats.get(key) ?? 0) + points);
      return SEATS;
    }
    if (windowMs > BRIEF) this.#changes += 1;
    const digest = this.#digests.of(key);
    const slots = this.parts.of(digest);
    let slot = slots.find(digest);
    if (slot < 0 || slots.endsAt(slot) <= now) {
      slots.reserve(Math.ceil(this.#seats.size / this.parts.count));
      slot = slots.open(digest, now + windowMs, now);
    }
    slots.add(slot, points, undecided ? points : 0);
    return slots.windowOf(slot);
  }

  /** Takes points of one window away again; an empty counter takes no room. */
  subtract({ key, windowMs }: Bucket, window: number, points: number, undecided: boolean): void {
    if (windowMs === undefined) {
      const left = (this.#seats.get(key) ?? 0) - points;
      if (left > 0) this.#seats.set(key, left);
      else this.#seats.delete(key);
      return;
    }
    if (windowMs > BRIEF) this.#changes += 1;
    const digest = this.#digests.of(key);
    const slots = this.parts.of(digest);
    const slot = slots.find(digest);
    if (slot < 0 || slots.windowOf(slot) !== window) return;
    slots.add(slot, -points, undecided ? -points : 0);
    if (slots.taken(slot) <= 0) slots.free(slot);
  }

  /** Makes undecided points of one window final; returns how many of it are, or undefined where it is over. */
  decide({ key }: Bucket, window: number, points: number, now: number): number | undefined {
    const digest = this.#digests.of(key);
    const slots = this.parts.of(digest);
    const slot = slots.find(digest);
    if (slot < 0 || slots.windowOf(slot) !== window || slots.endsAt(slot) <= now) return undefined;
    slots.add(slot, 0, -points);
    return slots.taken(slot) - slots.undecided(slot);
  }

  /** Seats stay: whoever sits there gives them back. */
  forget(key: string): void {
    const digest = this.#digests.of(key);
    const slots = this.parts.of(digest);
    const slot = slots.find(digest);
    if (slot < 0) return;
    slots.free(slot);
    this.#changes += 1;
  }
}
