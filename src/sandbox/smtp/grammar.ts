import { isUtf8 } from "node:buffer";

/** RFC 5321 4.1.1: a verb and what stands behind it. */
export interface Command {
  /** In upper case. */
  readonly verb: string;
  readonly rest: string;
}

/** What MAIL and RCPT name, with their parameters by upper-case name; one without a value has "". */
export interface Path {
  /** Without its angle brackets; empty for the null reverse-path. */
  readonly address: string;
  readonly parameters: ReadonlyMap<string, string>;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it finds
const CONTROL = /[\x00-\x1f\x7f]/;
/** What a Received field can hold as it came. */
const HELLO_NAME = /^[^\s()<>"\\;]{1,255}$/;
const MAILBOX = /^(?:"(?:[^"\\]|\\.)+"|[^\s"@,;:()[\]\\]+)@[^\s@,;()"\\]+$/;
/** RFC 5321 4.5.3.1.3, in octets. */
const MAX_PATH = 256;
const PARAMETER = /^([A-Z0-9][A-Z0-9-]*)(?:=([^=\s]+))?$/i;

/** Undefined for a line that no command is. RFC 6531 3.1: outside of ASCII there is only UTF-8. */
export function parseCommand(line: Buffer): Command | undefined {
  const text = line.toString();
  if (!isUtf8(line) || CONTROL.test(text)) return undefined;
  const match = /^([A-Za-z]+)(?: +(.*?))? *$/.exec(text);
  return match?.[1] ? { verb: match[1].toUpperCase(), rest: match[2] ?? "" } : undefined;
}

export function isHelloName(text: string): boolean {
  return HELLO_NAME.test(text);
}

/** RFC 5321 4.1.1.2: `FROM:<path> parameters`. */
export function parseReversePath(rest: string): Path | undefined {
  const path = parsePath(rest, /^FROM: ?<([^<>]*)>(?: +(.*))?$/i);
  return path && (path.address === "" || isMailbox(path.address)) ? path : undefined;
}

/** RFC 5321 4.1.1.3: `TO:<path> parameters`; <postmaster> needs no domain. */
export function parseForwardPath(rest: string): Path | undefined {
  const path = parsePath(rest, /^TO: ?<([^<>]*)>(?: +(.*))?$/i);
  return path && (isPostmaster(path.address) || isMailbox(path.address)) ? path : undefined;
}

export function isPostmaster(address: string): boolean {
  return address.toLowerCase() === "postmaster";
}

/** RFC 3030 2: a number of octets, and whether they are the last. */
export function parseBdat(rest: string): { size: number; isLast: boolean } | undefined {
  const match = /^(\d{1,15})( +LAST)?$/i.exec(rest);
  return match ? { size: Number(match[1]), isLast: match[2] !== undefined } : undefined;
}

/** RFC 6531 3.2: whether it takes SMTPUTF8 to say this. */
export function isInternational(text: string): boolean {
  return /[^ -~]/.test(text);
}

function parsePath(rest: string, form: RegExp): Path | undefined {
  const match = form.exec(rest);
  const parameters = parseParameters(match?.[2] ?? "");
  if (match?.[1] === undefined || !parameters) return undefined;
  // RFC 5321 4.1.1.3: a source route is taken, and passed over.
  return { address: match[1].replace(/^@[^:]*:/, ""), parameters };
}

function parseParameters(text: string): Map<string, string> | undefined {
  const parameters = new Map<string, string>();
  for (const word of text.split(/ +/).filter(Boolean)) {
    const [, name, value = ""] = PARAMETER.exec(word) ?? [];
    if (!name || parameters.has(name.toUpperCase())) return undefined;
    parameters.set(name.toUpperCase(), value);
  }
  return parameters;
}

function isMailbox(address: string): boolean {
  return Buffer.byteLength(address) <= MAX_PATH && MAILBOX.test(address);
}
