import { randomBytes } from "node:crypto";
import type { SharedValues } from "./shared-value.ts";

const SECRET_BYTES = 32;
const ROTATE_MS = 12 * 3_600_000;
const POLL_MS = 5_000;

export interface SharedSecretOptions {
  readonly values: Pick<SharedValues, "readOrWrite">;
  readonly name: string;
  readonly adopt: (secret: Uint8Array) => void;
  readonly rotateMs?: number;
  readonly pollMs?: number;
}

/**
 * One secret for all replicas. It ends by itself in Redis, and whoever first finds it gone puts the next one there:
 * no replica has to be the one that rotates. All others have it within `pollMs`. While Redis is away the last one
 * goes on, but not for longer than it would have been used otherwise.
 */
export class SharedSecret implements Disposable {
  readonly #options: SharedSecretOptions;
  readonly #rotateMs: number;
  readonly #timer: NodeJS.Timeout;
  #current: Uint8Array | undefined;
  #confirmedAt = performance.now();

  private constructor(options: SharedSecretOptions) {
    this.#options = options;
    this.#rotateMs = options.rotateMs ?? ROTATE_MS;
    this.#timer = setInterval(() => void this.#look(), options.pollMs ?? POLL_MS).unref();
  }

  /** Has looked once when it returns. */
  static async open(options: SharedSecretOptions): Promise<SharedSecret> {
    const shared = new SharedSecret(options);
    await shared.#look();
    return shared;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  async #look(): Promise<void> {
    const { values, name } = this.#options;
    const fresh = randomBytes(SECRET_BYTES);
    const secret = await values.readOrWrite(name, fresh, this.#rotateMs).catch(() => undefined);
    if (secret?.length === SECRET_BYTES) this.#take(secret);
    else if (performance.now() - this.#confirmedAt > this.#rotateMs) this.#take(fresh);
  }

  #take(secret: Uint8Array): void {
    this.#confirmedAt = performance.now();
    if (this.#current && Buffer.compare(this.#current, secret) === 0) return;
    this.#current = secret;
    this.#options.adopt(secret);
  }
}
