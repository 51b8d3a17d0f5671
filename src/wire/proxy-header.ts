/**
 * The PROXY protocol, versions 1 and 2, as HAProxy's proxy-protocol.txt has it: the first bytes of a connection,
 * by which a proxy says for whom it was opened. Knows no socket; reads nothing behind the header.
 */
import { parseIPv4, parseIPv6, parsePort } from "./addresses.ts";
import { SIGNATURE } from "./proxy-protocol.ts";
import { type ProxyTlvs, readTlvs } from "./proxy-tlvs.ts";

interface Address {
  readonly address: string;
  readonly port: number;
}

export interface ProxyHeader {
  readonly version: 1 | 2;
  /** The proxy speaks for itself (LOCAL), as for a health check, and not for a client. */
  readonly local: boolean;
  /** Whose connection it is and where it led; without it (UNKNOWN, or no TCP) the proxy does not say. */
  readonly client?: { readonly source: Address; readonly destination: Address };
  /** Version 2's further facts. */
  readonly tlvs: ProxyTlvs;
}

export type HeaderReading =
  /** So far it may become a header. */
  | { readonly kind: "more" }
  /** `length`: how many bytes it has; what stands behind them is the client's. */
  | { readonly kind: "header"; readonly header: ProxyHeader; readonly length: number }
  /** It does not begin as a header does. */
  | { readonly kind: "absent" }
  /** It begins as one, and is none. */
  | { readonly kind: "malformed"; readonly why: string };

/** Section 2.1: the longest line of version 1, CRLF included. */
const MAX_LINE = 107;
/** Behind the 16 fixed bytes of version 2. The specification allows 65,535; real ones have some hundred. */
const MAX_BODY = 4096;
const FIXED = 16;
const WORD = Buffer.from("PROXY ", "latin1");
const MORE: HeaderReading = { kind: "more" };
const NO_TLVS: ProxyTlvs = {};

/** Reads what has arrived so far, always from the first byte on. Once it is not "more", more bytes change nothing. */
export function readProxyHeader(bytes: Buffer): HeaderReading {
  const seems = beginsHeader(bytes);
  if (seems === "no") return { kind: "absent" };
  if (seems === "maybe") return MORE;
  return bytes[0] === WORD[0] ? readLine(bytes) : readBinary(bytes);
}

/** Whether the first bytes of a connection are those of a header, whatever stands behind them. */
export function beginsHeader(bytes: Buffer): "yes" | "no" | "maybe" {
  const opening = bytes[0] === WORD[0] ? WORD : SIGNATURE;
  const common = Math.min(bytes.length, opening.length);
  if (opening.compare(bytes, 0, common, 0, common) !== 0) return "no";
  return common === opening.length ? "yes" : "maybe";
}

/** Section 2.1. */
function readLine(bytes: Buffer): HeaderReading {
  const line = bytes.subarray(0, MAX_LINE).toString("latin1");
  const end = line.search(/[\r\n]/);
  if (end < 0 || (line[end] === "\r" && end === line.length - 1))
    return line.length < MAX_LINE ? MORE : malformed("no end of the line in 107 bytes");
  // "The receiver must not tolerate a single CR or LF character to end the line."
  if (!line.startsWith("\r\n", end)) return malformed("a CR or LF by itself");
  return readWords(line.slice(0, end), end + 2);
}

function readWords(line: string, length: number): HeaderReading {
  const [, family = "", ...words] = line.split(" ");
  // "The receiver must ignore anything presented before the CRLF."
  if (family === "UNKNOWN") return found({ version: 1, local: false, tlvs: NO_TLVS }, length);
  const parse = family === "TCP4" ? parseIPv4 : family === "TCP6" ? parseIPv6 : undefined;
  if (!parse) return malformed("a family that is not TCP4, TCP6 or UNKNOWN");
  const [from = "", to = "", fromPort = "", toPort = "", ...more] = words;
  const source = address(parse(from), parsePort(fromPort));
  const destination = address(parse(to), parsePort(toPort));
  if (!source || !destination || more.length > 0) return malformed("addresses or ports that are none");
  return found({ version: 1, local: false, client: { source, destination }, tlvs: NO_TLVS }, length);
}

function address(address: string | undefined, port: number | undefined): Address | undefined {
  return address === undefined || port === undefined ? undefined : { address, port };
}

const LOCAL = 0x20;
const PROXY = 0x21;
/** Bytes of the two addresses of each family, by the high half of byte 14: unspecified, IPv4, IPv6, Unix. */
const ADDRESS_BYTES = [0, 12, 36, 216];
/** TCP over IPv4 and over IPv6; everything else that is valid says nothing that we could use. */
const TCP4 = 0x11;
const TCP6 = 0x21;

/** Section 2.2. Each byte is looked at as soon as it is there: a stranger is not waited for. */
function readBinary(bytes: Buffer): HeaderReading {
  const [command, family] = [bytes[12], bytes[13]];
  if (command === undefined) return MORE;
  if (command >> 4 !== 2) return malformed("a version that is not 2");
  if (command !== LOCAL && command !== PROXY) return malformed("an unknown command");
  if (family === undefined) return MORE;
  const addressBytes = ADDRESS_BYTES[family >> 4];
  // LOCAL: "discard the protocol block including the family which is ignored".
  if (command === PROXY && (addressBytes === undefined || (family & 15) > 2))
    return malformed("an unknown family or transport");
  if (bytes.length < FIXED) return MORE;
  const body = bytes.readUInt16BE(14);
  if (body > MAX_BODY) return malformed("longer than 4 KiB");
  if (command === PROXY && body < (addressBytes ?? 0)) return malformed("shorter than its addresses");
  if (bytes.length < FIXED + body) return MORE;
  const header = bytes.subarray(0, FIXED + body);
  if (command === LOCAL) return found({ version: 2, local: true, tlvs: NO_TLVS }, header.length);
  return readBody(header, family, addressBytes ?? 0);
}

function readBody(header: Buffer, family: number, addressBytes: number): HeaderReading {
  // An unspecified family's addresses may have any length, so nobody knows where TLVs would begin.
  const tlvs = addressBytes === 0 ? NO_TLVS : readTlvs(header, FIXED + addressBytes);
  if (typeof tlvs === "string") return malformed(tlvs);
  const client = readAddresses(header, family);
  return found({ version: 2, local: false, ...(client && { client }), tlvs }, header.length);
}

function readAddresses(header: Buffer, family: number): ProxyHeader["client"] {
  if (family !== TCP4 && family !== TCP6) return undefined;
  const size = family === TCP4 ? 4 : 16;
  const read = family === TCP4 ? textOfIPv4 : textOfIPv6;
  const ports = FIXED + 2 * size;
  const at = (index: number): Address => ({
    address: read(header.subarray(FIXED + index * size, FIXED + (index + 1) * size)),
    port: header.readUInt16BE(ports + 2 * index),
  });
  return { source: at(0), destination: at(1) };
}

function textOfIPv4(bytes: Buffer): string {
  return bytes.join(".");
}

function textOfIPv6(bytes: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(2 * index).toString(16));
  return parseIPv6(groups.join(":")) ?? "::";
}

function found(header: ProxyHeader, length: number): HeaderReading {
  return { kind: "header", header, length };
}

function malformed(why: string): HeaderReading {
  return { kind: "malformed", why };
}
