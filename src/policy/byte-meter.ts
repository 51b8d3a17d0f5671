import { Refused } from "../refusal.ts";
import type { Facts } from "./limit-key.ts";
import type { Rates, Traffic, TrafficVerdict } from "./traffic.ts";

/** A session, as far as its bytes go. */
export interface Metered {
  readonly facts: Facts;
  /** From (in) and to (out) its client, since it began. */
  readonly bytes: { readonly in: number; readonly out: number };
  readonly stage: string;
  /** Ends it with its protocol's goodbye. */
  stop(refused: Refused): void;
  /** Lets so many bytes a second pass from now on; undefined: as many as come. */
  slow(rates: Rates | undefined): void;
}

interface Entry {
  /** What has been counted of it. */
  counted: { readonly in: number; readonly out: number };
  /** Whether a limit ends it; a protocol that looks on asks before each message instead. */
  readonly stops: boolean;
}

/** What a session has moved lately. */
interface Moved {
  readonly session: Metered;
  readonly entry: Entry;
  readonly traffic: Traffic;
}

const EVERY = 1_000;

/**
 * Reads the byte counters of all sessions once a second, so that no session touches a limit while it works. What is
 * beyond a limit by then has moved: a limit of bytes is exact to what a second brings.
 */
export class ByteMeter {
  readonly #judge: (traffic: readonly Traffic[]) => Promise<readonly TrafficVerdict[]>;
  readonly #everyMs: number;
  readonly #entries = new Map<Metered, Entry>();
  #timer: NodeJS.Timeout | undefined;
  #judging = false;

  constructor(judge: (traffic: readonly Traffic[]) => Promise<readonly TrafficVerdict[]>, everyMs = EVERY) {
    this.#judge = judge;
    this.#everyMs = everyMs;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Counts it from its first byte until it is closed. */
  watch(session: Metered, stops: boolean): void {
    if (this.#entries.has(session)) return;
    this.#entries.set(session, { counted: { in: 0, out: 0 }, stops });
    this.#timer ??= setInterval(() => void this.sweep(), this.#everyMs).unref();
  }

  /** Counts what one session has moved, now. */
  async read(session: Metered): Promise<void> {
    const entry = this.#entries.get(session);
    const traffic = entry && take(session, entry);
    if (traffic) await this.#count([{ session, entry, traffic }]);
  }

  async sweep(): Promise<void> {
    // A store that takes longer than a second to answer gets all of it at once the next time.
    if (this.#judging) return;
    this.#judging = true;
    try {
      await this.#sweep();
    } finally {
      this.#judging = false;
    }
  }

  async #sweep(): Promise<void> {
    const moved: Moved[] = [];
    for (const [session, entry] of this.#entries) {
      const traffic = take(session, entry);
      if (traffic) moved.push({ session, entry, traffic });
      if (session.stage === "closed") this.#forget(session);
    }
    if (moved.length === 0) return;
    const verdicts = await this.#count(moved);
    if (!verdicts) return;
    for (const [at, { session, entry }] of moved.entries()) {
      if (!entry.stops || session.stage === "closed") continue;
      const { refused, rates } = verdicts[at] ?? {};
      if (refused) session.stop(refused);
      else session.slow(rates);
    }
  }

  /** Where the store has no answer (`onStoreFailure: refuse`), bytes wait for the next time, and all goes on as before. */
  async #count(moved: readonly Moved[]): Promise<readonly TrafficVerdict[] | undefined> {
    try {
      return await this.#judge(moved.map(({ traffic }) => traffic));
    } catch (error) {
      for (const { entry, traffic } of moved)
        entry.counted = { in: entry.counted.in - traffic.in, out: entry.counted.out - traffic.out };
      if (error instanceof Refused) return undefined;
      throw error;
    }
  }

  #forget(session: Metered): void {
    this.#entries.delete(session);
    if (this.#entries.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}

/** What the session has moved and nobody has counted. */
function take(session: Metered, entry: Entry): Traffic | undefined {
  const { bytes } = session;
  const received = bytes.in - entry.counted.in;
  const sent = bytes.out - entry.counted.out;
  if (received <= 0 && sent <= 0) return undefined;
  entry.counted = { in: bytes.in, out: bytes.out };
  return { facts: session.facts, in: received, out: sent };
}
