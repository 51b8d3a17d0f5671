import type { Socket } from "node:net";

/** How often a valve opens for its next share, in milliseconds. */
const SHARE = 250;

/**
 * Slows one direction of a relay down to so many bytes a second. Only where a limit asks for it: a relay without one
 * has a valve that does nothing.
 */
export class Valve {
  readonly #from: Socket;
  readonly #to: Socket;
  #rate = Number.POSITIVE_INFINITY;
  /** Bytes that may pass before the next share. */
  #left = Number.POSITIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;

  constructor(from: Socket, to: Socket) {
    this.#from = from;
    this.#to = to;
  }

  /** Reads on, unless the share is used up or the other side is behind. */
  readonly resume = (): void => {
    if (this.#left > 0 && !this.#to.writableNeedDrain) this.#from.resume();
  };

  /** Undefined: as many as come. */
  set(bytesPerSecond: number | undefined): void {
    this.#rate = bytesPerSecond ?? Number.POSITIVE_INFINITY;
    if (bytesPerSecond === undefined) this.#open();
    else if (!this.#timer) this.#begin();
  }

  #begin(): void {
    this.#left = 0;
    this.#from.on("data", this.#passed).once("close", this.#open);
    this.#timer = setInterval(this.#share, SHARE).unref();
    this.#share();
  }

  readonly #open = (): void => {
    if (!this.#timer) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#left = Number.POSITIVE_INFINITY;
    this.#from.off("data", this.#passed).off("close", this.#open);
    this.resume();
  };

  readonly #passed = (chunk: Buffer): void => {
    this.#left -= chunk.length;
    if (this.#left <= 0) this.#from.pause();
  };

  /** What came too much is made up for by the next shares; what nobody used is no credit. */
  readonly #share = (): void => {
    const share = (this.#rate * SHARE) / 1000;
    this.#left = Math.min(this.#left + share, share);
    this.resume();
  };
}
