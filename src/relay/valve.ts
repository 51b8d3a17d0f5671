import type { Socket } from "node:net";

/** How often a valve opens for its next share, in milliseconds. */
const SHARE = 250;

/**
 * Slows one direction of a relay down to so many bytes a second. Only where a limit asks for it: until then it is
 * open, listens to nothing and has no timer.
 */
export class Valve {
  readonly #from: Socket;
  readonly #to: Socket;
  #rate = Number.POSITIVE_INFINITY;
  /** Bytes that may pass before the next share. */
  #left = Number.POSITIVE_INFINITY;
  #open: (() => void) | undefined;

  constructor(from: Socket, to: Socket) {
    this.#from = from;
    this.#to = to;
  }

  /** Reads on, unless the share is used up or the other side is behind. */
  resume(): void {
    if (this.#left > 0 && !this.#to.writableNeedDrain) this.#from.resume();
  }

  /** Undefined: as many as come. */
  set(bytesPerSecond: number | undefined): void {
    this.#rate = bytesPerSecond ?? Number.POSITIVE_INFINITY;
    if (bytesPerSecond === undefined) this.#open?.();
    else this.#open ??= this.#begin();
  }

  /** Returns what ends it. */
  #begin(): () => void {
    const passed = (chunk: Buffer): void => {
      this.#left -= chunk.length;
      if (this.#left <= 0) this.#from.pause();
    };
    const timer = setInterval(() => this.#share(), SHARE).unref();
    const open = (): void => {
      clearInterval(timer);
      this.#from.off("data", passed).off("close", open);
      this.#left = Number.POSITIVE_INFINITY;
      this.#open = undefined;
      this.resume();
    };
    this.#left = 0;
    this.#from.on("data", passed).once("close", open);
    this.#share();
    return open;
  }

  /** What came too much is made up for by the next shares; what nobody used is no credit. */
  #share(): void {
    const share = (this.#rate * SHARE) / 1000;
    this.#left = Math.min(this.#left + share, share);
    this.resume();
  }
}
