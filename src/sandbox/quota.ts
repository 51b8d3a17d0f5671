import { StoreError } from "./store-error.ts";

export const ACCOUNT_BYTES = 64 * 1024 * 1024;
const ACCOUNT_MESSAGES = 50_000;
export const MESSAGE_BYTES = 50 * 1024 * 1024;

/** What one account may still take. A copy counts as much as the first: its bytes may outlive the original's. */
export class Quota {
  #bytes = 0;
  #messages = 0;

  get bytes(): number {
    return this.#bytes;
  }

  /** Takes room for all of these messages, or for none. */
  take(sizes: readonly number[]): void {
    const total = sizes.reduce((sum, size) => sum + size, 0);
    if (sizes.some((size) => size > MESSAGE_BYTES)) throw new StoreError("LIMIT", "Message is too large");
    if (this.#bytes + total > ACCOUNT_BYTES || this.#messages + sizes.length > ACCOUNT_MESSAGES) {
      throw new StoreError("OVERQUOTA", "The account is full");
    }
    this.#bytes += total;
    this.#messages += sizes.length;
  }

  give(size: number): void {
    this.#bytes -= size;
    this.#messages -= 1;
  }
}
