import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { type SecureContext, TLSSocket } from "node:tls";

/** The other side is gone, so there is nobody to answer. */
export class Disconnected extends Error {
  override readonly name = "Disconnected";
}

/** One socket as awaited reads and writes. A read pulls, so a client that sends faster than we act must wait. */
export class Connection {
  #socket: Duplex;
  #wake: () => void = () => {};
  readonly #onEvent = (): void => this.#wake();

  constructor(socket: Socket) {
    this.#socket = socket;
    this.#attach();
  }

  /** Some bytes, or undefined when no more will come. */
  async read(): Promise<Buffer | undefined> {
    for (;;) {
      const chunk: Buffer | null = this.#socket.read();
      if (chunk) return chunk;
      if (this.#socket.readableEnded || this.#socket.destroyed) return undefined;
      await this.#event();
    }
  }

  /** Returns when the socket will take more: a slow reader holds up its own session and nothing else. */
  async write(data: string | Buffer): Promise<void> {
    if (this.#socket.destroyed || this.#socket.writableEnded) throw new Disconnected();
    const mayGoOn = typeof data === "string" ? this.#socket.write(data, "latin1") : this.#socket.write(data);
    if (mayGoOn) return;
    await this.#drained();
  }

  /** True when bytes wait that nobody has read yet. */
  get hasUnread(): boolean {
    return this.#socket.readableLength > 0;
  }

  async startTls(secureContext: SecureContext): Promise<void> {
    const plain = this.#socket;
    this.#detach();
    const secure = new TLSSocket(plain as Socket, { isServer: true, secureContext });
    plain.on("error", () => secure.destroy());
    this.#socket = secure;
    this.#attach();
    await this.#handshaken(secure);
  }

  /** Sends what is still to be sent and closes; a peer that will not read is not waited for. */
  end(): void {
    this.#socket.end();
    setTimeout(() => this.#socket.destroy(), 2000).unref();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #attach(): void {
    for (const event of ["readable", "end", "close", "error"]) this.#socket.on(event, this.#onEvent);
  }

  #detach(): void {
    for (const event of ["readable", "end", "close", "error"]) this.#socket.off(event, this.#onEvent);
  }

  #event(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  #drained(): Promise<void> {
    const socket = this.#socket;
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        socket.off("drain", settle);
        socket.off("close", settle);
        if (socket.destroyed) reject(new Disconnected());
        else resolve();
      };
      socket.on("drain", settle);
      socket.on("close", settle);
    });
  }

  #handshaken(secure: TLSSocket): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        secure.off("secure", settle);
        secure.off("close", settle);
        if (secure.destroyed) reject(new Disconnected());
        else resolve();
      };
      secure.on("secure", settle);
      secure.on("close", settle);
    });
  }
}
