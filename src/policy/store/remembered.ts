import { type Digest, Digests } from "./digests.ts";
import { Parts } from "./parts.ts";

export interface RememberedOptions {
  readonly things: number;
  readonly ms: number;
}

/** A thing that is seen again moves its end; by less than this share of its time is no change to speak of. */
const HARDLY = 100;

/**
 * Things of many subjects, each for a time from when it was last seen. Where there are too many, those that were seen
 * once make room for those that were seen again.
 */
export class Remembered {
  readonly parts: Parts;
  readonly #digests: Digests;
  readonly #ms: number;
  #changes = 0;

  constructor({ things, ms }: RememberedOptions, digests: Digests = new Digests()) {
    this.#digests = digests;
    this.parts = new Parts(things);
    this.#ms = ms;
  }

  get size(): number {
    return this.parts.size;
  }

  /** Another number whenever something is remembered that was not, or for notably longer. */
  get changes(): number {
    return this.#changes;
  }

  has(subject: string, what: string, now: number): boolean {
    const key = this.#digest(subject, what);
    const slots = this.parts.of(key);
    const slot = slots.find(key);
    return slot >= 0 && slots.endsAt(slot) > now;
  }

  /** Remembers it from now on, anew if it is remembered already. */
  add(subject: string, what: string, now: number, ms = this.#ms): void {
    const key = this.#digest(subject, what);
    const slots = this.parts.of(key);
    const slot = slots.find(key);
    const until = slot >= 0 ? slots.endsAt(slot) : 0;
    if (now + ms - until > ms / HARDLY) this.#changes += 1;
    if (slot >= 0) slots.renew(slot, now + ms);
    slots.add(slot >= 0 ? slot : slots.open(key, now + ms, now), 1, 0);
  }

  /** Lengths first: no two pairs read alike. */
  #digest(subject: string, what: string): Digest {
    return this.#digests.of(`${subject.length}:${subject}${what}`);
  }
}
