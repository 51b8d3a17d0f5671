/**
 * RFC 5804 section 4, as far as a session before login needs it: bytes to commands and bytes to responses.
 * Knows no socket. What does not parse is a returned value, and no input's cost grows faster than its length.
 */

/** One element of a line; atoms hold numbers too. */
export type Token =
  | { readonly type: "atom" | "string"; readonly bytes: Buffer }
  | { readonly type: "open" | "close" };

export interface Command {
  /** Upper case. */
  readonly name: string;
  readonly args: readonly Token[];
}

export interface Malformed {
  readonly malformed: string;
  /** Whether it is only its length that is wrong. */
  readonly tooLong?: boolean;
}

/** More than any command before login has, and any response code. */
const MAX_TOKENS = 64;
/** RFC 5804 4: so many octets stand between the quotes at most; longer strings are literals. */
const MAX_QUOTED = 1024;
const MAX_LITERAL_SIZE = 4_294_967_295;
/** A client writes `{5+}` and a server `{5}`; nobody ever waits, so either is read from either, as Dovecot does. */
const LITERAL = /\{([0-9]{1,20})\+?\}$/;

const SP = 0x20;
const QUOTE = 0x22;
const OPEN = 0x28;
const CLOSE = 0x29;
const BACKSLASH = 0x5c;
const BRACE = 0x7b;

/**
 * The size of the literal that a line announces at its end, if it does; Number.POSITIVE_INFINITY beyond the 32
 * bits of RFC 5804 section 4.
 */
export function literalAtEnd(line: Buffer): number | undefined {
  if (line.at(-1) !== 0x7d) return undefined;
  const match = LITERAL.exec(line.subarray(-23).toString("latin1"));
  if (!match) return undefined;
  const size = Number(match[1]);
  return size > MAX_LITERAL_SIZE ? Number.POSITIVE_INFINITY : size;
}

/** The name of a command from its first line alone, before its literals have come; upper case. */
export function readName(line: Buffer): string {
  const space = line.indexOf(SP);
  return line
    .subarray(0, space === -1 ? line.length : space)
    .toString("latin1")
    .toUpperCase();
}

/** A whole command from its pieces, as `readTokens` takes them. */
export function parseCommand(pieces: readonly Buffer[]): Command | Malformed {
  const tokens = readTokens(pieces);
  if ("malformed" in tokens) return tokens;
  const [name, ...args] = tokens;
  if (name?.type !== "atom") return { malformed: "a command without a name" };
  return { name: name.bytes.toString("latin1").toUpperCase(), args };
}

/** What a client sends in a SASL exchange: one string and nothing else. */
export function parseString(pieces: readonly Buffer[]): Buffer | Malformed {
  const tokens = readTokens(pieces);
  if ("malformed" in tokens) return tokens;
  const [string, ...more] = tokens;
  return string?.type === "string" && more.length === 0
    ? string.bytes
    : { malformed: "a SASL response that is not one string" };
}

/** One response of a backend. */
export type Response =
  /** A line of strings: a capability, or a SASL challenge. */
  | { readonly type: "strings"; readonly strings: readonly Buffer[] }
  | {
      readonly type: "status";
      readonly name: "OK" | "NO" | "BYE";
      /** The response code's name, upper case. */
      readonly code: string | undefined;
      readonly text: string;
    };

/** Reads a backend's response from its pieces; undefined for what the RFC does not allow. */
export function parseResponse(pieces: readonly Buffer[]): Response | undefined {
  const tokens = readTokens(pieces);
  if ("malformed" in tokens) return undefined;
  const [first, ...rest] = tokens;
  if (first?.type === "string") {
    const strings = tokens.flatMap((token) => (token.type === "string" ? [token.bytes] : []));
    return strings.length === tokens.length ? { type: "strings", strings } : undefined;
  }
  const name = first?.type === "atom" ? first.bytes.toString("latin1").toUpperCase() : "";
  if (name !== "OK" && name !== "NO" && name !== "BYE") return undefined;
  const after = skipCode(rest);
  const [text, ...more] = rest.slice(after);
  if (after === undefined || more.length > 0 || (text && text.type !== "string")) return undefined;
  return { type: "status", name, code: codeName(rest), text: text?.bytes.toString() ?? "" };
}

/** How many tokens a response code and its parentheses are; undefined when they do not match. */
function skipCode(tokens: readonly Token[]): number | undefined {
  if (tokens[0]?.type !== "open") return 0;
  let depth = 0;
  for (const [at, { type }] of tokens.entries()) {
    if (type === "open") depth += 1;
    if (type === "close") depth -= 1;
    if (depth === 0) return at + 1;
  }
  return undefined;
}

/** Old Cyrus quotes a code's name. */
function codeName([open, name]: readonly Token[]): string | undefined {
  if (open?.type !== "open" || !name || !("bytes" in name)) return undefined;
  return name.bytes.toString("latin1").toUpperCase();
}

/**
 * The tokens of one command or response from its pieces: a line, then for each literal that the line before
 * announced its bytes and the line that goes on behind it.
 */
function readTokens(pieces: readonly Buffer[]): readonly Token[] | Malformed {
  const tokens: Token[] = [];
  for (let index = 0; index < pieces.length; index += 2) {
    const line = pieces[index] ?? Buffer.alloc(0);
    const last = index === pieces.length - 1;
    const text = last ? line : line.subarray(0, line.lastIndexOf(BRACE));
    const malformed = readLine(text, tokens, index > 0, !last);
    if (malformed) return malformed;
    const literal = pieces[index + 1];
    if (literal) tokens.push({ type: "string", bytes: literal });
  }
  return tokens;
}

/** Tokens of one line: each behind one space, parentheses aside, and nothing left over. Returns what was wrong. */
function readLine(
  line: Buffer,
  into: Token[],
  afterLiteral: boolean,
  beforeLiteral: boolean,
): Malformed | undefined {
  let at = 0;
  let glued = afterLiteral;
  while (at < line.length) {
    const byte = line[at];
    if (into.length > MAX_TOKENS) return { malformed: "too many arguments" };
    if (byte === SP) {
      if (at === 0 && !afterLiteral) return { malformed: "a space at the beginning" };
      if (at + 1 === line.length && !beforeLiteral) return { malformed: "a space at the end" };
      if (line[at + 1] === SP) return { malformed: "two spaces" };
      at += 1;
      glued = false;
    } else if (byte === OPEN || byte === CLOSE) {
      into.push({ type: byte === OPEN ? "open" : "close" });
      at += 1;
      glued = byte === CLOSE;
    } else {
      if (glued) return { malformed: "arguments without a space between them" };
      const end = byte === QUOTE ? readQuoted(line, at, into) : readAtom(line, at, into);
      if (typeof end === "object") return end;
      at = end;
      glued = true;
    }
  }
  return beforeLiteral && glued ? { malformed: "a literal without a space before it" } : undefined;
}

function readQuoted(line: Buffer, start: number, into: Token[]): number | Malformed {
  const bytes: number[] = [];
  for (let at = start + 1; at < line.length; at += 1) {
    const byte = line[at] as number;
    if (byte === QUOTE) {
      if (at - start - 1 > MAX_QUOTED) return { malformed: "a quoted string too long", tooLong: true };
      into.push({ type: "string", bytes: Buffer.from(bytes) });
      return at + 1;
    }
    if (byte === BACKSLASH) {
      at += 1;
      const escaped = line[at];
      if (escaped !== QUOTE && escaped !== BACKSLASH) return { malformed: "an escape of what needs none" };
      bytes.push(escaped);
    } else {
      if (byte === 0 || byte === 0x0d) return { malformed: "NUL or CR in a quoted string" };
      bytes.push(byte);
    }
  }
  return { malformed: "a quoted string without its end" };
}

function readAtom(line: Buffer, start: number, into: Token[]): number | Malformed {
  let at = start;
  for (; at < line.length; at += 1) {
    const byte = line[at] as number;
    if (byte === SP || byte === OPEN || byte === CLOSE) break;
    // RFC 5804 4, ATOM-CHAR: ASCII without controls, quotes, backslash and the opening brace.
    if (byte <= 0x1f || byte >= 0x7f || byte === QUOTE || byte === BACKSLASH || byte === BRACE)
      return { malformed: "an illegal character" };
  }
  into.push({ type: "atom", bytes: line.subarray(start, at) });
  return at;
}

/** Text as a string that this side may send: quoted where it can stand in quotes, otherwise a literal. */
export function formatString(text: string, side: "client" | "server"): string {
  const escaped = text.replace(/["\\]/g, "\\$&");
  if (/^[\x20-\x7e]*$/.test(escaped) && escaped.length <= MAX_QUOTED) return `"${escaped}"`;
  return `{${Buffer.byteLength(text)}${side === "client" ? "+" : ""}}\r\n${text}`;
}
