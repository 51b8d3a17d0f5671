import { createHmac, createSecretKey, randomBytes } from "node:crypto";

const DEFAULT_LIMIT = 10_000;

/**
 * Remembers that a password was right, to save the hash the next time. Successes only: a wrong password
 * never becomes cheaper, whether its user exists or not. Nothing here can be turned back into a password:
 * entries are HMACs under a key that lives and dies with this object.
 */
export class ProvenPasswords {
  /** As a key object: from plain bytes each HMAC would make one anew, at several times its own cost. */
  readonly #key = createSecretKey(randomBytes(32));
  readonly #ttlMs: number;
  readonly #limit: number;
  readonly #clock: () => number;
  /** Digest to time of expiry; in order of last use, the oldest first. */
  readonly #until = new Map<string, number>();

  /** `ttlMs` 0 remembers nothing; `clock` counts milliseconds and never goes back. */
  constructor({ ttlMs, limit = DEFAULT_LIMIT, clock = () => performance.now() }: ProvenPasswordsOptions) {
    this.#ttlMs = ttlMs;
    this.#limit = limit;
    this.#clock = clock;
  }

  get size(): number {
    return this.#until.size;
  }

  /** Whether this password was right for this subject within the last `ttlMs`. */
  has(subject: readonly string[], password: string): boolean {
    if (this.#ttlMs <= 0) return false;
    const digest = this.#digest(subject, password);
    const until = this.#until.get(digest);
    if (until === undefined) return false;
    this.#until.delete(digest);
    if (until <= this.#clock()) return false;
    this.#until.set(digest, until);
    return true;
  }

  /**
   * Call it only for a right password of a user that exists. The subject is all that the proof rests on, such
   * as the user and his stored hash: whatever of it changes makes the old proof worthless at once.
   */
  add(subject: readonly string[], password: string): void {
    if (this.#ttlMs <= 0) return;
    const digest = this.#digest(subject, password);
    this.#until.delete(digest);
    this.#until.set(digest, this.#clock() + this.#ttlMs);
    if (this.#until.size <= this.#limit) return;
    const [leastRecent] = this.#until.keys();
    if (leastRecent !== undefined) this.#until.delete(leastRecent);
  }

  #digest(subject: readonly string[], password: string): string {
    const hmac = createHmac("sha256", this.#key);
    // Lengths first: no two lists of parts read alike.
    for (const part of [...subject, password]) hmac.update(`${part.length}:${part}`);
    return hmac.digest("base64");
  }
}

export interface ProvenPasswordsOptions {
  readonly ttlMs: number;
  readonly limit?: number;
  readonly clock?: () => number;
}
