import bcrypt from "bcryptjs";
import { chosenWork, outside, type Scheme, sameDigest } from "./scheme.ts";

const FORM = /^(\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{22})([./A-Za-z0-9]{31})$/;
const DIGEST_AT = 29;

/** bcrypt reads this much of a password and ignores the rest. */
const MAX_PASSWORD_BYTES = 72;
/** Each step doubles the time: 10 takes 80 ms here, 15 2.5 s. */
const work = { meaning: "log2 of the rounds", min: 4, max: 15, usual: 11 };

export const blfCrypt: Scheme = {
  name: "BLF-CRYPT",
  prefix: /^\$2[aby]\$/,
  instant: false,
  work,

  parse(encoded) {
    const [, salt, cost, digest] = FORM.exec(encoded) ?? [];
    if (!salt || !digest)
      return { problem: "not of the form $2y$cost$ and 53 characters (2a and 2b are good too)" };
    const problem = outside("cost", Number(cost), work.min, work.max);
    if (problem) return { problem };
    return {
      cost: `BLF-CRYPT ${cost}`,
      matches: (password) => sameDigest(digestOf(bcrypt.hashSync(password, salt)), Buffer.from(digest)),
    };
  },

  make(password, asked) {
    if (Buffer.byteLength(password) > MAX_PASSWORD_BYTES) {
      throw new RangeError(`BLF-CRYPT ignores all but the first ${MAX_PASSWORD_BYTES} bytes of a password`);
    }
    const made = bcrypt.hashSync(password, bcrypt.genSaltSync(chosenWork(work, asked)));
    // One algorithm under two names: Dovecot, PHP and crypt(3) write 2y for what OpenBSD writes 2b.
    return made.replace(/^\$2[ab]\$/, "$2y$$");
  },
};

/** The part behind cost and salt. Salts are left out: two texts may spell one salt. */
function digestOf(hash: string): Buffer {
  return Buffer.from(hash.slice(DIGEST_AT));
}
