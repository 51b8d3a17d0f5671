import type { Receipt } from "./store.ts";

const AT_ONCE = 500;

/** The seats that this Postern holds, renewed for as long as it does: who was killed holds none. */
export class Seats implements Disposable {
  readonly #held = new Map<string, Receipt>();
  readonly #renew: (seats: readonly Receipt[]) => Promise<void>;
  readonly #timer: NodeJS.Timeout;

  constructor(everyMs: number, renew: (seats: readonly Receipt[]) => Promise<void>) {
    this.#renew = renew;
    this.#timer = setInterval(() => void this.#renewAll(), everyMs).unref();
  }

  hold(receipt: Receipt): void {
    if (receipt.bucket.windowMs === undefined) this.#held.set(nameOf(receipt), receipt);
  }

  release(receipt: Receipt): void {
    this.#held.delete(nameOf(receipt));
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  async #renewAll(): Promise<void> {
    const names = [...this.#held.keys()];
    for (let at = 0; at < names.length; at += AT_ONCE) {
      // One that was given back meanwhile is not brought back.
      const seats = names.slice(at, at + AT_ONCE).flatMap((name) => this.#held.get(name) ?? []);
      if (seats.length > 0) await this.#renew(seats);
    }
  }
}

function nameOf({ bucket, window }: Receipt): string {
  return `${window} ${bucket.key}`;
}
