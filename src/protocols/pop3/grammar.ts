/**
 * RFC 1939 and RFC 2449, as far as a session before login needs them: bytes to commands and bytes to replies.
 * Knows no socket. What does not parse is a returned value, and no input's cost grows faster than its length.
 */

export interface Command {
  /** Upper case. */
  readonly name: string;
  /** All that stands behind the one space, as it came: a password may have spaces anywhere. */
  readonly argument: Buffer | undefined;
}

export interface Malformed {
  readonly malformed: string;
}

/** Longer than any keyword of RFC 1939: what no RFC knows is an unknown command, not a syntax error. */
const NAME = /^[A-Za-z][A-Za-z0-9-]{0,31}$/;
/** RFC 1939 3: arguments are printable ASCII, each behind one space. */
const WORDS = /^[!-~]+(?: [!-~]+)*$/;
/** RFC 1939 7: sixteen octets in hexadecimal, lower case. */
const DIGEST = /^[0-9a-f]{32}$/;
/** RFC 2449 3: a capability and its parameters. */
const CAPABILITY = /^[!-~]{1,128}(?: [!-~]{1,128})*$/;

const SP = 0x20;

export function parseCommand(line: Buffer): Command | Malformed {
  const space = line.indexOf(SP);
  const name = line.toString("latin1", 0, space === -1 ? line.length : space);
  if (!NAME.test(name)) return { malformed: "a line without a command" };
  return { name: name.toUpperCase(), argument: space === -1 ? undefined : line.subarray(space + 1) };
}

/** The argument as words; undefined where it is something else. */
export function parseWords(argument: Buffer): readonly string[] | undefined {
  const text = argument.toString("latin1");
  return WORDS.test(text) ? text.split(" ") : undefined;
}

/** What APOP says: a name, and a digest behind its last space. */
export function parseApop(argument: Buffer): { readonly name: Buffer; readonly digest: string } | undefined {
  const space = argument.lastIndexOf(SP);
  const digest = argument.toString("latin1", space + 1);
  return space > 0 && DIGEST.test(digest) ? { name: argument.subarray(0, space), digest } : undefined;
}

/** The first line of a backend's answer. */
export type Reply =
  | { readonly type: "continuation" }
  | {
      readonly type: "ok" | "err";
      /** RFC 2449 8, upper case. */
      readonly code: string | undefined;
      readonly text: string;
    };

/** Reads a backend's line; undefined for what no RFC allows. A "+" without a space is accepted. */
export function parseReply(line: Buffer): Reply | undefined {
  const text = line.toString("latin1");
  if (text === "+" || text.startsWith("+ ")) return { type: "continuation" };
  const match = /^(\+OK|-ERR)(?: (.*))?$/.exec(text);
  if (!match) return undefined;
  const [, status, rest = ""] = match;
  const code = /^\[([^\]]*)\]/.exec(rest)?.[1];
  return {
    type: status === "+OK" ? "ok" : "err",
    code: code?.toUpperCase(),
    text: code === undefined ? rest : rest.slice(code.length + 2).trimStart(),
  };
}

/** One line of a CAPA list, its name in upper case; undefined for what could not be one. */
export function parseCapability(line: Buffer): string | undefined {
  const text = line.toString("latin1").trimEnd();
  if (!CAPABILITY.test(text)) return undefined;
  const [name = "", ...parameters] = text.split(" ");
  return [name.toUpperCase(), ...parameters].join(" ");
}

/** The parameters of a capability among those that `parseCapability` gave; undefined where it is not offered. */
export function findCapability(capabilities: readonly string[], name: string): readonly string[] | undefined {
  const found = capabilities.find((capability) => nameOf(capability) === name);
  return found?.split(" ").slice(1);
}

/** The name of a capability, without its parameters. */
export function nameOf(capability: string): string {
  return capability.split(" ", 1)[0] ?? "";
}
