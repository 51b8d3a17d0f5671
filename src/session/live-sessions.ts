import type { Refused } from "../refusal.ts";
import type { Session } from "./session.ts";

/** A session in which nothing has moved for so long has paused, in milliseconds. */
const LOOK = 500;

/** The sessions that are open now, for the metrics, for stopping, and later for listing and kicking. */
export class LiveSessions {
  readonly #sessions = new Set<Session>();
  #emptied: (() => void) | undefined;

  get size(): number {
    return this.#sessions.size;
  }

  [Symbol.iterator](): IterableIterator<Session> {
    return this.#sessions.values();
  }

  add(session: Session): void {
    this.#sessions.add(session);
  }

  delete(session: Session): void {
    this.#sessions.delete(session);
    if (this.#sessions.size === 0) this.#emptied?.();
  }

  /**
   * Ends every session with its protocol's goodbye: at once where nobody is signed in or nothing moves, when it
   * pauses where something does, and after `drainMs` milliseconds everywhere.
   */
  async stop(refused: Refused, drainMs: number): Promise<void> {
    const deadline = performance.now() + drainMs;
    const moved = new Map<Session, number>();
    do {
      for (const session of this.#sessions) {
        const { in: received, out: sent } = session.bytes;
        const paused = moved.get(session) === received + sent;
        if (session.stage !== "relaying" || paused) session.stop(refused);
        moved.set(session, received + sent);
      }
      await this.#empty(LOOK);
    } while (this.#sessions.size > 0 && performance.now() < deadline);
    // Whoever is still at work is cut without a word: a goodbye could land in the middle of a message.
    for (const session of this.#sessions) session.channel.destroy();
  }

  /** Waits until no session is left, `ms` milliseconds at most. */
  async #empty(ms: number): Promise<void> {
    if (this.#sessions.size === 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#emptied = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
