import { hash, randomBytes } from "node:crypto";

/** 64 bits that stand for a key. */
export interface Digest {
  readonly high: number;
  readonly low: number;
}

/** Places for the keys of the askings that are under way: each is asked for a few times in a row. */
const LATELY = 64;

/** Turns keys into numbers by a secret of its own, so that nobody can make two of them meet. */
export class Digests {
  readonly #secret = randomBytes(16).toString("base64");
  readonly #keys: string[] = Array<string>(LATELY).fill("");
  readonly #high = new Uint32Array(LATELY);
  readonly #low = new Uint32Array(LATELY);

  of(key: string): Digest {
    const at = placeOf(key);
    if (this.#keys[at] !== key) {
      const hex = hash("sha256", this.#secret + key, "hex");
      this.#keys[at] = key;
      this.#high[at] = Number.parseInt(hex.slice(0, 8), 16);
      this.#low[at] = Number.parseInt(hex.slice(8, 16), 16);
    }
    return { high: this.#high[at] as number, low: this.#low[at] as number };
  }
}

/** Keys of one asking differ where they begin. */
function placeOf(key: string): number {
  const last = key.length - 1;
  return (key.charCodeAt(0) * 7 + key.charCodeAt(2) * 3 + key.charCodeAt(last) + last) % LATELY || 0;
}
