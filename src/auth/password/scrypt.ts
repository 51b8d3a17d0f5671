import { randomBytes, scryptSync } from "node:crypto";
import { decodePhc, encodePhc } from "./phc.ts";
import { type BadStored, chosenWork, outside, type Parsed, type Scheme, sameDigest } from "./scheme.ts";

const FORM =
  /^\$scrypt\$ln=([1-9]\d?),r=([1-9]\d{0,9}),p=([1-9]\d{0,9})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$/;

/** N times r times p: memory passed over is 128 bytes times this, so a gibibyte. */
const MAX_EFFORT = 2 ** 23;
const work = { meaning: "log2 of N", min: 10, max: 20, usual: 15 };

interface Parameters {
  readonly ln: number;
  readonly r: number;
  readonly p: number;
}

/** Dovecot has no scrypt; the form is the one that Python's passlib writes, which is the PHC string format. */
export const scrypt: Scheme = {
  name: "SCRYPT",
  prefix: /^\$scrypt\$/,
  instant: false,
  work,

  parse(encoded) {
    const fields = FORM.exec(encoded);
    if (!fields) return { problem: "not of the form $scrypt$ln=…,r=…,p=…$salt$hash" };
    const [, ln, r, p] = fields.map(Number);
    return check(
      { ln: Number(ln), r: Number(r), p: Number(p) },
      decodePhc(fields[4] ?? ""),
      decodePhc(fields[5] ?? ""),
    );
  },

  make(password, asked) {
    const parameters = { ln: chosenWork(work, asked), r: 8, p: 1 };
    const salt = randomBytes(16);
    return `$scrypt$${write(parameters)}$${encodePhc(salt)}$${encodePhc(derive(password, parameters, salt, 32))}`;
  },
};

function check(
  parameters: Parameters,
  salt: Buffer | undefined,
  digest: Buffer | undefined,
): Parsed | BadStored {
  if (!salt || !digest) return { problem: "salt or hash is not base64" };
  const { ln, r, p } = parameters;
  const problem =
    outside("ln (log2 of N)", ln, 1, 23) ??
    outside("N times r times p", 2 ** ln * r * p, 1, MAX_EFFORT) ??
    outside("salt's length in bytes", salt.length, 8, 64) ??
    outside("hash's length in bytes", digest.length, 16, 128);
  // RFC 7914 section 2: N is less than 2^(128 * r / 8); OpenSSL refuses others.
  if (!problem && ln >= 16 * r) return { problem: `ln is ${ln}, but must be less than 16 times r` };
  if (problem) return { problem };
  return {
    cost: `SCRYPT ${write(parameters)}`,
    matches: (password) => sameDigest(derive(password, parameters, salt, digest.length), digest),
  };
}

function derive(password: string, { ln, r, p }: Parameters, salt: Buffer, length: number): Buffer {
  const N = 2 ** ln;
  // OpenSSL counts a little more than the table itself; the bound that matters was checked by parse.
  return scryptSync(password, salt, length, { N, r, p, maxmem: 128 * r * (N + p + 32) });
}

function write({ ln, r, p }: Parameters): string {
  return `ln=${ln},r=${r},p=${p}`;
}
