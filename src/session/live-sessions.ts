import { setTimeout as delay } from "node:timers/promises";
import type { Refused } from "../refusal.ts";
import type { Session } from "./session.ts";

/** A session in which nothing has moved for so long has paused, in milliseconds. */
const LOOK = 500;
/** Goodbyes said in one go, and the time between two goes in milliseconds: clients come back at once, all of them. */
const AT_ONCE = 50;
const BETWEEN = 100;

/** The sessions that are open now, for the metrics, for stopping, listing and kicking. */
export class LiveSessions {
  readonly #sessions = new Set<Session>();
  readonly #waiting = new Set<() => void>();

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
    if (this.#sessions.size === 0) for (const emptied of this.#waiting) emptied();
  }

  /**
   * Ends every session with its protocol's goodbye: soon where nobody is signed in or nothing moves, when it
   * pauses where something does, and after `drainMs` milliseconds everywhere. Many goodbyes are spread over time,
   * over half of the drain time at most.
   */
  async stop(refused: Refused, drainMs: number): Promise<void> {
    const deadline = performance.now() + drainMs;
    const betweenMs = Math.min(BETWEEN, (drainMs / 2) * (AT_ONCE / Math.max(this.size, AT_ONCE)));
    const moved = new Map<Session, number>();
    const asked = new Set<Session>();
    do {
      for (const session of this.#sessions) {
        const { in: received, out: sent } = session.bytes;
        const paused = moved.get(session) === received + sent;
        moved.set(session, received + sent);
        if (session.stage === "relaying" && !paused) continue;
        session.stop(refused);
        if (asked.has(session)) continue;
        asked.add(session);
        if (asked.size % AT_ONCE === 0 && betweenMs >= 1) await delay(betweenMs);
      }
      await this.empty(LOOK);
    } while (this.#sessions.size > 0 && performance.now() < deadline);
    // Whoever is still at work is cut without a word: a goodbye could land in the middle of a message.
    for (const session of this.#sessions) session.channel.destroy();
  }

  /** Waits until no session is left, `ms` milliseconds at most, or until told not to wait any more. */
  async empty(ms: number, signal?: AbortSignal): Promise<void> {
    if (this.#sessions.size === 0 || ms <= 0) return;
    await new Promise<void>((resolve) => {
      const over = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(over);
        signal?.removeEventListener("abort", over);
        resolve();
      };
      const timer = setTimeout(over, ms);
      this.#waiting.add(over);
      signal?.addEventListener("abort", over);
    });
  }
}
