import { type Header, headerValue, readHeader } from "./header.ts";
import { type ParameterizedValue, parseParameterized } from "./structured-field.ts";

/** One MIME entity, by where it lies in its message. */
export interface MimePart {
  readonly header: Header;
  /** The body runs from the header's end to here. */
  readonly end: number;
  /** In lower case, as is `subtype`. */
  readonly type: string;
  readonly subtype: string;
  readonly parameters: ParameterizedValue["parameters"];
  /** Of a multipart; never empty there, always empty elsewhere. */
  readonly children: readonly MimePart[];
  /** What a message/rfc822 carries. */
  readonly message?: MimePart;
}

export const MAX_DEPTH = 30;
export const MAX_PARTS = 1000;

const trees = new WeakMap<Buffer, MimePart>();

/** The structure of a message. Parsed once per buffer, which must not change. */
export function parseMime(raw: Buffer): MimePart {
  const known = trees.get(raw);
  if (known) return known;
  const tree = readPart({ raw, partsLeft: MAX_PARTS }, { start: 0, end: raw.length, depth: 0 });
  trees.set(raw, tree);
  return tree;
}

interface Reading {
  readonly raw: Buffer;
  partsLeft: number;
}

interface Extent {
  readonly start: number;
  readonly end: number;
  readonly depth: number;
  /** In multipart/digest an untyped part is a message (RFC 2046 5.1.5). */
  readonly inDigest?: boolean;
}

function readPart(reading: Reading, extent: Extent): MimePart {
  const { end, depth } = extent;
  reading.partsLeft--;
  const header = readHeader(reading.raw, extent.start, end);
  const media = mediaType(headerValue(reading.raw, header, "content-type"), extent.inDigest);
  const leaf = { header, end, ...media, children: [] };
  const mayNest = depth < MAX_DEPTH && reading.partsLeft > 0;
  if (media.type === "multipart") {
    const children = mayNest ? readChildren(reading, leaf, depth) : [];
    // A multipart without parts is not one, and BODYSTRUCTURE has no way to say it (RFC 3501 9, body-type-mpart).
    return children.length > 0 ? { ...leaf, children } : { ...leaf, ...PLAIN_TEXT };
  }
  if (media.type === "message" && media.subtype === "rfc822") {
    if (!mayNest) return { ...leaf, type: "application", subtype: "octet-stream" };
    return { ...leaf, message: readPart(reading, { start: header.end, end, depth: depth + 1 }) };
  }
  return leaf;
}

const PLAIN_TEXT = { type: "text", subtype: "plain", parameters: [] } as const;

function mediaType(
  value: string | undefined,
  inDigest: boolean | undefined,
): Pick<MimePart, "type" | "subtype" | "parameters"> {
  if (value === undefined && inDigest) return { type: "message", subtype: "rfc822", parameters: [] };
  const { value: media, parameters } = parseParameterized(value ?? "");
  const [type, subtype, ...rest] = media.toLowerCase().split("/");
  // RFC 2045 5.2: no type, or one that makes no sense, is plain text.
  return type && subtype && rest.length === 0 ? { type, subtype, parameters } : PLAIN_TEXT;
}

function readChildren(reading: Reading, parent: MimePart, depth: number): MimePart[] {
  const boundary = parent.parameters.find(([name]) => name === "boundary")?.[1];
  if (!boundary) return [];
  const children: MimePart[] = [];
  const inDigest = parent.subtype === "digest";
  for (const { start, end } of betweenDelimiters(reading.raw, boundary, parent.header.end, parent.end)) {
    if (reading.partsLeft <= 0) break;
    children.push(readPart(reading, { start, end, depth: depth + 1, inDigest }));
  }
  return children;
}

interface Delimiter {
  /** Where the line end before it begins: that line end is part of the delimiter (RFC 2046 5.1.1). */
  readonly before: number;
  readonly after: number;
  readonly closing: boolean;
}

function* betweenDelimiters(
  message: Buffer,
  boundary: string,
  from: number,
  end: number,
): Generator<{ start: number; end: number }> {
  const raw = message.subarray(0, end); // so that no search runs past the part
  let open = nextDelimiter(raw, boundary, from, from);
  while (open && !open.closing) {
    const close = nextDelimiter(raw, boundary, open.after, from);
    yield { start: open.after, end: close ? Math.max(open.after, close.before) : end };
    open = close;
  }
}

/** Finds `--boundary` alone on its line, at or behind `from`; `floor` is where the multipart's body begins. */
function nextDelimiter(raw: Buffer, boundary: string, from: number, floor: number): Delimiter | undefined {
  const mark = `--${boundary}`;
  let at = raw.indexOf(mark, from, "latin1");
  while (at >= 0) {
    const startsLine = at === floor || raw[at - 1] === 10;
    const behind = at + mark.length;
    const after = startsLine ? delimiterEnd(raw, behind) : undefined;
    if (after !== undefined) {
      const closing = raw[behind] === 45 && raw[behind + 1] === 45;
      return { before: lineEndBefore(raw, at, floor), after, closing };
    }
    const nextLine = raw.indexOf(10, at);
    at = nextLine < 0 ? -1 : raw.indexOf(mark, nextLine, "latin1");
  }
  return undefined;
}

/** RFC 2046 5.1.1: behind the boundary come `--` for the last one, white space, and the end of the line. */
function delimiterEnd(raw: Buffer, from: number): number | undefined {
  let at = from;
  if (raw[at] === 45 && raw[at + 1] === 45) at += 2;
  while (raw[at] === 32 || raw[at] === 9) at++;
  if (raw[at] === 13) at++;
  if (at >= raw.length) return raw.length;
  return raw[at] === 10 ? at + 1 : undefined;
}

function lineEndBefore(raw: Buffer, at: number, floor: number): number {
  if (at <= floor) return at;
  return at - 2 >= floor && raw[at - 2] === 13 ? at - 2 : at - 1;
}

/** How many lines a body has, for BODYSTRUCTURE. */
export function countLines(raw: Buffer, from: number, end: number): number {
  let lines = 0;
  for (let at = from; at < end; at++) if (raw[at] === 10) lines++;
  return lines;
}
