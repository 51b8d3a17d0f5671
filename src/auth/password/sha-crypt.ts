import { hash, randomInt } from "node:crypto";
import { chosenWork, outside, type Scheme, sameDigest } from "./scheme.ts";

/**
 * crypt(3)'s SHA-256 and SHA-512 schemes, written from Ulrich Drepper's "Unix crypt using SHA-256 and
 * SHA-512". Written here, not taken from the registry: the `unixcrypt` package (3.0.4) computes a wrong hash
 * for every password whose length is a multiple of the digest's, so 64 characters for `$6$`.
 */
interface Variant {
  readonly name: string;
  readonly id: "5" | "6";
  readonly algorithm: "sha256" | "sha512";
  readonly digestChars: number;
  /** How far each group of three digest bytes is turned against the one before it, when written. */
  readonly turn: number;
}

const ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/** What a text without `rounds=` means. */
const SPOKEN_FOR_ROUNDS = 5_000;
/** A round takes about 1.5 µs here; the usual 100,000 some 150 ms. */
const work = { meaning: "rounds", min: 1_000, max: 1_000_000, usual: 100_000 };

export const sha512Crypt = shaCrypt({
  name: "SHA512-CRYPT",
  id: "6",
  algorithm: "sha512",
  digestChars: 86,
  turn: 1,
});
export const sha256Crypt = shaCrypt({
  name: "SHA256-CRYPT",
  id: "5",
  algorithm: "sha256",
  digestChars: 43,
  turn: 2,
});

function shaCrypt(variant: Variant): Scheme {
  const { name, id, digestChars } = variant;
  const form = new RegExp(
    `^\\$${id}\\$(?:rounds=([1-9][0-9]{0,9})\\$)?([./0-9A-Za-z]{0,16})\\$([./0-9A-Za-z]{${digestChars}})$`,
  );
  return {
    name,
    prefix: new RegExp(`^\\$${id}\\$`),
    instant: false,
    work,

    parse(encoded) {
      const fields = form.exec(encoded);
      if (!fields) return { problem: `not of the form $${id}$rounds=…$salt$ and ${digestChars} characters` };
      const rounds = Number(fields[1] ?? SPOKEN_FOR_ROUNDS);
      const problem = outside("rounds", rounds, work.min, work.max);
      if (problem) return { problem };
      const [, , salt = "", digest = ""] = fields;
      return {
        cost: `${name} rounds=${rounds}`,
        matches: (password) =>
          sameDigest(Buffer.from(derive(variant, password, salt, rounds)), Buffer.from(digest)),
      };
    },

    make(password, asked) {
      const rounds = chosenWork(work, asked);
      const salt = Array.from({ length: 16 }, () => ALPHABET[randomInt(ALPHABET.length)]).join("");
      return `$${id}$rounds=${rounds}$${salt}$${derive(variant, password, salt, rounds)}`;
    },
  };
}

function derive(variant: Variant, password: string, salt: string, rounds: number): string {
  const digest = (...parts: Uint8Array[]): Buffer => hash(variant.algorithm, Buffer.concat(parts), "buffer");
  const key = Buffer.from(password);
  const saltBytes = Buffer.from(salt);

  const first = firstDigest(digest, key, saltBytes);
  const keySequence = repeat(digest(repeat(key, key.length ** 2)), key.length);
  const saltTimes = 16 + (first[0] ?? 0);
  const saltSequence = repeat(digest(repeat(saltBytes, saltBytes.length * saltTimes)), saltBytes.length);
  return encode(stretch(variant, first, keySequence, saltSequence, rounds), variant.turn);
}

/** Steps 1 to 12: the digest that the rounds begin with. */
function firstDigest(digest: (...parts: Uint8Array[]) => Buffer, key: Buffer, salt: Buffer): Buffer {
  const mixed = digest(key, salt, key);
  const parts = [key, salt, repeat(mixed, key.length)];
  for (let bits = key.length; bits > 0; bits >>= 1) parts.push(bits & 1 ? mixed : key);
  return digest(...parts);
}

/** Step 21. A round's message has one of eight shapes; each is laid out once, with a gap for the digest. */
function stretch({ algorithm }: Variant, first: Buffer, key: Buffer, salt: Buffer, rounds: number): Buffer {
  const gap = Buffer.alloc(first.length);
  const shapes = Array.from({ length: 8 }, (_, shape) => {
    const middle = [...(shape & 2 ? [salt] : []), ...(shape & 4 ? [key] : [])];
    const message = Buffer.concat(shape & 1 ? [key, ...middle, gap] : [gap, ...middle, key]);
    return { message, at: shape & 1 ? message.length - gap.length : 0 };
  });
  let digest = first;
  for (let round = 0; round < rounds; round += 1) {
    const shape = shapes[(round & 1) | (round % 3 && 2) | (round % 7 && 4)];
    if (!shape) continue;
    digest.copy(shape.message, shape.at);
    digest = hash(algorithm, shape.message, "buffer");
  }
  return digest;
}

/** Step 22: crypt's own base 64, lowest bits first, over the digest's bytes in crypt's own order. */
function encode(digest: Buffer, turn: number): string {
  const third = Math.floor(digest.length / 3);
  let text = "";
  for (let group = 0; group < third; group += 1) {
    const byte = (place: number) => digest[group + third * ((place + group * turn) % 3)] ?? 0;
    text += letters((byte(0) << 16) | (byte(1) << 8) | byte(2), 4);
  }
  const rest = digest.subarray(third * 3).reduceRight((bits, byte) => (bits << 8) | byte, 0);
  return text + letters(rest, digest.length - third * 3 + 1);
}

function letters(bits: number, count: number): string {
  return Array.from({ length: count }, (_, place) => ALPHABET[(bits >> (6 * place)) & 63]).join("");
}

/** As many bytes as asked, the pattern over and over. */
function repeat(pattern: Buffer, length: number): Buffer {
  return pattern.length === 0 ? Buffer.alloc(0) : Buffer.alloc(length, pattern);
}
