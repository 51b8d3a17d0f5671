import { pbkdf2Sync, randomBytes } from "node:crypto";
import { chosenWork, outside, type Scheme, sameDigest } from "./scheme.ts";

const FORM = /^\$1\$([!-#%-~]{1,64})\$([1-9]\d{0,9})\$([0-9a-fA-F]{40})$/;

/** OWASP's rounds for PBKDF2 with SHA-1; 0.2 s here. Dovecot's own default is 5000. */
const work = { meaning: "rounds", min: 5_000, max: 10_000_000, usual: 1_300_000 };

/** As Dovecot writes it: HMAC-SHA1, 20 bytes in hexadecimal, the salt's characters taken as bytes. */
export const pbkdf2: Scheme = {
  name: "PBKDF2",
  instant: false,
  work,

  parse(encoded) {
    const [, salt, rounds, digest] = FORM.exec(encoded) ?? [];
    if (!salt || !rounds || !digest)
      return { problem: "not of the form $1$salt$rounds$hash with 40 hexadecimal digits" };
    const problem = outside("rounds", Number(rounds), 1, work.max);
    if (problem) return { problem };
    const expected = Buffer.from(digest, "hex");
    return {
      cost: `PBKDF2 rounds=${rounds}`,
      matches: (password) => sameDigest(derive(password, salt, Number(rounds)), expected),
    };
  },

  make(password, asked) {
    const salt = randomBytes(12).toString("base64").replaceAll("+", ".");
    const rounds = chosenWork(work, asked);
    return `$1$${salt}$${rounds}$${derive(password, salt, rounds).toString("hex")}`;
  },
};

function derive(password: string, salt: string, rounds: number): Buffer {
  return pbkdf2Sync(password, salt, rounds, 20, "sha1");
}
