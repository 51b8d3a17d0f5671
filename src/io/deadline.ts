import type { Refused } from "../refusal.ts";

/** A deadline that is moved on with every line and hardly ever met, so moving it on costs no timer. */
export class Deadline {
  readonly #met: (overdue: Refused) => void;
  #late: (() => Refused) | undefined;
  #patienceMs = 0;
  #dueAt = 0;
  /** Fires at the deadline or before it, and then looks again. */
  #timer: NodeJS.Timeout | undefined;
  #firesAt = 0;

  constructor(met: (overdue: Refused) => void) {
    this.#met = met;
  }

  /** From now on it is met after `ms` milliseconds, with what `late` makes then: an error costs its stack. */
  set(ms: number, late: () => Refused): void {
    this.#late = late;
    this.#patienceMs = ms;
    this.refresh();
    if (!this.#timer || this.#firesAt > this.#dueAt) this.#arm(ms);
  }

  /** Begins its time anew. */
  refresh(): void {
    this.#dueAt = performance.now() + this.#patienceMs;
  }

  /** It is not met any more, until it is set again. */
  clear(): void {
    this.#late = undefined;
  }

  /** As `clear`, for good: no timer is left. */
  end(): void {
    this.clear();
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #arm(ms: number): void {
    clearTimeout(this.#timer);
    this.#firesAt = performance.now() + ms;
    this.#timer = setTimeout(() => this.#look(), ms);
  }

  #look(): void {
    this.#timer = undefined;
    if (!this.#late) return;
    const left = this.#dueAt - performance.now();
    // A timer may fire a fraction of a millisecond early.
    if (left >= 1) this.#arm(left);
    else this.#met(this.#late());
  }
}
