/** Until the same trouble is told again, in milliseconds. */
const QUIET_MS = 60_000;

/** Lets the same trouble be told once a minute, however often it comes. `what` is one of few, and no client's. */
export class Quiet {
  readonly #now: () => number;
  readonly #told = new Map<string, number>();

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Whether to tell of it now. */
  breaks(what: string): boolean {
    const now = this.#now();
    if (now - (this.#told.get(what) ?? Number.NEGATIVE_INFINITY) < QUIET_MS) return false;
    this.#told.set(what, now);
    return true;
  }
}
