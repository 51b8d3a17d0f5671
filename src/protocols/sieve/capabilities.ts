import { formatString } from "./grammar.ts";

// Capabilities are kept as entries that can be compared: `VERSION 1.0`, `STARTTLS`, and for a capability that is a
// list one entry for each of its words, such as `SIEVE fileinto`. What several backends have in common is then
// simply the entries that all of them have.

/** RFC 5804 1.7 and RFC 6134 2.1: the capabilities whose value is a list of words. */
const LISTS: ReadonlySet<string> = new Set(["SIEVE", "NOTIFY", "SASL", "EXTLISTS"]);
/**
 * What Postern answers for itself before login, whatever the backends say. OWNER belongs behind the login, and
 * UNAUTHENTICATE (RFC 5804 2.14.1) cannot be passed on: it leads past this door. XCLIENT is for us alone.
 */
const OURS: ReadonlySet<string> = new Set([
  "IMPLEMENTATION",
  "SASL",
  "STARTTLS",
  "OWNER",
  "UNAUTHENTICATE",
  "XCLIENT",
]);

/** The entries of one capability as a backend said it; none for what could not be said again. */
export function entriesOf(name: string, value = ""): readonly string[] {
  const key = name.toUpperCase();
  if (!/^[!-~]{1,64}$/.test(key) || !/^[ -~]{0,4096}$/.test(value)) return [];
  if (!LISTS.has(key)) return [value ? `${key} ${value}` : key];
  const words = value.split(" ").filter((word) => word !== "");
  return words.length > 0 ? words.map((word) => `${key} ${word}`) : [key];
}

/** Capability lines before login: what all backends have, and what Postern does itself in the session's present state. */
export function linesBeforeLogin(
  backends: readonly string[],
  state: { canStartTls: boolean; mechanisms: readonly string[] },
): string {
  const theirs = groupByName(backends);
  // RFC 5804 1.7: SIEVE is always there, and VERSION too, unless the backends are known to predate it.
  const sieve = theirs.get("SIEVE") ?? [];
  if (backends.length === 0) theirs.set("VERSION", ["1.0"]);
  // No enotify without NOTIFY: backends may have it in common and yet no way to notify.
  theirs.set("SIEVE", theirs.has("NOTIFY") ? sieve : sieve.filter((word) => word !== "enotify"));
  return [
    pair("IMPLEMENTATION", "Postern"),
    ...Array.from(theirs, ([name, words]) =>
      words.length > 0 || LISTS.has(name) ? pair(name, words.join(" ")) : `"${name}"\r\n`,
    ),
    pair("SASL", state.mechanisms.join(" ")),
    state.canStartTls ? '"STARTTLS"\r\n' : "",
  ].join("");
}

function groupByName(entries: readonly string[]): Map<string, string[]> {
  const grouped = new Map<string, string[]>();
  for (const entry of entries) {
    const space = entry.indexOf(" ");
    const name = space === -1 ? entry : entry.slice(0, space);
    if (OURS.has(name)) continue;
    const values = grouped.get(name) ?? [];
    if (space !== -1) values.push(entry.slice(space + 1));
    grouped.set(name, values);
  }
  return grouped;
}

function pair(name: string, value: string): string {
  return `${formatString(name, "server")} ${formatString(value, "server")}\r\n`;
}
