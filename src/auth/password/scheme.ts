import { timingSafeEqual } from "node:crypto";

/** A stored password whose text was understood. */
export interface Parsed {
  /** Scheme and parameters without salt: two stored passwords of one cost take one time to check. */
  readonly cost: string;
  /** Compares in constant time. Blocks its thread for as long as the scheme asks. */
  readonly matches: (password: string) => boolean;
}

/** Why a text is no stored password. Never quotes the text: it is a secret. */
export interface BadStored {
  readonly problem: string;
}

/** The one number that says how much work a new hash shall cost. */
export interface Work {
  readonly meaning: string;
  readonly min: number;
  readonly max: number;
  readonly usual: number;
}

/**
 * One way to store a password. The bounds of `parse` keep one check below some four seconds on slow
 * hardware of today, well under the job timeout of the worker pool; an entry beyond them is a mistake in
 * the file, and is told when the file is loaded, not when its user cannot sign in.
 */
export interface Scheme {
  /** As it stands in braces, in upper case. */
  readonly name: string;
  /** How a text without `{SCHEME}` shows that it is of this scheme. */
  readonly prefix?: RegExp;
  /** Checked in microseconds: needs no worker thread. */
  readonly instant: boolean;
  readonly work?: Work;
  /** Understands what stands behind `{SCHEME}`. Never throws. */
  parse(encoded: string): Parsed | BadStored;
  /** Hashes a new password, blocking; throws a RangeError that says why when the scheme cannot hold it. */
  make(password: string, work?: number): string;
}

/** Whether two digests are equal, in a time that does not tell where they differ. */
export function sameDigest(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

/** The complaint about a parameter outside its bounds, or undefined. */
export function outside(name: string, value: number, min: number, max: number): string | undefined {
  return value >= min && value <= max ? undefined : `${name} is ${value}, but may be ${min} to ${max}`;
}

/** The work asked for, or the scheme's usual; throws a RangeError outside its bounds. */
export function chosenWork({ meaning, min, max, usual }: Work, asked: number | undefined): number {
  const chosen = asked ?? usual;
  const complaint = Number.isInteger(chosen)
    ? outside(meaning, chosen, min, max)
    : `${meaning} is no whole number`;
  if (complaint) throw new RangeError(complaint);
  return chosen;
}
