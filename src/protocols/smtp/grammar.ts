/**
 * RFC 5321 section 4.1: lines to commands, paths and parameters, and a backend's lines to replies. Text is
 * Latin-1 inside, one character a byte, so that an internationalised address leaves as it came. Knows no socket.
 */

export interface Command {
  /** Upper case. */
  readonly verb: string;
  /** What stands behind the verb and its space. */
  readonly rest: string;
}

export interface Parameter {
  /** Upper case. */
  readonly name: string;
  readonly value: string | undefined;
}

/** MAIL FROM or RCPT TO, taken apart. */
export interface Envelope {
  /** Without its angle brackets; "" is the null reverse-path. */
  readonly address: string;
  readonly parameters: readonly Parameter[];
}

/** One reply of a backend, its lines joined again. */
export interface Reply {
  readonly code: number;
  readonly lines: readonly string[];
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: control bytes are what it refuses
const CONTROL = /[\x00-\x1f\x7f]/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: RFC 5321 4.2: a reply's text may have HT, and no other
const CONTROL_BUT_TAB = /[\x00-\x08\x0a-\x1f\x7f]/;
const ATEXT = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~\\x80-\\xff-]";
const DOT_STRING = `${ATEXT}+(?:\\.${ATEXT}+)*`;
const QUOTED_STRING = '"(?:[\\x20\\x21\\x23-\\x5b\\x5d-\\x7e\\x80-\\xff]|\\\\[\\x20-\\x7e])+"';
const LABEL = "[A-Za-z0-9\\x80-\\xff](?:[A-Za-z0-9\\x80-\\xff-]*[A-Za-z0-9\\x80-\\xff])?";
const DOMAIN = `${LABEL}(?:\\.${LABEL})*`;
const LITERAL = "\\[[A-Za-z0-9:.-]{1,64}\\]";
const MAILBOX = new RegExp(`^(?:${DOT_STRING}|${QUOTED_STRING})@(?:${DOMAIN}|${LITERAL})$`);
const PARAMETER = /^([A-Za-z0-9][A-Za-z0-9-]*)(?:=([\x21-\x3c\x3e-\x7e\x80-\xff]+))?$/;
const HELO_NAME = new RegExp(`^(?:${DOMAIN}|${LITERAL}|[A-Za-z0-9_.-]+)$`);
/** RFC 5321 4.5.3.1.1 and 4.5.3.1.2, with the room that real systems give. */
const MAX_LOCAL = 128;
const MAX_ADDRESS = 320;

/** Undefined for a line that no command is: empty, or with a control byte in it. */
export function parseCommand(line: Buffer): Command | undefined {
  const text = line.toString("latin1");
  if (CONTROL.test(text)) return undefined;
  const match = /^([A-Za-z]{1,16})(?: (.*)|)$/.exec(withoutSpacesBehind(text));
  return match ? { verb: (match[1] as string).toUpperCase(), rest: match[2] ?? "" } : undefined;
}

/** Of spaces alone: `trimEnd` takes the last byte of some UTF-8, read as Latin-1, for one too. */
function withoutSpacesBehind(text: string): string {
  let end = text.length;
  while (text[end - 1] === " ") end -= 1;
  return text.slice(0, end);
}

/** The name behind EHLO or HELO; it goes into other systems' logs, so only what a name can be is one. */
export function parseHelloName(rest: string): string | undefined {
  return rest.length <= 255 && HELO_NAME.test(rest) ? rest : undefined;
}

/** What stands behind MAIL: `FROM:<path> parameters`. A space behind the colon is forgiven, as everybody does. */
export function parseMail(rest: string): Envelope | undefined {
  const envelope = parseEnvelope(rest, /^FROM: ?<([^>]*)>(?: (.*))?$/i);
  return envelope && (envelope.address === "" || isMailbox(envelope.address)) ? envelope : undefined;
}

/** What stands behind RCPT: `TO:<path> parameters`. RFC 5321 4.5.1: <postmaster> needs no domain. */
export function parseRcpt(rest: string): Envelope | undefined {
  const envelope = parseEnvelope(rest, /^TO: ?<([^>]*)>(?: (.*))?$/i);
  if (!envelope) return undefined;
  const { address } = envelope;
  return isPostmaster(address) || (isMailbox(address) && !leadsOn(address)) ? envelope : undefined;
}

/**
 * Whether a local part names another place in it, in quotes or not: a server that takes it off the domain it was
 * asked for sends such mail on, and asks no questions where it trusts whoever brings it, which is us.
 */
function leadsOn(address: string): boolean {
  return /[!@]/.test(address.slice(0, address.lastIndexOf("@")));
}

export function isPostmaster(address: string): boolean {
  return address.toLowerCase() === "postmaster";
}

/** Writes an envelope in the one form in which it goes to a backend. */
export function formatEnvelope(command: "MAIL FROM" | "RCPT TO", { address, parameters }: Envelope): string {
  const written = parameters.map(({ name, value }) => ` ${name}${value === undefined ? "" : `=${value}`}`);
  return `${command}:<${address}>${written.join("")}\r\n`;
}

/** RFC 3461 4; what is no hexchar stays as it is. */
export function decodeXtext(text: string): string {
  return text.replace(/\+([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

/** RFC 1870 and RFC 3030: digits alone; undefined for anything that `Number` would also understand. */
export function parseCount(text: string | undefined): number | undefined {
  return text !== undefined && /^[0-9]{1,15}$/.test(text) ? Number(text) : undefined;
}

/** What stands behind BDAT: a count of octets, and LAST. */
export function parseBdat(rest: string): { size: number; last: boolean } | undefined {
  const match = /^([0-9]+)( LAST)?$/i.exec(rest);
  const size = parseCount(match?.[1]);
  return match && size !== undefined ? { size, last: match[2] !== undefined } : undefined;
}

function parseEnvelope(rest: string, form: RegExp): Envelope | undefined {
  const match = form.exec(rest);
  if (!match) return undefined;
  const parameters: Parameter[] = [];
  for (const word of (match[2] ?? "").split(" ")) {
    if (word === "") continue;
    const parts = PARAMETER.exec(word);
    if (!parts) return undefined;
    const name = (parts[1] as string).toUpperCase();
    if (parameters.some((known) => known.name === name)) return undefined;
    parameters.push({ name, value: parts[2] });
  }
  return { address: match[1] ?? "", parameters };
}

function isMailbox(address: string): boolean {
  // Source routes and "%" routing lead past the place that is asked for; nobody honest sends them any more.
  const at = address.lastIndexOf("@");
  return (
    address.length <= MAX_ADDRESS &&
    at <= MAX_LOCAL &&
    !address.slice(0, at).includes("%") &&
    MAILBOX.test(address)
  );
}

/** One line of a reply; undefined for what no reply's line is. */
export function parseReplyLine(line: Buffer): { code: number; last: boolean; text: string } | undefined {
  const match = /^([2-5][0-9]{2})(?:([ -])(.*))?$/.exec(line.toString("latin1"));
  if (!match || CONTROL_BUT_TAB.test(match[3] ?? "")) return undefined;
  return { code: Number(match[1]), last: match[2] !== "-", text: match[3] ?? "" };
}

/** A reply as it goes to a client. */
export function formatReply({ code, lines }: Reply): string {
  return lines.map((text, index) => `${code}${index === lines.length - 1 ? " " : "-"}${text}\r\n`).join("");
}
