import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { Refused } from "../refusal.ts";
import { LineBuffer } from "../wire/line-buffer.ts";
import { keep, writeKept } from "./borrowed.ts";
import { Deadline } from "./deadline.ts";

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
  readonly clearBytes: Bytes;
}

interface Bytes {
  readonly read: number;
  readonly written: number;
}

const NOTHING: Bytes = { read: 0, written: 0 };

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
  readonly #deadline = new Deadline((overdue) => {
    this.#overdue = overdue;
    this.#wakeAll();
  });
  #overdue: Refused | undefined;
  /** Who takes what arrives as it arrives. */
  #pump: ((chunk: Buffer) => void) | undefined;
  #paused = false;
  readonly #onLeave = new Set<() => void>();
  #handshaking = false;
  /** Bytes that moved before TLS took the connection over. */
  #clearBytes = NOTHING;
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

  /**
   * From now on every wait ends after `ms` milliseconds in all, with what `late` makes then: an error costs its
   * stack. A deadline that is only moved on, as one about silence is with each line, costs no timer.
   */
  setDeadline(ms: number, late: () => Refused): void {
    this.#overdue = undefined;
    this.#deadline.set(ms, late);
  }

  clearDeadline(): void {
    this.#deadline.clear();
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
      const line = this.takeLine(max);
      if (line) return line;
      await this.more();
    }
  }

  /** Whatever has arrived, once it is more than `known` bytes; it stays to be read. */
  async peek(known = 0): Promise<Buffer> {
    while (this.#buffer.length <= known) await this.more();
    return this.#buffer.waiting;
  }

  /** As `readLine`, but undefined when the line has not arrived yet. */
  takeLine(max: number): Buffer | undefined {
    const line = this.#buffer.takeLine(max);
    if (line === "tooLong") throw new Refused("tooLong", `a line of more than ${max} bytes`);
    if (line) this.#spend(line.length + 2);
    return line;
  }

  /** Exactly `count` bytes. */
  async readExact(count: number): Promise<Buffer> {
    this.#spend(count);
    for (;;) {
      const bytes = this.#buffer.takeExact(count);
      if (bytes) return bytes;
      await this.more();
    }
  }

  /**
   * Hands over what has arrived and what arrives, as it comes and only for the time of the call, until `take` gives
   * back what of its chunk was not its own any more. `to` is where it is written: one that takes nothing stops the
   * reading. The deadline is about silence here.
   */
  async pump(to: Channel, take: (chunk: Buffer) => Buffer | undefined): Promise<void> {
    while (this.#buffer.length > 0) {
      const rest = take(this.#buffer.takeAll());
      if (rest) return this.#buffer.push(rest);
      await to.drained().catch(ignore);
    }
    this.#mustBeOpen();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const goOn = (): void => {
      if (this.#pump) this.#resume();
    };
    this.#pump = (chunk) => {
      this.refreshDeadline();
      try {
        const rest = take(chunk);
        if (rest) {
          this.#pump = undefined;
          if (rest.length > 0) this.#keep(rest);
          resolve();
        } else if (to.behind) {
          this.#pause();
          to.drained().then(goOn, goOn);
        }
      } catch (error) {
        reject(error);
      }
    };
    this.#waiting.read = () => {
      if (this.#overdue || this.#broken || this.#ended) reject(this.#overdue ?? this.#closed());
    };
    this.#resume();
    try {
      await promise;
    } finally {
      this.#pump = undefined;
      this.#waiting.read = undefined;
    }
  }

  /** From now on the session may go on for as long, and with as much, as it likes. */
  liftBudget(): void {
    this.#budget = Number.POSITIVE_INFINITY;
    this.clearDeadline();
  }

  /** Begins the deadline's time anew, for one that is about silence. */
  refreshDeadline(): void {
    this.#deadline.refresh();
  }

  /** Reads `count` bytes and forgets them, never holding more of them than what one read brings. */
  async discard(count: number): Promise<void> {
    this.#spend(count);
    for (let left = count; left > 0; ) {
      const some = this.#buffer.takeExact(Math.min(left, this.#buffer.length));
      left -= some?.length ?? 0;
      if (left > 0) await this.more();
    }
  }

  /** Writes, and waits while the other side takes nothing; last words behind the deadline wait for nobody. */
  async write(data: string | Buffer): Promise<void> {
    const last = this.#overdue !== undefined;
    this.send(data);
    if (!last) await this.drained();
  }

  /** Writes without waiting: whoever has more to write asks whether the other side is `behind`. */
  send(data: string | Buffer, encoding: "utf8" | "latin1" = "utf8"): void {
    if (this.closed || !this.#socket.writable) throw this.#closed();
    if (typeof data === "string") this.#socket.write(data, encoding);
    else writeKept(data, this.#socket);
  }

  /** Whether the other side takes less than is written. */
  get behind(): boolean {
    return this.#socket.writableNeedDrain;
  }

  /** Waits while the other side is `behind`. */
  async drained(): Promise<void> {
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
    // What a connection that is TLS from its start has brought so far is TLS, or a proxy's header.
    const clear = implicit
      ? NOTHING
      : { read: this.#socket.bytesRead - first.length, written: this.#socket.bytesWritten };
    const secured = this.#wrapSocket(wrap, first, clear);
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
      await this.more();
    }
  }

  #wrapSocket(wrap: Parameters<Channel["startTls"]>[0], first: Buffer, clear: Bytes): Begun["secured"] {
    const raw = this.#socket;
    this.#buffer.takeAll();
    this.#clearBytes = clear;
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
    this.#deadline.end();
    this.#release(this.#socket);
    this.#socket.pause();
    this.#onLeave.clear();
    return { socket: this.#socket, rest: this.#buffer.takeAll(), clearBytes: this.#clearBytes };
  }

  /** Says goodbye in order: flushes what is written, then FIN. A peer that stays is cut off after `lingerMs`. */
  end(lingerMs = 2_000): void {
    this.#deadline.end();
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
    this.#deadline.end();
    this.#socket.destroy();
  }

  #spend(bytes: number): void {
    this.#budget -= bytes;
    if (this.#budget < 0) throw new Refused("tooLong", "more bytes than a session may send before login");
  }

  /** Whether the other side says anything within `ms` milliseconds; nothing of it is read. */
  async speaksWithin(ms: number): Promise<boolean> {
    if (this.pending === 0 && ms > 0) {
      const timer = setTimeout(() => this.#waiting.read?.(), ms);
      await this.more().finally(() => clearTimeout(timer));
    }
    return this.pending > 0;
  }

  /** Waits until more has arrived. */
  async more(): Promise<void> {
    this.#mustBeOpen();
    this.#resume();
    await this.#event("read");
  }

  #mustBeOpen(): void {
    if (this.#overdue) throw this.#overdue;
    if (this.#broken || this.#ended) throw this.#closed();
  }

  #pause(): void {
    this.#paused = true;
    this.#socket.pause();
  }

  #resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#socket.resume();
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
    if (this.#pump) this.#pump(chunk);
    else {
      this.#keep(chunk);
      this.#waiting.read?.();
    }
  };

  #keep(chunk: Buffer): void {
    this.#buffer.push(keep(chunk));
    if (this.#buffer.length >= READ_AHEAD) this.#pause();
  }

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
    // A listener may hand it over paused.
    this.#paused = socket.isPaused();
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
