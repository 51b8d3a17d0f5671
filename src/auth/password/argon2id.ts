import { argon2Sync, randomBytes } from "node:crypto";
import { decodePhc, encodePhc } from "./phc.ts";
import { type BadStored, chosenWork, outside, type Parsed, type Scheme, sameDigest } from "./scheme.ts";

const NUMBER = "([1-9][0-9]{0,9})";
const BASE64 = "([A-Za-z0-9+/]+)";
const FORM = new RegExp(
  `^\\$argon2id\\$v=${NUMBER}\\$m=${NUMBER},t=${NUMBER},p=${NUMBER}\\$${BASE64}\\$${BASE64}$`,
);

/** Argon2 1.3, the only version that OpenSSL computes and the only one written since 2016. */
const VERSION = 19;
const MAX_MEMORY_KIB = 1024 * 1024;
/** Memory times passes: a gibibyte passed over four times takes some five seconds. */
const MAX_TRAFFIC_KIB = 4 * MAX_MEMORY_KIB;
const MAX_LANES = 64;

/** OWASP's least memory and passes for one lane; 35 ms here. */
const MEMORY_KIB = 19_456;
const work = { meaning: "passes", min: 1, max: 200, usual: 2 };

interface Parameters {
  readonly memory: number;
  readonly passes: number;
  readonly parallelism: number;
}

export const argon2id: Scheme = {
  name: "ARGON2ID",
  prefix: /^\$argon2id\$/,
  instant: false,
  work,

  parse(encoded) {
    const fields = FORM.exec(encoded);
    if (!fields) return { problem: "not of the form $argon2id$v=19$m=…,t=…,p=…$salt$hash" };
    const [, version, memory, passes, parallelism] = fields.map(Number);
    if (version !== VERSION)
      return { problem: `Argon2 version ${version} is not supported, only ${VERSION}` };
    return check(
      { memory: Number(memory), passes: Number(passes), parallelism: Number(parallelism) },
      decodePhc(fields[5] ?? ""),
      decodePhc(fields[6] ?? ""),
    );
  },

  make(password, asked) {
    const parameters = { memory: MEMORY_KIB, passes: chosenWork(work, asked), parallelism: 1 };
    const salt = randomBytes(16);
    return write(parameters, salt, derive(password, parameters, salt, 32));
  },
};

/** A stored password of the usual cost that no password matches but by an accident of 2^-256. */
export function unmatchable(): string {
  return write({ memory: MEMORY_KIB, passes: work.usual, parallelism: 1 }, randomBytes(16), randomBytes(32));
}

function check(
  parameters: Parameters,
  salt: Buffer | undefined,
  digest: Buffer | undefined,
): Parsed | BadStored {
  if (!salt || !digest) return { problem: "salt or hash is not base64" };
  const { memory, passes, parallelism } = parameters;
  const problem =
    outside("p (lanes)", parallelism, 1, MAX_LANES) ??
    outside("m (memory in KiB)", memory, 8 * parallelism, MAX_MEMORY_KIB) ??
    outside("m times t (KiB passed over)", memory * passes, 1, MAX_TRAFFIC_KIB) ??
    outside("salt's length in bytes", salt.length, 8, 64) ??
    outside("hash's length in bytes", digest.length, 16, 128);
  if (problem) return { problem };
  return {
    cost: `ARGON2ID m=${memory},t=${passes},p=${parallelism}`,
    matches: (password) => sameDigest(derive(password, parameters, salt, digest.length), digest),
  };
}

function derive(message: string, parameters: Parameters, nonce: Buffer, tagLength: number): Buffer {
  return argon2Sync("argon2id", { message, nonce, tagLength, ...parameters });
}

function write({ memory, passes, parallelism }: Parameters, salt: Buffer, digest: Buffer): string {
  return `$argon2id$v=${VERSION}$m=${memory},t=${passes},p=${parallelism}$${encodePhc(salt)}$${encodePhc(digest)}`;
}
