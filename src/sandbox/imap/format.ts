/** A string as the client can read it (RFC 3501 4.3): quoted if it may be, otherwise a literal. Latin1, a byte a character. */
export function formatString(value: string): string {
  if (value.length <= 1000 && /^[\x20-\x7e]*$/.test(value)) return `"${value.replace(/["\\]/g, "\\$&")}"`;
  // RFC 3501 9, CHAR8: even a literal cannot hold NUL.
  const clean = value.replaceAll("\0", "");
  return `{${clean.length}}\r\n${clean}`;
}

export function formatNstring(value: string | undefined): string {
  return value === undefined ? "NIL" : formatString(value);
}

/** A mailbox name: an atom where it may be one, as clients expect of INBOX. */
export function formatMailbox(name: string): string {
  return /^[A-Za-z0-9!#$&'+,./:;<=>?@^_`|}~-]+$/.test(name) && name.toUpperCase() !== "NIL"
    ? name
    : formatString(name);
}

export function formatFlags(flags: Iterable<string>): string {
  return `(${[...flags].join(" ")})`;
}
