import { type Digest, Digests } from "./digests.ts";
import { Slots } from "./slots.ts";

export interface RememberedOptions {
  readonly things: number;
  readonly ms: number;
}

/**
 * Things of many subjects, each for a time from when it was last seen. Where there are too many, those that were seen
 * once make room for those that were seen again.
 */
export class Remembered {
  readonly #slots: Slots;
  readonly #digests: Digests;
  readonly #ms: number;

  constructor({ things, ms }: RememberedOptions, digests: Digests = new Digests()) {
    this.#digests = digests;
    this.#slots = new Slots(things);
    this.#ms = ms;
  }

  get size(): number {
    return this.#slots.size;
  }

  has(subject: string, what: string, now: number): boolean {
    const slot = this.#slots.find(this.#digest(subject, what));
    return slot >= 0 && this.#slots.endsAt(slot) > now;
  }

  /** Remembers it from now on, anew if it is remembered already. */
  add(subject: string, what: string, now: number, ms = this.#ms): void {
    const key = this.#digest(subject, what);
    const slot = this.#slots.find(key);
    if (slot >= 0) this.#slots.renew(slot, now + ms);
    this.#slots.add(slot >= 0 ? slot : this.#slots.open(key, now + ms, now), 1, 0);
  }

  /** Lengths first: no two pairs read alike. */
  #digest(subject: string, what: string): Digest {
    return this.#digests.of(`${subject.length}:${subject}${what}`);
  }
}
