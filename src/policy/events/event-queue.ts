import type { PolicyEvent } from "./event.ts";

/** Events that wait; one more, and the oldest is dropped: the newest says what holds now. */
const MOST = 1_000;
/** Nobody is helped by what was so long ago. */
const MAX_AGE_MS = 60 * 60_000;

export interface Waiting {
  readonly event: PolicyEvent;
  readonly at: number;
}

/** Events in their order, bounded in number and age. */
export class EventQueue {
  readonly #dropped: (reason: "full" | "old", events: number) => void;
  readonly #now: () => number;
  #waiting: Waiting[] = [];

  constructor(
    dropped: (reason: "full" | "old", events: number) => void,
    now: () => number = () => performance.now(),
  ) {
    this.#now = now;
    this.#dropped = dropped;
  }

  get length(): number {
    return this.#waiting.length;
  }

  add(event: PolicyEvent): void {
    this.#waiting.push({ event, at: this.#now() });
    if (this.#waiting.length > MOST) this.#drop("full", this.#waiting.length - MOST);
  }

  /** The oldest of those that are not too old; they stay until they are taken out. */
  first(most: number): readonly Waiting[] {
    const oldest = this.#now() - MAX_AGE_MS;
    const young = this.#waiting.findIndex(({ at }) => at >= oldest);
    this.#drop("old", young < 0 ? this.#waiting.length : young);
    return this.#waiting.slice(0, most);
  }

  /** Returns how many of them were still there: some may have made room for newer ones. */
  takeOut(some: readonly Waiting[]): number {
    const before = this.#waiting.length;
    const out = new Set(some);
    this.#waiting = this.#waiting.filter((one) => !out.has(one));
    return before - this.#waiting.length;
  }

  takeAll(): readonly PolicyEvent[] {
    return this.#waiting.splice(0).map(({ event }) => event);
  }

  #drop(reason: "full" | "old", events: number): void {
    if (events === 0) return;
    this.#waiting.splice(0, events);
    this.#dropped(reason, events);
  }
}
