import { asIpv6, ipBytes } from "./ip-bytes.ts";
import { crc32c, SIGNATURE, TLV } from "./proxy-protocol.ts";

interface Place {
  readonly address: string;
  readonly port: number;
}

/** For whom a connection is made. */
export interface Spoken extends Place {
  /** Where the client connected to. */
  readonly local: Place;
  /** A connection of our own, for nobody: it only asks. */
  readonly own?: boolean;
  readonly session: string;
  readonly tls?: {
    readonly version: string;
    readonly cipher: string;
    readonly serverName?: string;
    readonly alpn?: string;
    /** Of a client certificate that was verified. */
    readonly commonName?: string;
  };
}

/** Both addresses in one family, as a header needs them. */
interface Pair {
  readonly source: Buffer;
  readonly target: Buffer;
}

const CLIENT_SSL = 0x01;
const CLIENT_CERT_CONN = 0x02;
const CLIENT_CERT_SESS = 0x04;
/** What a TLV of ours may hold; names and the like are shorter by far. */
const MAX_VALUE = 255;
const MAX_UNIQUE_ID = 128;

/**
 * proxy-protocol.txt 2.1. A connection of our own names us as its client, which is what it is: "UNKNOWN" would be
 * the word for it, but Postfix hangs up on that.
 */
export function formatProxyV1(spoken: Spoken): string {
  const pair = pairOf(spoken);
  if (!pair) return "PROXY UNKNOWN\r\n";
  const family = pair.source.length === 4 ? "TCP4" : "TCP6";
  // One that nobody knows must be a number too, and Dovecot takes no 0 for one.
  const ports = `${portOf(spoken) || 1} ${portOf(spoken.local) || 1}`;
  return `PROXY ${family} ${textOf(pair.source)} ${textOf(pair.target)} ${ports}\r\n`;
}

/** proxy-protocol.txt 2.2, with all that we know of the client, and a checksum over it. */
export function formatProxyV2(spoken: Spoken): Buffer {
  // 2.2: LOCAL is a connection "without being relayed", whose addresses nobody looks at.
  if (spoken.own) return withChecksum(0x20, 0x00, [], []);
  const pair = pairOf(spoken);
  if (!pair) return withChecksum(0x21, 0x00, [], tlvsOf(spoken));
  const ports = Buffer.alloc(4);
  ports.writeUInt16BE(portOf(spoken), 0);
  ports.writeUInt16BE(portOf(spoken.local), 2);
  const family = pair.source.length === 4 ? 0x11 : 0x21;
  return withChecksum(0x21, family, [pair.source, pair.target, ports], tlvsOf(spoken));
}

/** 2.2.3: the checksum is made over the whole header, with zero in its own place. */
function withChecksum(command: number, family: number, addresses: Buffer[], tlvs: Buffer[]): Buffer {
  const body = Buffer.concat([...addresses, ...tlvs, tlv(TLV.crc32c, Buffer.alloc(4))]);
  const head = Buffer.from([command, family, body.length >> 8, body.length & 255]);
  const header = Buffer.concat([SIGNATURE, head, body]);
  header.writeUInt32BE(crc32c(header), header.length - 4);
  return header;
}

function tlvsOf({ session, tls }: Spoken): Buffer[] {
  const uniqueId = Buffer.from(session).subarray(0, MAX_UNIQUE_ID);
  const { alpn, serverName } = tls ?? {};
  return [
    ...textTlv(TLV.alpn, alpn),
    ...textTlv(TLV.authority, serverName),
    tlv(TLV.uniqueId, uniqueId),
    ...(tls ? [sslTlv(tls)] : []),
  ];
}

/** 2.2.6: a bit field, a result that is zero for a certificate that was verified, and then what is known. */
function sslTlv({ version, cipher, commonName }: NonNullable<Spoken["tls"]>): Buffer {
  const known = commonName !== undefined;
  const head = Buffer.alloc(5);
  head[0] = CLIENT_SSL | (known ? CLIENT_CERT_CONN | CLIENT_CERT_SESS : 0);
  head.writeUInt32BE(known ? 0 : 1, 1);
  const inner = [
    ...textTlv(TLV.sslVersion, version),
    ...textTlv(TLV.sslCn, commonName),
    ...textTlv(TLV.sslCipher, cipher),
  ];
  return tlv(TLV.ssl, Buffer.concat([head, ...inner]));
}

/** Nothing for what is not there, or too long to be what it is meant to be. */
function textTlv(type: number, text: string | undefined): Buffer[] {
  const value = Buffer.from(text ?? "");
  return value.length > 0 && value.length <= MAX_VALUE ? [tlv(type, value)] : [];
}

function tlv(type: number, value: Buffer): Buffer {
  return Buffer.concat([Buffer.from([type, value.length >> 8, value.length & 255]), value]);
}

/** 2.1 and 2.2 know one family for both: where they differ, the IPv4 address is written as the IPv6 one that it is too. */
function pairOf({ address, local }: Spoken): Pair | undefined {
  const source = ipBytes(address);
  const target = ipBytes(local.address);
  if (!source || !target) return undefined;
  return source.length === target.length
    ? { source, target }
    : { source: asIpv6(source), target: asIpv6(target) };
}

function portOf({ port }: Place): number {
  return Number.isInteger(port) && port >= 0 && port <= 65_535 ? port : 0;
}

/** In full: nobody can read it in two ways. */
function textOf(bytes: Buffer): string {
  if (bytes.length === 4) return bytes.join(".");
  return Array.from({ length: 8 }, (_, at) => bytes.readUInt16BE(2 * at).toString(16)).join(":");
}
