import { DELIMITER, normalName } from "../account.ts";

/** Longer than any mailbox name, so nothing is lost by passing over such a pattern. */
const MAX_PATTERN = 500;

/** RFC 3501 6.3.8: `*` is anything, `%` anything within one level. */
export function matchesPattern(pattern: string, name: string): boolean {
  if (pattern.length > MAX_PATTERN) return false;
  let reached = new Set([0]);
  // All positions in the name that the pattern so far can reach: no backtracking, whatever the wildcards.
  for (const char of normalPattern(pattern)) {
    const next = new Set<number>();
    for (const at of reached) advance(char, name, at, next);
    reached = next;
  }
  return reached.has(name.length);
}

function advance(char: string, name: string, at: number, next: Set<number>): void {
  if (char !== "*" && char !== "%") {
    if (name.charAt(at) === char) next.add(at + 1);
    return;
  }
  for (let to = at; to <= name.length && !next.has(to); to++) {
    next.add(to);
    if (char === "%" && name.charAt(to) === DELIMITER) return;
  }
}

/** RFC 3501 5.1: INBOX matches in any case, also as the first level. */
function normalPattern(pattern: string): string {
  const first = pattern.split(/[/*%]/, 1)[0] ?? "";
  return first.toUpperCase() === "INBOX" ? normalName(first) + pattern.slice(first.length) : pattern;
}
