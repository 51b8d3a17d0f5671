/** So many failures in a row, and it is not asked any more. */
const FAILURES = 5;
/** Then it rests so long before one question finds out whether it is back, in milliseconds. */
const REST = 10_000;

/** Leave to ask. */
export interface Leave {
  /** Whether this is the one question that finds out. */
  readonly probe: boolean;
}

/**
 * Keeps clients from waiting for somebody who does not answer. Closed: everybody may ask. Open, after failures in a
 * row: nobody may. Half open, after a rest: one may, and its answer decides.
 */
export class Breaker {
  readonly #now: () => number;
  #failures = 0;
  #restsUntil: number | undefined;
  #probing = false;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  get closed(): boolean {
    return this.#restsUntil === undefined;
  }

  /** Undefined: not now. Whoever gets leave says how it went. */
  enter(): Leave | undefined {
    if (this.#restsUntil === undefined) return { probe: false };
    if (this.#probing || this.#now() < this.#restsUntil) return undefined;
    this.#probing = true;
    return { probe: true };
  }

  /** Whether it was open until now. Any answer closes it, a late one too. */
  succeeded(): boolean {
    const wasOpen = !this.closed;
    this.#failures = 0;
    this.#restsUntil = undefined;
    this.#probing = false;
    return wasOpen;
  }

  /** Whether it opens by this. */
  failed({ probe }: Leave): boolean {
    if (!this.closed) {
      // Those that were asked before it opened say nothing new.
      if (probe) this.#rest();
      return false;
    }
    this.#failures += 1;
    if (this.#failures < FAILURES) return false;
    this.#rest();
    return true;
  }

  #rest(): void {
    this.#probing = false;
    this.#restsUntil = this.#now() + REST;
  }
}
