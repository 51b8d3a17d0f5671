/**
 * RFC 9051 section 9, as far as a session before login needs it: bytes to commands and bytes to replies.
 * Knows no socket. What does not parse is a returned value, and no input's cost grows faster than its length.
 */

/** A string argument, or a parenthesis of a list. Atoms and strings are told apart only where it matters. */
export type Token =
  | { readonly type: "atom" | "string"; readonly bytes: Buffer }
  | { readonly type: "open" | "close" };

export interface Command {
  readonly tag: string;
  /** Upper case. */
  readonly name: string;
  readonly args: readonly Token[];
}

export interface Malformed {
  /** The tag where it could be read: the BAD goes to it, otherwise it is untagged. */
  readonly tag: string | undefined;
  readonly malformed: string;
}

export interface LiteralSpec {
  /** Bytes; Number.POSITIVE_INFINITY for a size beyond the 32 bits of RFC 3501. */
  readonly size: number;
  /** RFC 7888: whether the client waits for "+" before it sends the bytes. */
  readonly synchronising: boolean;
}

/** RFC 9051 6.1: short and printable, so that it can be echoed without care; the grammar allows few more. */
const TAG = /^[!#$&'*,\-./0-9:;<=>?@A-Z[^_`a-z|}~]{1,64}$/;
/** Any atom: what no RFC knows is an unknown command, not a syntax error. */
const NAME = /^[!#$&'+,\-./0-9:;<=>?@A-Z[^_`|}~]+$/;
const LITERAL = /\{([0-9]{1,20})(\+?)\}$/;
const MAX_LITERAL_SIZE = 4_294_967_295;

/** Thirty pairs of ID and its parentheses are the most that any command before login has. */
const MAX_ARGS = 64;

const SP = 0x20;
const QUOTE = 0x22;
const OPEN = 0x28;
const CLOSE = 0x29;
const BACKSLASH = 0x5c;
const BRACE = 0x7b;

/** The literal that a line announces at its end, if it does. */
export function literalAtEnd(line: Buffer): LiteralSpec | undefined {
  if (line.at(-1) !== 0x7d) return undefined;
  const match = LITERAL.exec(line.subarray(-23).toString("latin1"));
  if (!match) return undefined;
  const size = Number(match[1]);
  return {
    size: size > MAX_LITERAL_SIZE ? Number.POSITIVE_INFINITY : size,
    synchronising: match[2] === "",
  };
}

/** Tag and name of a command from its first line alone, before its literals have come. */
export function readHead(line: Buffer): { tag: string | undefined; name: string; rest: number } {
  const text = line.toString("latin1");
  const space = text.indexOf(" ");
  const tag = space === -1 ? text : text.slice(0, space);
  const end = space === -1 ? text.length : text.indexOf(" ", space + 1);
  const stop = end === -1 ? text.length : end;
  // RFC 9051 9: a tag has no "+"; "*" is ours.
  const valid = TAG.test(tag) && !tag.includes("*");
  return {
    tag: valid ? tag : undefined,
    name: space === -1 ? "" : text.slice(space + 1, stop).toUpperCase(),
    rest: stop,
  };
}

/**
 * A whole command from its pieces: a line, then for each literal that the line before announced its bytes
 * and the line that goes on behind it.
 */
export function parseCommand(pieces: readonly Buffer[]): Command | Malformed {
  const first = pieces[0] ?? Buffer.alloc(0);
  const { tag, name, rest } = readHead(first);
  if (tag === undefined) return { tag, malformed: "a command without a valid tag" };
  if (!NAME.test(name)) return { tag, malformed: "a command without a name" };
  const args: Token[] = [];
  for (let index = 0; index < pieces.length; index += 2) {
    const line = pieces[index] ?? Buffer.alloc(0);
    const last = index === pieces.length - 1;
    const text = last ? line : line.subarray(0, line.lastIndexOf(BRACE));
    const malformed = parseLine(text.subarray(index === 0 ? rest : 0), args, index > 0, !last);
    if (malformed) return { tag, malformed };
    const literal = pieces[index + 1];
    if (literal) args.push({ type: "string", bytes: literal });
  }
  return { tag, name, args };
}

/** Tokens of one line: each argument behind one space, and nothing left over. Returns what was wrong. */
function parseLine(
  line: Buffer,
  into: Token[],
  afterLiteral: boolean,
  beforeLiteral: boolean,
): string | undefined {
  let at = 0;
  let glued = afterLiteral;
  while (at < line.length) {
    const byte = line[at];
    if (into.length > MAX_ARGS) return "too many arguments";
    if (byte === SP) {
      if (at + 1 === line.length && !beforeLiteral) return "a space at the end";
      if (line[at + 1] === SP) return "two spaces";
      at += 1;
      glued = false;
    } else if (byte === OPEN || byte === CLOSE) {
      into.push({ type: byte === OPEN ? "open" : "close" });
      at += 1;
      glued = byte === CLOSE;
    } else {
      if (glued) return "arguments without a space between them";
      const end = byte === QUOTE ? readQuoted(line, at, into) : readAtom(line, at, into);
      if (end === undefined)
        return byte === QUOTE ? "a quoted string without its end" : "an illegal character";
      at = end;
      glued = true;
    }
  }
  return beforeLiteral && glued ? "a literal without a space before it" : undefined;
}

function readQuoted(line: Buffer, start: number, into: Token[]): number | undefined {
  const bytes: number[] = [];
  for (let at = start + 1; at < line.length; at += 1) {
    const byte = line[at] as number;
    if (byte === QUOTE) {
      into.push({ type: "string", bytes: Buffer.from(bytes) });
      return at + 1;
    }
    if (byte === BACKSLASH) {
      at += 1;
      const escaped = line[at];
      if (escaped !== QUOTE && escaped !== BACKSLASH) return undefined;
      bytes.push(escaped);
    } else {
      if (byte === 0 || byte === 0x0d) return undefined;
      bytes.push(byte);
    }
  }
  return undefined;
}

function readAtom(line: Buffer, start: number, into: Token[]): number | undefined {
  let at = start;
  for (; at < line.length; at += 1) {
    const byte = line[at] as number;
    if (byte === SP || byte === OPEN || byte === CLOSE) break;
    // Wider than RFC 9051's ASTRING-CHAR by "%", "*" and "]": passwords are sent so, and nothing here is a pattern.
    if (byte <= 0x1f || byte >= 0x7f || byte === QUOTE || byte === BACKSLASH || byte === BRACE)
      return undefined;
  }
  into.push({ type: "atom", bytes: line.subarray(start, at) });
  return at;
}

/** One line of a backend, told apart by its first word. */
export type Reply =
  | { readonly type: "continuation" }
  | {
      readonly type: "untagged" | "tagged";
      readonly tag: string;
      readonly name: string;
      readonly code: string | undefined;
      readonly text: string;
    };

/** Reads a backend's line; undefined for what no RFC allows. Dovecot's "+" without a space is accepted. */
export function parseReply(line: Buffer): Reply | undefined {
  const text = line.toString("latin1");
  if (text.startsWith("+")) return { type: "continuation" };
  const match = /^(\*|[^ *+"\\(){%]{1,64}) ([A-Za-z0-9-]+)(?: (.*))?$/.exec(text);
  if (!match) return undefined;
  const [, tag = "", name = "", rest = ""] = match;
  const code = /^\[([^\]]*)\]/.exec(rest)?.[1];
  return {
    type: tag === "*" ? "untagged" : "tagged",
    tag,
    name: name.toUpperCase(),
    code,
    text: code === undefined ? rest : rest.slice(code.length + 2).trimStart(),
  };
}

/** The atoms of a CAPABILITY code or response as they were spelled, without repeats. */
export function parseCapabilities(text: string): readonly string[] {
  const atoms = text.split(" ").filter((atom) => /^[!#$&'+,\-./0-9:;<=>?@A-Z[^_`a-z|}~]{1,128}$/.test(atom));
  return [...new Set(atoms)];
}

/** Whether a capability is among them; RFC 9051 7.2.2: names are the same in either case. */
export function offersCapability(capabilities: readonly string[], name: string): boolean {
  return capabilities.some((capability) => capability.toUpperCase() === name);
}

/** Whether bytes can stand in a quoted string; others need a literal. */
export function isQuotable(text: string): boolean {
  return /^[\x20-\x7e]{0,1000}$/.test(text);
}

/** RFC 9051 quoted: the two specials escaped. The caller has asked `isQuotable`. */
export function quote(text: string): string {
  return `"${text.replace(/["\\]/g, "\\$&")}"`;
}
