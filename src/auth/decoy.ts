import { createHmac } from "node:crypto";

export interface Choice<T> {
  /** Tells the choices apart; stays the same across reloads. */
  readonly key: string;
  readonly weight: number;
  readonly value: T;
}

const BITS_48 = 2 ** 48;

/**
 * Picks for a name: always the same choice while secret and choices stay, over all names each choice in
 * proportion to its weight. A choice added or taken away moves only the names it must (weighted rendezvous
 * hashing), so a reload does not show which names are decoys by moving them all. Undefined without choices.
 */
export function pickFor<T>(secret: Uint8Array, name: string, choices: readonly Choice<T>[]): T | undefined {
  const [only] = choices;
  if (choices.length <= 1) return only?.value;
  let best = only;
  let bestScore = Number.POSITIVE_INFINITY;
  for (const choice of choices) {
    const score = -Math.log(fraction(secret, name, choice.key)) / choice.weight;
    if (score >= bestScore) continue;
    best = choice;
    bestScore = score;
  }
  return best?.value;
}

/** Between 0 and 1, never either. */
function fraction(secret: Uint8Array, name: string, key: string): number {
  const digest = createHmac("sha256", secret).update(`${key.length}:${key}${name}`).digest();
  return (digest.readUIntBE(0, 6) + 0.5) / BITS_48;
}
