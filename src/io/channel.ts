import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { Refused } from "../refusal.ts";
import { LineBuffer } from "../wire/line-buffer.ts";
import { keep } from "./borrowed.ts";

/** The other side has closed the connection, or it broke. Not a refusal: nobody is left to hear one. */
export class ChannelClosed extends Error {
  override readonly name = "ChannelClosed";
}

/** Where reading from the socket pauses until somebody asks for more; one chunk may stand above it. */
const READ_AHEAD = 16 * 1024;

const ignore = (): void => {};

/** What a finished handshake agreed on. */
export interface TlsFacts {
  /** "TLSv1.3" and the like. */
  readonly version: string;
  /** OpenSSL's name of the cipher suite. */
  readonly cipher: string;
  readonly resumed: boolean;
  /** RFC 6066 3: the name that the client asked for, where it asked. */
  readonly serverName?: string;
  /** RFC 7301: the protocol that both agreed on, where the client asked. */
  readonly alpn?: string;
  /** The certificate that a client showed. */
  readonly client?: ClientFacts;
}

/** What is known of a client by its certificate. */
export interface ClientFacts {
  /** Signed by an authority that we believe, valid now and not revoked: without it the rest is hearsay. */
  readonly verified: boolean;
  /** Why it is not, in OpenSSL's words, such as CERT_HAS_EXPIRED. */
  readonly fault?: string;
  readonly commonName?: string;
  /** Its names of the kind that the configuration asks for. */
  readonly names: readonly string[];
}

interface AboutClient {
  readonly client?: ClientFacts;
}

/** A TLS socket whose handshake has begun; `secured` settles with it. */
export interface Begun {
  readonly socket: TLSSocket;
  readonly secured: Promise<AboutClient | undefined>;
}

/** How TLS begins on a connection. */
export interface TlsStart {
  /** For whom must know what the other side says first: whether it has said enough. It stays to be read by TLS. */
  readonly enough?: (first: Buffer) => boolean;
  /** TLS from the first byte on: what has arrived already is TLS, too. */
  readonly implicit?: boolean;
}

export interface Detached {
  readonly socket: Socket;
  /** What had arrived and was not read: it goes before everything that the socket still brings. */
  readonly rest: Buffer;
  /** Bytes that moved before TLS took the connection over, which its socket does not count. */
  readonly clearBytes: { readonly read: number; readonly written: number };
}

/**
 * One connection, the client's or a backend's, while there is something to understand on it: lines and exact
 * lengths in, bytes out, TLS on the way, and the socket itself handed over at the end. Everything read is
 * counted against one byte budget, and every wait ends at one deadline.
 */
export class Channel {
  #socket: Socket;
  readonly #buffer = new LineBuffer();
  #budget: number;
  #ended = false;
  #broken: Error | undefined;
  /** One may wait to read and one to write, at the same time. */
  readonly #waiting: { read: (() => void) | undefined; write: (() => void) | undefined } = {
    read: undefined,
    write: undefined,
  };
  #deadline: NodeJS.Timeout | undefined;
  #overdue: Refused | undefined;
  readonly #onLeave = new Set<() => void>();
  #handshaking = false;
  /** Bytes that moved before TLS took the connection over. */
  #clearBytes = { read: 0, written: 0 };
  #tls: TlsFacts | undefined;

  /** `budget`: how many bytes may be read before `detach`; beyond it reading is refused as "tooLong". */
  constructor(socket: Socket, budget: number) {
    this.#socket = socket;
    this.#budget = budget;
    this.#attach(socket);
  }

  get encrypted(): boolean {
    return "encrypted" in this.#socket;
  }

  /** Undefined while the connection is in clear text. */
  get tls(): TlsFacts | undefined {
    return this.#tls;
  }

  /** Bytes of the protocol, without what TLS adds. */
  get bytesRead(): number {
    return this.#clearBytes.read + this.#socket.bytesRead;
  }

  get bytesWritten(): number {
    return this.#clearBytes.written + this.#socket.bytesWritten;
  }

  /** Bytes that have arrived and that nobody has read yet. */
  get pending(): number {
    return this.#buffer.length + this.#socket.readableLength;
  }

  /** Whether the connection is gone. */
  get closed(): boolean {
    return this.#broken !== undefined || this.#socket.destroyed;
  }

  /** From now on every wait ends after `ms` milliseconds in all, with what `late` makes then: an error costs its stack. */
  setDeadline(ms: number, late: () => Refused): void {
    clearTimeout(this.#deadline);
    this.#overdue = undefined;
    this.#deadline = setTimeout(() => {
      this.#overdue = late();
      this.#wakeAll();
    }, ms);
  }

  clearDeadline(): void {
    clearTimeout(this.#deadline);
    this.#deadline = undefined;
  }

  /**
   * Calls back once when nobody is there any more: the connection is gone, or the other side has ended and said
   * nothing that is still to be read. The returned function takes that back.
   */
  onLeave(callback: () => void): () => void {
    this.#onLeave.add(callback);
    if (this.closed || this.#left) queueMicrotask(() => this.#onLeave.delete(callback) && callback());
    return () => this.#onLeave.delete(callback);
  }

  /** The next line without its CRLF. Refused as "tooLong" when it has more than `max` bytes. */
  async readLine(max: number): Promise<Buffer> {
    for (;;) {
      const line = this.#buffer.takeLine(max);
      if (line === "tooLong") throw new Refused("tooLong", `a line of more than ${max} bytes`);
      if (line) {
        this.#spend(line.length + 2);
        return line;
      }
      await this.#more();
    }
  }

  /** Exactly `count` bytes. */
  async readExact(count: number): Promise<Buffer> {
    this.#spend(count);
    for (;;) {
      const bytes = this.#buffer.takeExact(count);
      if (bytes) return bytes;
      await this.#more();
    }
  }

  /** Whatever has arrived, at least one byte, without a copy where that is possible. */
  async readSome(): Promise<Buffer> {
    while (this.#buffer.length === 0) await this.#more();
    return this.#buffer.takeAll();
  }

  /** Puts bytes back that `readSome` took too much of; nothing has been read since. */
  unread(bytes: Buffer): void {
    const behind = this.#buffer.takeAll();
    this.#buffer.push(bytes);
    if (behind.length > 0) this.#buffer.push(behind);
  }

  /** From now on the session may go on for as long, and with as much, as it likes. */
  liftBudget(): void {
    this.#budget = Number.POSITIVE_INFINITY;
    this.clearDeadline();
  }

  /** Begins the deadline's time anew, for one that is about silence. */
  refreshDeadline(): void {
    this.#deadline?.refresh();
  }

  /** Reads `count` bytes and forgets them, never holding more of them than what one read brings. */
  async discard(count: number): Promise<void> {
    this.#spend(count);
    for (let left = count; left > 0; ) {
      const some = this.#buffer.takeExact(Math.min(left, this.#buffer.length));
      left -= some?.length ?? 0;
      if (left > 0) await this.#more();
    }
  }

  /** Writes, and waits while the other side takes nothing; last words behind the deadline wait for nobody. */
  async write(data: string | Buffer): Promise<void> {
    if (this.closed || !this.#socket.writable) throw this.#closed();
    const last = this.#overdue !== undefined;
    if (this.#socket.write(data) || last) return;
    while (this.#socket.writableNeedDrain) {
      await this.#event("write");
      if (this.#broken) throw this.#closed();
    }
  }

  /**
   * Hands the raw socket to `wrap` and goes on over the TLS socket that it returns, once its handshake is
   * done. Refused as "bytesAfterStartTls" when anything is `pending` in clear; a failed handshake is a
   * ChannelClosed with its cause.
   */
  async startTls(
    wrap: (socket: Socket, first: Buffer) => Begun,
    { enough, implicit = false }: TlsStart = {},
  ): Promise<void> {
    // Asked here and not only by whoever answered STARTTLS: while that answer was written, more could arrive.
    if (!implicit && this.pending > 0)
      throw new Refused("bytesAfterStartTls", "bytes behind STARTTLS in clear text");
    this.#handshaking = true;
    const first = await this.#peek(enough);
    const secured = this.#wrapSocket(wrap, first);
    const more = await new Promise<AboutClient | undefined>((resolve, reject) => {
      const fail = (cause: unknown) => reject(new ChannelClosed("the TLS handshake failed", { cause }));
      this.#waiting.read = () => {
        if (this.#overdue) reject(this.#overdue);
        else if (this.#broken) fail(this.#broken);
        else if (this.#ended) reject(this.#closed());
      };
      secured.then(resolve, fail);
    });
    this.#waiting.read = undefined;
    this.#handshaking = false;
    this.#tls = { ...factsOf(this.#socket as TLSSocket), ...more };
  }

  /** What has arrived, once it is enough; it stays where it is. */
  async #peek(enough: TlsStart["enough"]): Promise<Buffer> {
    for (;;) {
      const first = this.#buffer.takeAll();
      if (first.length > 0) this.#buffer.push(first);
      if (!enough || enough(first)) return first;
      await this.#more();
    }
  }

  #wrapSocket(wrap: Parameters<Channel["startTls"]>[0], first: Buffer): Begun["secured"] {
    const raw = this.#socket;
    this.#buffer.takeAll();
    this.#clearBytes = { read: raw.bytesRead - first.length, written: raw.bytesWritten };
    this.#release(raw);
    if (first.length > 0) {
      raw.pause();
      raw.unshift(first);
    }
    try {
      const { socket, secured } = wrap(raw, first);
      this.#socket = socket;
      this.#attach(socket);
      return secured;
    } catch (cause) {
      raw.destroy();
      throw new ChannelClosed("the TLS handshake failed", { cause });
    }
  }

  /** Lets go of the socket: no listener, timer or budget of the channel is left on it. */
  detach(): Detached {
    this.clearDeadline();
    this.#release(this.#socket);
    this.#socket.pause();
    this.#onLeave.clear();
    return { socket: this.#socket, rest: this.#buffer.takeAll(), clearBytes: this.#clearBytes };
  }

  /** Says goodbye in order: flushes what is written, then FIN. A peer that stays is cut off after `lingerMs`. */
  end(lingerMs = 2_000): void {
    this.clearDeadline();
    const socket = this.#socket;
    if (socket.destroyed) return;
    // Half a handshake carries no goodbye.
    if (this.#handshaking) {
      this.destroy();
      return;
    }
    this.#release(socket);
    socket.resume();
    socket.end();
    const timer = setTimeout(() => socket.destroy(), lingerMs);
    timer.unref();
    socket.once("close", () => clearTimeout(timer));
    if (socket.readableEnded) socket.destroySoon();
    else socket.once("end", () => socket.destroySoon());
  }

  /** Cuts the connection now. */
  destroy(): void {
    this.clearDeadline();
    this.#socket.destroy();
  }

  #spend(bytes: number): void {
    this.#budget -= bytes;
    if (this.#budget < 0) throw new Refused("tooLong", "more bytes than a session may send before login");
  }

  async #more(): Promise<void> {
    if (this.#overdue) throw this.#overdue;
    if (this.#broken || this.#ended) throw this.#closed();
    this.#socket.resume();
    await this.#event("read");
  }

  /** Waits for whatever happens next to the socket, or for the deadline, which it throws. */
  async #event(side: "read" | "write"): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#waiting[side] = resolve;
    });
    this.#waiting[side] = undefined;
    if (this.#overdue) throw this.#overdue;
  }

  #wakeAll(): void {
    this.#waiting.read?.();
    this.#waiting.write?.();
  }

  #closed(): ChannelClosed {
    return new ChannelClosed("the connection is closed", { cause: this.#broken });
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#buffer.push(keep(chunk));
    if (this.#buffer.length >= READ_AHEAD) this.#socket.pause();
    this.#waiting.read?.();
  };

  readonly #onDrain = (): void => {
    this.#waiting.write?.();
  };

  readonly #onEnd = (): void => {
    this.#ended = true;
    this.#waiting.read?.();
    if (this.#left) this.#leave();
  };

  readonly #onError = (error: Error): void => {
    this.#broken ??= error;
  };

  readonly #onSocketClose = (): void => {
    this.#broken ??= new ChannelClosed("the connection is closed");
    this.#wakeAll();
    this.#leave();
  };

  get #left(): boolean {
    return this.#ended && this.#buffer.length === 0;
  }

  #leave(): void {
    for (const callback of this.#onLeave) callback();
    this.#onLeave.clear();
  }

  #attach(socket: Socket): void {
    socket.on("data", this.#onData);
    socket.on("drain", this.#onDrain);
    socket.on("end", this.#onEnd);
    socket.on("error", this.#onError);
    socket.on("close", this.#onSocketClose);
  }

  #release(socket: Socket): void {
    socket.off("data", this.#onData);
    socket.off("drain", this.#onDrain);
    socket.off("end", this.#onEnd);
    socket.off("error", this.#onError);
    socket.off("close", this.#onSocketClose);
    // Whoever takes it over listens for its close; until then an error must find somebody.
    socket.on("error", ignore);
  }
}

function factsOf(socket: TLSSocket): TlsFacts {
  const { alpnProtocol, servername } = socket as TLSSocket & { servername?: string | false };
  return {
    version: socket.getProtocol() ?? "unknown",
    cipher: socket.getCipher()?.name ?? "unknown",
    resumed: socket.isSessionReused(),
    ...(servername && { serverName: servername }),
    ...(alpnProtocol && { alpn: alpnProtocol }),
  };
}
