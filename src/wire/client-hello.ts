/** What a TLS client asks for in its first message, as far as it matters for choosing a certificate. */
export interface ClientHello {
  /** RFC 6066 3. Whatever the client sent: not checked to be a host name. */
  readonly serverName?: string;
  /** RFC 7301 3.1. */
  readonly alpn: readonly string[];
}

/** More than any client sends; post-quantum key shares take some 2 KiB. Headers of records count. */
const MAX_BYTES = 16 * 1024;

const RECORD_HEADER = 5;
const MESSAGE_HEADER = 4;
const HANDSHAKE = 22;
const CLIENT_HELLO = 1;
const SERVER_NAME = 0;
const HOST_NAME = 0;
const ALPN = 16;

/**
 * Reads the ClientHello at the beginning of a connection: "more" while it is not whole, "none" when this is none
 * that can be understood. Strict, for TLS itself reads the same bytes again and is the one that answers them.
 */
export function readClientHello(bytes: Buffer): ClientHello | "more" | "none" {
  const message = firstMessage(bytes);
  if (typeof message === "string") return message;
  try {
    return parse(new Reader(message));
  } catch (error) {
    if (error instanceof Malformed) return "none";
    throw error;
  }
}

/** RFC 8446 5.1: the first handshake message, which may be cut into any number of records. */
function firstMessage(bytes: Buffer): Buffer | "more" | "none" {
  const fragments: Buffer[] = [];
  let at = 0;
  let have = 0;
  for (;;) {
    if (bytes.length > at && bytes[at] !== HANDSHAKE) return "none";
    if (bytes.length > at + 1 && bytes[at + 1] !== 3) return "none";
    if (at + RECORD_HEADER > MAX_BYTES) return "none";
    if (bytes.length < at + RECORD_HEADER) return "more";
    const length = bytes.readUInt16BE(at + 3);
    if (length === 0 || at + RECORD_HEADER + length > MAX_BYTES) return "none";
    const fragment = bytes.subarray(at + RECORD_HEADER, at + RECORD_HEADER + length);
    fragments.push(fragment);
    have += fragment.length;
    const want = have < MESSAGE_HEADER ? undefined : wantedBytes(fragments);
    if (want === "none" || (want !== undefined && want > MAX_BYTES)) return "none";
    if (want !== undefined && have >= want) return Buffer.concat(fragments).subarray(MESSAGE_HEADER, want);
    if (fragment.length < length) return "more";
    at += RECORD_HEADER + length;
  }
}

/** The whole length of the message whose beginning this is. */
function wantedBytes(fragments: readonly Buffer[]): number | "none" {
  const [first] = fragments;
  const start = first && first.length >= MESSAGE_HEADER ? first : Buffer.concat(fragments);
  return start[0] === CLIENT_HELLO ? MESSAGE_HEADER + start.readUIntBE(1, 3) : "none";
}

/** RFC 8446 4.1.2, RFC 5246 7.4.1.2. */
function parse(hello: Reader): ClientHello {
  hello.take(2 + 32);
  hello.vector(1);
  hello.vector(2);
  hello.vector(1);
  if (hello.done) return { alpn: [] };
  const extensions = hello.vector(2);
  hello.end();
  const seen = new Set<number>();
  let serverName: string | undefined;
  let alpn: readonly string[] = [];
  while (!extensions.done) {
    const type = extensions.number(2);
    const data = extensions.vector(2);
    // RFC 8446 4.2: never twice. Which of two would count?
    if (seen.has(type)) throw new Malformed();
    seen.add(type);
    if (type === SERVER_NAME) serverName = readServerName(data);
    if (type === ALPN) alpn = readAlpn(data);
  }
  return { ...(serverName !== undefined && { serverName }), alpn };
}

function readServerName(data: Reader): string {
  const list = data.vector(2);
  data.end();
  // RFC 6066 3: one name of a type, and there is one type.
  if (list.number(1) !== HOST_NAME) throw new Malformed();
  const name = list.vector(2);
  list.end();
  return name.text();
}

function readAlpn(data: Reader): string[] {
  const list = data.vector(2);
  data.end();
  const names: string[] = [];
  while (!list.done) names.push(list.vector(1).text());
  return names;
}

class Malformed extends Error {}

/** Takes what TLS' presentation language (RFC 8446 3) writes; throws Malformed when there is less. */
class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.#at === this.#bytes.length;
  }

  take(count: number): Buffer {
    if (this.#at + count > this.#bytes.length) throw new Malformed();
    this.#at += count;
    return this.#bytes.subarray(this.#at - count, this.#at);
  }

  number(width: number): number {
    return this.take(width).readUIntBE(0, width);
  }

  /** What stands behind a length of `width` bytes. */
  vector(width: number): Reader {
    return new Reader(this.take(this.number(width)));
  }

  end(): void {
    if (!this.done) throw new Malformed();
  }

  /** One byte, one character: what is not ASCII matches nothing. */
  text(): string {
    return this.#bytes.toString("latin1");
  }
}
