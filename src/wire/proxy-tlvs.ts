import { crc32c, TLV } from "./proxy-protocol.ts";
import { decodeUtf8 } from "./text.ts";

/** What a proxy knows of its client beside the address; proxy-protocol.txt 2.2.1 to 2.2.6. */
export interface ProxyTlvs {
  /** RFC 7301, as its bytes are in Latin-1. */
  readonly alpn?: string;
  /** RFC 6066 3: the name that the client asked for. */
  readonly authority?: string;
  /** The proxy's own name for the connection: any bytes, 128 at most. */
  readonly uniqueId?: Buffer;
  readonly ssl?: ProxySsl;
}

export interface ProxySsl {
  /** Bits: 1 the client uses TLS, 2 it showed a certificate on this connection, 4 in this TLS session. */
  readonly client: number;
  /** 0 when it showed a certificate that was verified. */
  readonly verify: number;
  readonly version?: string;
  readonly cipher?: string;
  /** The common name of its certificate. */
  readonly commonName?: string;
}

/** Types to values; each known type at most once, since nobody could say which of two counts. */
type Values = ReadonlyMap<number, Buffer>;

const HEAD = 3;
const MAX_UNIQUE_ID = 128;
const KNOWN: ReadonlySet<number> = new Set(Object.values(TLV));

/** The TLVs from `start` to the end of the whole header, or what is wrong with them. */
export function readTlvs(header: Buffer, start: number): ProxyTlvs | string {
  const values = split(header.subarray(start));
  if (typeof values === "string") return values;
  const broken = checkSum(header, values.get(TLV.crc32c));
  if (broken) return broken;
  const uniqueId = values.get(TLV.uniqueId);
  if (uniqueId && uniqueId.length > MAX_UNIQUE_ID) return "a unique ID of more than 128 bytes";
  const authority = utf8(values.get(TLV.authority));
  const ssl = readSsl(values.get(TLV.ssl));
  if (authority === null || typeof ssl === "string") return "a TLV that does not hold what it should";
  const alpn = values.get(TLV.alpn)?.toString("latin1");
  return {
    ...(alpn !== undefined && { alpn }),
    ...(authority !== undefined && { authority }),
    ...(uniqueId && { uniqueId: Buffer.from(uniqueId) }),
    ...(ssl && { ssl }),
  };
}

function split(bytes: Buffer): Values | string {
  const values = new Map<number, Buffer>();
  for (let at = 0; at < bytes.length; ) {
    if (bytes.length - at < HEAD) return "bytes behind the last TLV";
    const type = bytes.readUInt8(at);
    const end = at + HEAD + bytes.readUInt16BE(at + 1);
    if (end > bytes.length) return "a TLV past the header's end";
    if (KNOWN.has(type) && type !== TLV.noop && values.has(type)) return "a TLV that stands twice";
    values.set(type, bytes.subarray(at + HEAD, end));
    at = end;
  }
  return values;
}

/** Section 2.2.3: of the whole header, with zeros where the sum itself stands. */
function checkSum(header: Buffer, sum: Buffer | undefined): string | undefined {
  if (!sum) return undefined;
  if (sum.length !== 4) return "a checksum that is not 4 bytes";
  const zeroed = Buffer.from(header);
  zeroed.fill(0, sum.byteOffset - header.byteOffset, sum.byteOffset - header.byteOffset + 4);
  return crc32c(zeroed) === sum.readUInt32BE() ? undefined : "a wrong checksum";
}

function readSsl(value: Buffer | undefined): ProxySsl | string | undefined {
  if (!value) return undefined;
  if (value.length < 5) return "too short";
  const inside = split(value.subarray(5));
  if (typeof inside === "string") return inside;
  const commonName = utf8(inside.get(TLV.sslCn));
  if (commonName === null) return "not UTF-8";
  const version = inside.get(TLV.sslVersion)?.toString("latin1");
  const cipher = inside.get(TLV.sslCipher)?.toString("latin1");
  return {
    client: value.readUInt8(0),
    verify: value.readUInt32BE(1),
    ...(version !== undefined && { version }),
    ...(cipher !== undefined && { cipher }),
    ...(commonName !== undefined && { commonName }),
  };
}

/** Null for bytes that are no text. */
function utf8(bytes: Buffer | undefined): string | null | undefined {
  return bytes && (decodeUtf8(bytes) ?? null);
}
