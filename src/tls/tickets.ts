import { hkdfSync, randomBytes } from "node:crypto";

const SECRET_BYTES = 32;
/** What OpenSSL wants to encrypt tickets: 16 bytes of name, 16 for AES, 16 for HMAC. */
const KEY_BYTES = 48;
const ROTATE_MS = 12 * 3_600_000;

export interface TicketSecretOptions {
  /** What another process or replica has; without it one of our own. Secret. */
  readonly secret?: Uint8Array;
  /** How long it is used; 0 leaves that to whoever calls `adopt`. Default 12 h. */
  readonly rotateMs?: number;
}

/**
 * The secret behind all TLS session tickets, for as long as it lives: who learns it can read the sessions of its
 * time, so it is never stored and is replaced every few hours. Sessions from before are full handshakes again.
 * Whoever has the same secret resumes the same sessions: `adopt` takes one in, and `onChange` hears of a new one.
 */
export class TicketSecret implements Disposable {
  #secret: Uint8Array;
  readonly #timer: NodeJS.Timeout | undefined;
  readonly #listeners = new Set<(secret: Uint8Array) => void>();

  constructor({ secret = randomBytes(SECRET_BYTES), rotateMs = ROTATE_MS }: TicketSecretOptions = {}) {
    this.#secret = checked(secret);
    if (rotateMs > 0) this.#timer = setInterval(() => this.rotate(), rotateMs).unref();
  }

  /** The keys of one purpose: no ticket made for one is any good for another. */
  keysFor(purpose: readonly string[]): Buffer {
    return Buffer.from(
      hkdfSync("sha256", this.#secret, "", JSON.stringify(["tickets", ...purpose]), KEY_BYTES),
    );
  }

  /** Begins anew, with a secret that nobody has had. */
  rotate(): void {
    this.adopt(randomBytes(SECRET_BYTES));
  }

  /** Goes on with a secret that others have, too. */
  adopt(secret: Uint8Array): void {
    this.#secret = checked(secret);
    for (const listener of this.#listeners) listener(this.#secret);
  }

  /** Calls back after each change, with the new secret; the returned function takes that back. */
  onChange(listener: (secret: Uint8Array) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#listeners.clear();
  }
}

function checked(secret: Uint8Array): Uint8Array {
  if (secret.length < SECRET_BYTES)
    throw new RangeError(`a ticket secret of less than ${SECRET_BYTES} bytes`);
  return secret;
}
