const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/** How people say so many of what is counted: bytes in units that they read. */
export function amountOf(count: string): (amount: number) => string {
  return count.startsWith("bytes") ? inSize : String;
}

export function inSize(bytes: number): string {
  const power = Math.min(UNITS.length - 1, Math.floor(Math.log2(Math.max(bytes, 1)) / 10));
  return `${Number((bytes / 1024 ** power).toFixed(1))}${UNITS[power]}`;
}
