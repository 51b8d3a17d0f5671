/** What the watch needs to know of a relay. */
interface Watched {
  bytes(): { in: number; out: number };
}

interface Entry {
  readonly idle: () => void;
  moved: number;
  /** How many sweeps in a row have seen no byte move. */
  quiet: number;
}

const SWEEPS = 10;

/**
 * The idle deadline of all relays together: one timer that now and then asks each how far it has come, so
 * that no relay touches a clock while it works. A relay is called idle after `idleMs`, and at most a tenth
 * of that later.
 */
export class IdleWatch {
  readonly #entries = new Map<Watched, Entry>();
  readonly #intervalMs: number;
  #timer: NodeJS.Timeout | undefined;

  constructor(idleMs: number) {
    this.#intervalMs = Math.max(Math.ceil(idleMs / SWEEPS), 1);
  }

  add(relay: Watched, idle: () => void): void {
    this.#entries.set(relay, { idle, moved: -1, quiet: 0 });
    this.#timer ??= setInterval(() => this.#sweep(), this.#intervalMs).unref();
  }

  delete(relay: Watched): void {
    this.#entries.delete(relay);
    if (this.#entries.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #sweep(): void {
    for (const [relay, entry] of this.#entries) {
      const bytes = relay.bytes();
      const moved = bytes.in + bytes.out;
      entry.quiet = moved === entry.moved ? entry.quiet + 1 : 0;
      entry.moved = moved;
      if (entry.quiet >= SWEEPS) {
        entry.quiet = 0;
        entry.idle();
      }
    }
  }
}
