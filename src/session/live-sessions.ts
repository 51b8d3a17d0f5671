import type { Refused } from "../refusal.ts";
import type { Session } from "./session.ts";

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

  /** Ends every session with its protocol's goodbye, waiting `graceMs` before what is left is cut. */
  async stop(refused: Refused, graceMs: number): Promise<void> {
    for (const session of this.#sessions) session.stop(refused);
    if (this.#sessions.size === 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, graceMs);
      this.#emptied = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    for (const session of this.#sessions) session.channel.destroy();
  }
}
