import type { Digest } from "./digests.ts";
import { type Rows, Slots } from "./slots.ts";

/** A table that large is cut in parts: none of them takes long to grow, or to be kept. */
const LARGE = 65_536;
const PARTS = 16;

/** One table of slots, in parts by key. */
export class Parts {
  readonly #parts: readonly Slots[];

  constructor(maxKeys: number) {
    const count = maxKeys < LARGE ? 1 : PARTS;
    this.#parts = Array.from({ length: count }, () => new Slots(Math.floor(maxKeys / count)));
  }

  get count(): number {
    return this.#parts.length;
  }

  get size(): number {
    return this.#parts.reduce((sum, { size }) => sum + size, 0);
  }

  /** The part that a key is in, or would be. */
  of({ low }: Digest): Slots {
    return this.#parts[low % this.#parts.length] as Slots;
  }

  /** All that lasts, part by part: each is as it is when it is asked for. */
  *keep(now: () => number): Iterable<Rows> {
    for (const slots of this.#parts) yield slots.keep(now());
  }

  /** Adds what was kept so long ago. */
  restore({ high, low, leftMs, taken }: Rows, agoMs: number, now: number): void {
    for (let at = 0; at < high.length; at += 1) {
      const left = (leftMs[at] ?? 0) - agoMs;
      if (left <= 0) continue;
      const digest = { high: high[at] ?? 0, low: low[at] ?? 0 };
      const slots = this.of(digest);
      slots.add(slots.open(digest, now + left, now), taken[at] ?? 0, 0);
    }
  }

  clear(): void {
    for (const slots of this.#parts) slots.clear();
  }
}
