/** RFC 3501 9, sequence-set; `*` is Infinity until the mailbox says what it is. */
export type SequenceSet = readonly (readonly [from: number, to: number])[];

const MAX_NUMBER = 4294967295;

export function parseSequenceSet(text: string): SequenceSet | undefined {
  if (!/^[\d*][\d*:,]*$/.test(text)) return undefined;
  const ranges = text.split(",").map(parseRange);
  return ranges.every((range) => range !== undefined) ? ranges : undefined;
}

function parseRange(text: string): readonly [number, number] | undefined {
  const ends = text.split(":").map(parseNumber);
  const [from, to = from] = ends;
  return ends.length > 2 || from === undefined || to === undefined || ends.includes(undefined)
    ? undefined
    : [from, to];
}

function parseNumber(text: string): number | undefined {
  if (text === "*") return Number.POSITIVE_INFINITY;
  const number = /^[1-9]\d{0,9}$/.test(text) ? Number(text) : 0;
  return number >= 1 && number <= MAX_NUMBER ? number : undefined;
}

/** Sorted ranges without overlap, `*` replaced; whoever asks for a range `5:2` means `2:5` (RFC 3501 9, seq-range). */
export function resolveSet(set: SequenceSet, last: number): [from: number, to: number][] {
  const ranges = set
    .map((range) => range.map((end) => (end === Number.POSITIVE_INFINITY ? last : end)))
    .map(([a = 0, b = 0]): [number, number] => (a <= b ? [a, b] : [b, a]))
    .sort(([a], [b]) => a - b);
  const merged: [number, number][] = [];
  for (const [from, to] of ranges) {
    const previous = merged.at(-1);
    if (previous && from <= previous[1] + 1) previous[1] = Math.max(previous[1], to);
    else merged.push([from, to]);
  }
  return merged;
}

/** The shortest set with these numbers in this order, as COPYUID wants it (RFC 4315 3). */
export function formatSet(numbers: readonly number[]): string {
  const ranges: [number, number][] = [];
  for (const number of numbers) {
    const previous = ranges.at(-1);
    if (previous && number === previous[1] + 1) previous[1] = number;
    else ranges.push([number, number]);
  }
  return ranges.map(([from, to]) => (from === to ? `${from}` : `${from}:${to}`)).join(",");
}
