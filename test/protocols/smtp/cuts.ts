import fc from "fast-check";

/** Bytes, cut at these places, in pieces that are not empty. */
export function cutAt(whole: Buffer, places: readonly number[]): Buffer[] {
  const sorted = [0, ...places.toSorted((a, b) => a - b), whole.length];
  return sorted
    .slice(1)
    .map((end, index) => whole.subarray(sorted[index], end))
    .filter((piece) => piece.length > 0);
}

/** Every byte by itself. */
export function bytewise(whole: Buffer): Buffer[] {
  return Array.from(whole, (byte) => Buffer.of(byte));
}

/** Bytes in which these words are common, and the same bytes cut at any places. */
export function cutWords(words: readonly string[]): fc.Arbitrary<{ whole: Buffer; pieces: Buffer[] }> {
  const word = fc.oneof(
    { weight: 12, arbitrary: fc.constantFrom(...words) },
    { weight: 1, arbitrary: fc.nat(255).map((byte) => String.fromCharCode(byte)) },
  );
  return fc
    .array(word, { maxLength: 40 })
    .map((list) => Buffer.from(list.join(""), "latin1"))
    .chain((whole) =>
      fc
        .array(fc.nat(whole.length), { maxLength: 12 })
        .map((places) => ({ whole, pieces: cutAt(whole, places) })),
    );
}
