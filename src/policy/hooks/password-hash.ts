import { createHash } from "node:crypto";

export interface HashOptions {
  readonly mech: "sha256" | "sha512" | "sha1" | "md5";
  /** Bits that are left of it; 0 leaves all. */
  readonly truncate: number;
  /** Secret. */
  readonly nonce: string;
}

/**
 * What stands for a password where its like is counted, as Dovecot makes it: the first bits of a digest over nonce,
 * name, NUL and password. They are few, so that nobody finds the password by them. Without a password they are the
 * name's alone.
 */
export function passwordHash({ mech, truncate, nonce }: HashOptions, name: string, password = ""): string {
  const digest = createHash(mech).update(`${nonce}${name}\0${password}`).digest();
  if (truncate === 0 || truncate >= digest.length * 8) return digest.toString("hex");
  const bytes = Math.ceil(truncate / 8);
  const number = BigInt(`0x${digest.toString("hex", 0, bytes)}`) >> BigInt(bytes * 8 - truncate);
  return number.toString(16).padStart(bytes * 2, "0");
}
