import type { Digest } from "./digests.ts";

/** Slots in columns, as they are kept: a row for each key whose time is not over, with what is left of it. */
export interface Rows {
  readonly high: Uint32Array;
  readonly low: Uint32Array;
  readonly leftMs: Float64Array;
  readonly taken: Float64Array;
}

/** No key and no window has it. */
const NONE = 0;
const FIRST = 64;
/** Above this share of taken slots the table grows. */
const FULL = 0.75;
/** Slots that one eviction looks at; so many of them offenders in a row may cost one its count. */
const LOOKS = 512;
/** So many are looked at for one whose time is over before one that has counted once goes. */
const FIRST_LOOKS = 32;

/**
 * Numbers by key for a million keys, in a few arrays: no objects for the garbage collector to walk through, and 32
 * bytes a slot. Keys are known by 64 bits of a keyed hash, so that nobody can make two of them meet. Beyond
 * `maxKeys`, a hand goes round and takes what is over or has counted least.
 */
export class Slots {
  readonly #maxKeys: number;
  #room: number;
  #high = new Uint32Array(FIRST);
  #low = new Uint32Array(FIRST);
  /** Which window of its key a slot counts; NONE: the slot is free. */
  #windows = new Uint32Array(FIRST);
  /** Milliseconds of the clock. */
  #endsAt = new Float64Array(FIRST);
  #taken = new Float64Array(FIRST);
  #open = new Uint32Array(FIRST);
  #size = 0;
  #hand = 0;
  #lastWindow = NONE;

  constructor(maxKeys: number) {
    this.#maxKeys = maxKeys;
    this.#room = maxKeys;
  }

  get size(): number {
    return this.#size;
  }

  /** The key's slot, or -1. It is good until the next `open` or `free`. */
  find(key: Digest): number {
    const slot = this.#place(key);
    return this.#windows[slot] === NONE ? -1 : slot;
  }

  windowOf(slot: number): number {
    return this.#windows[slot] ?? NONE;
  }

  endsAt(slot: number): number {
    return this.#endsAt[slot] ?? 0;
  }

  taken(slot: number): number {
    return this.#taken[slot] ?? 0;
  }

  /** Taken, and not decided yet. */
  undecided(slot: number): number {
    return this.#open[slot] ?? 0;
  }

  add(slot: number, points: number, undecided: number): void {
    this.#taken[slot] = this.taken(slot) + points;
    this.#open[slot] = this.undecided(slot) + undecided;
  }

  renew(slot: number, endsAt: number): void {
    this.#endsAt[slot] = endsAt;
  }

  /** Leaves so much of its room to others. */
  reserve(keys: number): void {
    this.#room = Math.max(this.#maxKeys - keys, 1);
  }

  /** Begins a new window for a key. */
  open(key: Digest, endsAt: number, now: number): number {
    let slot = this.find(key);
    if (slot < 0) {
      // Twice at most: what is reserved while the table is full is made room for little by little.
      for (let times = 0; times < 2 && this.#size >= this.#room; times += 1) this.#evict(now);
      if (this.#size + 1 > this.#windows.length * FULL) this.#grow();
      slot = this.#place(key);
      this.#size += 1;
    }
    this.#lastWindow = (this.#lastWindow + 1) >>> 0 || NONE + 1;
    this.#write(slot, key, this.#lastWindow, endsAt, 0, 0);
    return slot;
  }

  /** Forgets a slot's key, and moves those that had to make way for it nearer to their places. */
  free(slot: number): void {
    const length = this.#windows.length;
    let gap = slot;
    for (let at = (slot + 1) % length; this.#windows[at] !== NONE; at = (at + 1) % length) {
      const home = this.#home(this.#high[at] ?? 0);
      if ((at - home + length) % length < (at - gap + length) % length) continue;
      this.#copy(at, gap);
      gap = at;
    }
    this.#windows[gap] = NONE;
    this.#size -= 1;
  }

  clear(): void {
    this.#resize(FIRST);
    this.#size = 0;
  }

  /** What is undecided counts as taken: nobody is there any more to say what came of it. */
  keep(now: number): Rows {
    const size = this.#size;
    const high = new Uint32Array(size);
    const low = new Uint32Array(size);
    const leftMs = new Float64Array(size);
    const taken = new Float64Array(size);
    let row = 0;
    for (let slot = 0; slot < this.#windows.length; slot += 1) {
      const left = (this.#endsAt[slot] ?? 0) - now;
      if (this.#windows[slot] === NONE || left <= 0) continue;
      high[row] = this.#high[slot] ?? 0;
      low[row] = this.#low[slot] ?? 0;
      leftMs[row] = left;
      taken[row] = this.#taken[slot] ?? 0;
      row += 1;
    }
    const used = <Column extends Uint32Array | Float64Array>(column: Column) =>
      column.subarray(0, row) as Column;
    return { high: used(high), low: used(low), leftMs: used(leftMs), taken: used(taken) };
  }

  #home(high: number): number {
    return high % this.#windows.length;
  }

  /** Where a key is, or would be. */
  #place({ high, low }: Digest): number {
    let slot = this.#home(high);
    while (this.#windows[slot] !== NONE && !(this.#high[slot] === high && this.#low[slot] === low))
      slot = slot + 1 === this.#windows.length ? 0 : slot + 1;
    return slot;
  }

  #write(slot: number, key: Digest, window: number, endsAt: number, taken: number, undecided: number): void {
    this.#high[slot] = key.high;
    this.#low[slot] = key.low;
    this.#windows[slot] = window;
    this.#endsAt[slot] = endsAt;
    this.#taken[slot] = taken;
    this.#open[slot] = undecided;
  }

  #copy(from: number, to: number): void {
    const key = { high: this.#high[from] ?? 0, low: this.#low[from] ?? 0 };
    this.#write(to, key, this.windowOf(from), this.endsAt(from), this.taken(from), this.undecided(from));
  }

  #grow(): void {
    const most = Math.ceil((this.#maxKeys + 1) / FULL) + 1;
    const length = Math.min(this.#windows.length * 2, Math.max(most, FIRST));
    const [high, low, windows] = [this.#high, this.#low, this.#windows];
    const [endsAt, taken, open] = [this.#endsAt, this.#taken, this.#open];
    this.#resize(length);
    for (const [at, window] of windows.entries()) {
      if (window === NONE) continue;
      const key = { high: high[at] ?? 0, low: low[at] ?? 0 };
      this.#write(this.#place(key), key, window, endsAt[at] ?? 0, taken[at] ?? 0, open[at] ?? 0);
    }
  }

  /** So many slots, and all of them free. */
  #resize(length: number): void {
    this.#high = new Uint32Array(length);
    this.#low = new Uint32Array(length);
    this.#windows = new Uint32Array(length);
    this.#endsAt = new Float64Array(length);
    this.#taken = new Float64Array(length);
    this.#open = new Uint32Array(length);
    this.#hand = 0;
  }

  #evict(now: number): void {
    let victim = -1;
    let least = Number.POSITIVE_INFINITY;
    for (let looks = 0; looks < LOOKS; looks += 1) {
      if (least === 0 || (least <= 1 && looks >= FIRST_LOOKS)) break;
      this.#hand = this.#hand + 1 >= this.#windows.length ? 0 : this.#hand + 1;
      if (this.#windows[this.#hand] === NONE) continue;
      const weight = this.endsAt(this.#hand) <= now ? 0 : this.taken(this.#hand);
      if (weight >= least) continue;
      victim = this.#hand;
      least = weight;
    }
    if (victim >= 0) this.free(victim);
  }
}
