const UNITS = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["m", 60_000],
  ["s", 1_000],
] as const;

/** A time as people say it, in its two largest units: `10m`, `59m 12s`, `500ms`. */
export function inTime(ms: number): string {
  let left = Math.ceil(ms);
  const parts: string[] = [];
  for (const [unit, length] of UNITS) {
    if (left >= length) parts.push(`${Math.floor(left / length)}${unit}`);
    left %= length;
  }
  return parts.length === 0 ? `${left}ms` : parts.slice(0, 2).join(" ");
}
