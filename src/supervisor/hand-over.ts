import type { Socket } from "node:net";

/** Somebody who carries sessions, as far as handing over needs to know. */
export interface Hand {
  /** Sessions that it has, and those on their way to it. */
  readonly load: number;
  /** Whether it can take one more now. */
  readonly free: boolean;
  give(listener: string, socket: Socket): void;
}

export interface HandOverOptions {
  readonly hands: () => Iterable<Hand>;
  /** How many accepted connections may wait. */
  readonly maxWaiting: number;
  /** How long one may wait, in milliseconds. */
  readonly patienceMs: () => number;
  readonly observer: HandOverObserver;
}

/** Hears when waiting begins and ends, and of those for whom nothing could be done. */
export interface HandOverObserver {
  full(waiting: boolean): void;
  dropped(): void;
}

interface Waiting {
  readonly listener: string;
  readonly socket: Socket;
  readonly since: number;
}

/** How often those who wait are looked at, in milliseconds. */
const LOOK = 1_000;

/**
 * Brings each accepted connection to whoever has the fewest sessions. While nobody has room they wait, in order
 * and unread: Node cannot stop accepting and keep the port, so the queue stands here and not in the kernel.
 */
export class HandOver {
  readonly #options: HandOverOptions;
  readonly #waiting: Waiting[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(options: HandOverOptions) {
    this.#options = options;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  take(listener: string, socket: Socket): void {
    const hand = this.#waiting.length === 0 ? this.#freest() : undefined;
    if (hand) hand.give(listener, socket);
    else this.#wait({ listener, socket, since: performance.now() });
  }

  /** Those whose hand is gone before it had them come first. */
  takeBack(listener: string, socket: Socket): void {
    this.#waiting.unshift({ listener, socket, since: performance.now() });
    this.look();
  }

  /** Somebody may have room now. */
  look(): void {
    while (this.#waiting.length > 0) {
      const hand = this.#freest();
      if (!hand) break;
      const next = this.#waiting.shift();
      if (next && !next.socket.destroyed) hand.give(next.listener, next.socket);
    }
    if (this.#waiting.length > 0) this.#startTimer();
    else this.#stopTimer();
  }

  /** Nobody will have room any more. */
  close(): void {
    for (const { socket } of this.#waiting.splice(0)) socket.destroy();
    this.#stopTimer();
  }

  #wait(one: Waiting): void {
    // A connection that breaks while it waits is nobody's error.
    one.socket.on("error", ignore);
    if (this.#waiting.length >= this.#options.maxWaiting) {
      one.socket.destroy();
      this.#options.observer.dropped();
      return;
    }
    this.#waiting.push(one);
    this.#startTimer();
  }

  #freest(): Hand | undefined {
    let freest: Hand | undefined;
    for (const hand of this.#options.hands()) {
      if (hand.free && (freest === undefined || hand.load < freest.load)) freest = hand;
    }
    return freest;
  }

  /** Only those who cannot be served at once cost a timer, and one for all of them. */
  #startTimer(): void {
    if (this.#timer) return;
    this.#timer = setInterval(() => this.#expire(), LOOK);
  }

  #stopTimer(): void {
    if (!this.#timer) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#tellFull(false);
  }

  #told = false;

  #tellFull(full: boolean): void {
    if (this.#told === full) return;
    this.#told = full;
    this.#options.observer.full(full);
  }

  #expire(): void {
    // A moment's waiting, as while the first workers start, is nothing to tell.
    this.#tellFull(true);
    const oldest = performance.now() - this.#options.patienceMs();
    while (this.#waiting[0] && this.#waiting[0].since < oldest) {
      this.#waiting.shift()?.socket.destroy();
      this.#options.observer.dropped();
    }
    this.look();
  }
}

const ignore = (): void => {};
