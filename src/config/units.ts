/** Node's timers cannot wait longer than 2^31 - 1 ms and fire at once instead, so no duration may be longer. */
export const LONGEST_DURATION_MS = 24 * 86_400_000;
/** For what no timer waits for in one go. */
export const LONGEST_PERIOD_MS = 3_650 * 86_400_000;

const MILLISECONDS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const BYTES = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 } as const;

export const DURATION_PATTERN = "^(0|[1-9][0-9]*)(ms|s|m|h|d)$";
export const SIZE_PATTERN = "^(0|[1-9][0-9]*)(B|KiB|MiB|GiB)$";
export const LIMIT_PATTERN = "^(0|[1-9][0-9]*(B|KiB|MiB|GiB)?)(/[1-9][0-9]*(ms|s|m|h|d))?$";

/** How many (`points`), and in how many milliseconds; without `windowMs`, how many at once. 0 is none at all. */
export interface Limit {
  readonly points: number;
  readonly windowMs?: number;
  /** Whether it was written as a size. */
  readonly inBytes?: boolean;
}

/** Milliseconds of `500ms`, `10s`, `5m`, `1h` or `1d`; undefined when it is not one or is longer than 24d. */
export function parseDuration(text: string, longest = LONGEST_DURATION_MS): number | undefined {
  const milliseconds = parseQuantity(text, DURATION_PATTERN, MILLISECONDS);
  return milliseconds !== undefined && milliseconds <= longest ? milliseconds : undefined;
}

/** The shortest exact text for a whole number of milliseconds, in the greatest unit that divides it. */
export function printDuration(milliseconds: number): string {
  return milliseconds === 0 ? "0s" : printQuantity(milliseconds, MILLISECONDS);
}

/** Bytes of `64KiB`, `50MiB`, `2GiB` or `512B`; undefined when it is not one or is beyond a safe integer. */
export function parseSize(text: string): number | undefined {
  return parseQuantity(text, SIZE_PATTERN, BYTES);
}

/** The shortest exact text for a whole number of bytes, in the greatest unit that divides it. */
export function printSize(bytes: number): string {
  return bytes === 0 ? "0B" : printQuantity(bytes, BYTES);
}

/** What `30`, `"30"`, `120/1m` or `20GiB/1d` allows; undefined when it is none of them, or too large. */
export function parseLimit(value: string | number): Limit | undefined {
  const text = String(value);
  if (!new RegExp(LIMIT_PATTERN).test(text)) return undefined;
  const [count = "", period] = text.split("/");
  const inBytes = new RegExp(SIZE_PATTERN).test(count);
  const points = inBytes ? parseSize(count) : Number(count);
  const windowMs = period === undefined ? undefined : parseDuration(period);
  if (points === undefined || !Number.isSafeInteger(points)) return undefined;
  if (period !== undefined && windowMs === undefined) return undefined;
  return { points, ...(windowMs !== undefined && { windowMs }), ...(inBytes && { inBytes }) };
}

function parseQuantity(text: string, pattern: string, units: Record<string, number>): number | undefined {
  const [, digits, unit = ""] = new RegExp(pattern).exec(text) ?? [];
  const quantity = Number(digits) * (units[unit] ?? Number.NaN);
  return Number.isSafeInteger(quantity) ? quantity : undefined;
}

function printQuantity(quantity: number, units: Record<string, number>): string {
  const [name, factor] = Object.entries(units).findLast(([, factor]) => quantity % factor === 0) ?? ["", 1];
  return `${quantity / factor}${name}`;
}
