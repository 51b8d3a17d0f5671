import { argon2id, unmatchable } from "./argon2id.ts";
import { blfCrypt } from "./blf-crypt.ts";
import { pbkdf2 } from "./pbkdf2.ts";
import { plain } from "./plain.ts";
import type { BadStored, Parsed, Scheme } from "./scheme.ts";
import { scrypt } from "./scrypt.ts";
import { sha256Crypt, sha512Crypt } from "./sha-crypt.ts";

/** All there are; the first is what `postern hash` takes by default. */
export const SCHEMES: readonly Scheme[] = [
  argon2id,
  scrypt,
  blfCrypt,
  sha512Crypt,
  sha256Crypt,
  pbkdf2,
  plain,
];

/** Other names that Dovecot has for some of them. `{CRYPT}` says only that the hash itself tells. */
const ALIASES: Readonly<Record<string, string>> = { CLEAR: "PLAIN", CLEARTEXT: "PLAIN" };
const CRYPT_SCHEMES: readonly Scheme[] = [blfCrypt, sha512Crypt, sha256Crypt];

/** crypt(3) stops at 512 bytes, and its schemes take quadratic time; nobody's password is longer than this. */
export const MAX_PASSWORD_BYTES = 1024;
const MAX_STORED_CHARS = 2048;

/** A password as a source of users keeps it, known to be well-formed. Crosses threads. */
export interface StoredPassword {
  readonly scheme: string;
  /** Scheme and parameters: stored passwords of one cost take one time to check. */
  readonly cost: string;
  /** The text, canonical scheme in front. Secret. */
  readonly stored: string;
}

/** The scheme of this name, whatever its case. */
export function findScheme(name: string): Scheme | undefined {
  const upper = name.toUpperCase();
  return SCHEMES.find((scheme) => scheme.name === (ALIASES[upper] ?? upper));
}

/**
 * Understands `{SCHEME}hash`, or a hash whose prefix says its scheme. Bad input is a returned problem, which
 * never quotes it.
 */
export function parseStored(text: string): (StoredPassword & Pick<Parsed, "matches">) | BadStored {
  if (text.length > MAX_STORED_CHARS) return { problem: `longer than ${MAX_STORED_CHARS} characters` };
  const [, braced, encoded = ""] = /^\{([^{}]{1,32})\}(.*)$/s.exec(text) ?? [undefined, undefined, text];
  const scheme = braced === undefined ? byPrefix(SCHEMES, encoded) : byName(braced, encoded);
  if (!scheme) return { problem: unknownScheme(braced) };
  const parsed = scheme.parse(encoded);
  if ("problem" in parsed) return { problem: `{${scheme.name}}: ${parsed.problem}` };
  return { scheme: scheme.name, stored: `{${scheme.name}}${encoded}`, ...parsed };
}

/** A well-formed stored password of the usual cost that no password matches. */
export function decoyPassword(): StoredPassword {
  const parsed = parseStored(unmatchable());
  if ("problem" in parsed) throw new Error(parsed.problem);
  return { scheme: parsed.scheme, cost: parsed.cost, stored: parsed.stored };
}

function byName(name: string, encoded: string): Scheme | undefined {
  return name.toUpperCase() === "CRYPT" ? byPrefix(CRYPT_SCHEMES, encoded) : findScheme(name);
}

function byPrefix(schemes: readonly Scheme[], encoded: string): Scheme | undefined {
  return schemes.find(({ prefix }) => prefix?.test(encoded));
}

function unknownScheme(braced: string | undefined): string {
  const known = SCHEMES.map(({ name }) => `{${name}}`).join(" ");
  if (braced?.toUpperCase() === "CRYPT") return "{CRYPT} with a hash that is not $2y$, $5$ or $6$";
  // Only a name that looks like one is repeated: the braces may belong to a password.
  const named =
    braced !== undefined && /^[A-Za-z0-9.-]+$/.test(braced) ? `unknown scheme {${braced}}` : "no {SCHEME}";
  return `${named}; there are ${known}`;
}
