import { createHash, hash, randomBytes } from "node:crypto";

/** 64 bits that stand for a key. */
export interface Digest {
  readonly high: number;
  readonly low: number;
}

/** Places for the keys of the askings that are under way: each is asked for a few times in a row. */
const LATELY = 64;

export const SECRET_BYTES = 32;

/** Turns keys into numbers by a secret of its own, so that nobody can make two of them meet. */
export class Digests {
  #secret = Uint8Array.from(randomBytes(SECRET_BYTES));
  #before = toText(this.#secret);
  readonly #keys: string[] = Array<string>(LATELY).fill("");
  readonly #high = new Uint32Array(LATELY);
  readonly #low = new Uint32Array(LATELY);

  get secret(): Uint8Array {
    return this.#secret;
  }

  /** Another secret: what was counted by the old one is nobody's from now on. */
  rekey(secret: Uint8Array): void {
    this.#secret = Uint8Array.from(secret);
    this.#before = toText(secret);
    this.#keys.fill("");
    this.#high.fill(0);
    this.#low.fill(0);
  }

  of(key: string): Digest {
    const at = placeOf(key);
    if (this.#keys[at] !== key) {
      const hex = hash("sha256", this.#before + key, "hex");
      this.#keys[at] = key;
      this.#high[at] = Number.parseInt(hex.slice(0, 8), 16);
      this.#low[at] = Number.parseInt(hex.slice(8, 16), 16);
    }
    return { high: this.#high[at] as number, low: this.#low[at] as number };
  }
}

/** As short as it may be: with most keys it is one block of the hash. */
function toText(secret: Uint8Array): string {
  return createHash("sha256").update(secret).digest().toString("base64", 0, 16);
}

/** Keys of one asking differ where they begin. */
function placeOf(key: string): number {
  const last = key.length - 1;
  return (key.charCodeAt(0) * 7 + key.charCodeAt(2) * 3 + key.charCodeAt(last) + last) % LATELY || 0;
}
