/** One field of a message header, by where it lies in the message. */
export interface HeaderField {
  /** In lower case; empty for a line that is no field. */
  readonly name: string;
  readonly start: number;
  /** Behind the line end of its last line. */
  readonly end: number;
}

export interface Header {
  readonly fields: readonly HeaderField[];
  readonly start: number;
  /** Behind the blank line, which belongs to the header (RFC 3501 6.4.5). */
  readonly end: number;
  readonly hasBlankLine: boolean;
}

/** Fields beyond these are not listed; the bounds keep a hostile message from costing many times its size. */
const MAX_FIELDS = 2000;
const MAX_NAME = 1000;
const LF = 10;
const CR = 13;
const SPACE = 32;
const TAB = 9;

function lineEnd(raw: Buffer, from: number): number {
  const at = raw.indexOf(LF, from);
  return at < 0 ? raw.length : at + 1;
}

function isBlank(raw: Buffer, from: number, next: number): boolean {
  const length = next - from;
  return (length === 1 && raw[from] === LF) || (length === 2 && raw[from] === CR && raw[from + 1] === LF);
}

/** RFC 5322 2.2: lines up to the first blank one; a line that begins with white space continues its field. */
export function readHeader(message: Buffer, start: number, end: number): Header {
  const raw = message.subarray(0, end); // so that no search runs past the part
  const fields: HeaderField[] = [];
  let at = start;
  while (at < end) {
    let next = lineEnd(raw, at);
    if (isBlank(raw, at, next)) return { fields, start, end: next, hasBlankLine: true };
    while (next < end && (raw[next] === SPACE || raw[next] === TAB)) next = lineEnd(raw, next);
    if (fields.length < MAX_FIELDS) fields.push({ name: fieldName(raw, at, next), start: at, end: next });
    at = next;
  }
  return { fields, start, end, hasBlankLine: false };
}

function fieldName(raw: Buffer, start: number, end: number): string {
  const line = raw.toString("latin1", start, Math.min(end, start + MAX_NAME));
  const colon = line.indexOf(":");
  const name = line.slice(0, Math.max(colon, 0)).trimEnd();
  return /^[\x21-\x7e]+$/.test(name) ? name.toLowerCase() : "";
}

/** The value unfolded (RFC 5322 2.2.3), its bytes as latin1. */
export function fieldValue(raw: Buffer, field: HeaderField): string {
  const text = raw.toString("latin1", field.start, field.end);
  const value = field.name === "" ? text : text.slice(text.indexOf(":") + 1);
  return value
    .replace(/\r?\n(?=[ \t])/g, "")
    .replaceAll(/[\r\n\0]/g, "")
    .trim();
}

export function headerValue(raw: Buffer, header: Header, name: string): string | undefined {
  const field = header.fields.find((each) => each.name === name);
  return field && fieldValue(raw, field);
}
