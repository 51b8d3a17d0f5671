import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as connectTcp, type Socket } from "node:net";
import { setImmediate as turn } from "node:timers/promises";
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from "node:tls";
import { inspect } from "node:util";
import { PATIENCE_MS, within } from "./waiting.ts";

export interface ConversationOptions {
  readonly port: number;
  readonly host?: string;
  /** TLS from the first byte on. */
  readonly tls?: ConnectionOptions;
  /** The near end's address, where a test needs several clients. */
  readonly localAddress?: string;
  /** Sends every byte in a segment (inside TLS: a record) of its own. */
  readonly bytewise?: boolean;
  /** How failures name it. */
  readonly name?: string;
  /** How long each wait may take. */
  readonly timeoutMs?: number;
}

/** A client by hand: says exactly these bytes, and fails with the whole transcript when the answer is another one. */
export interface Conversation extends AsyncDisposable {
  /** A line, CRLF added. */
  send(line: string): Promise<void>;
  sendRaw(bytes: string | Uint8Array): Promise<void>;
  /** The next line; it must begin with this text, or match. */
  expect(expected: string | RegExp): Promise<string>;
  /** All lines up to the first one that begins with this text, or matches; that one is the last. */
  expectUntil(expected: string | RegExp): Promise<string[]>;
  /** Exactly this many bytes. */
  readExact(count: number): Promise<Buffer>;
  /** Sends nothing by itself: the handshake after the command and its OK. */
  startTls(options?: ConnectionOptions): Promise<void>;
  /** The other side has closed, and had nothing more to say. */
  expectClosed(): Promise<void>;
  /** The other side closes; gives the lines that it said before. */
  readToClose(): Promise<string[]>;
  /** Stops reading, as a client that is busy elsewhere; `resume` reads on. */
  pause(): void;
  resume(): void;
  /** Ends our sending side. */
  end(): void;
  /** Gone without a word: a reset. */
  vanish(): void;
  transcript(): string;
  readonly localPort: number;
  readonly encrypted: boolean;
}

/** Connects by TCP or TLS; an error of either is the error of this call. */
export async function connect(options: ConversationOptions): Promise<Conversation> {
  const { port, host = "127.0.0.1", localAddress, timeoutMs = PATIENCE_MS, bytewise = false } = options;
  const name = options.name ?? `${host}:${port}`;
  const tcp = connectTcp({
    port,
    host,
    noDelay: true,
    ...(localAddress === undefined ? {} : { localAddress }),
  });
  // A reset is an ending like another; what reads will see it in `ending`.
  let failure: Error | undefined;
  tcp.on("error", (error) => {
    failure = error;
  });
  await within(timeoutMs, `a connection to ${name}`, once(tcp, "connect"));

  const said: string[] = [];
  const note = (who: string, what: string) => said.push(`${who} ${what}`);
  const transcript = () => `conversation with ${name}:\n${said.join("\n")}`;

  let socket: Socket | TLSSocket = tcp;
  const inbox = new Inbox();
  let closed = false;
  let wake = () => {};

  const onData = (chunk: Buffer) => {
    inbox.push(chunk);
    wake();
  };
  const onEnd = () => {
    if (!closed) note("*", failure ? `closed: ${failure.message}` : "closed");
    closed = true;
    wake();
  };
  const listenTo = (next: Socket) => {
    socket.off("data", onData).off("end", onEnd).off("close", onEnd);
    next.on("data", onData).on("end", onEnd).on("close", onEnd);
    socket = next;
  };
  const context = () => `${inbox.describe()}${transcript()}`;

  /** Asks `take` whenever there is more to look at, until it gives something or the other side has closed. */
  const read = async <T>(what: string, take: () => T | undefined): Promise<T | undefined> => {
    const attempt = async () => {
      for (;;) {
        const taken = take();
        if (taken !== undefined || closed) return taken;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    };
    return within(timeoutMs, () => `${what}\n${context()}`, attempt());
  };

  const takeLine = (): string | undefined => {
    const line = inbox.takeLine();
    if (line !== undefined) note("S:", printable(line));
    return line;
  };
  const takeExact = (count: number) => (): Buffer | undefined => {
    const bytes = inbox.takeExact(count);
    if (bytes) note("S:", `(${count} bytes)`);
    return bytes;
  };
  const nextLine = async (expected: string | RegExp): Promise<string> => {
    const line = await read(`a line, hoping for ${inspect(expected)}`, takeLine);
    if (line === undefined) assert.fail(`closed while waiting for ${inspect(expected)}\n${context()}`);
    return line;
  };

  const sendRaw = async (bytes: string | Uint8Array) => {
    const buffer = typeof bytes === "string" ? Buffer.from(bytes, "latin1") : Buffer.from(bytes);
    note("C:", printable(buffer.toString("latin1")));
    const pieces = bytewise ? Array.from(buffer, (byte) => Buffer.of(byte)) : [buffer];
    for (const piece of pieces) {
      // Whether it arrived is told by the answer; a peer that is gone shows when reading.
      socket.write(piece, () => {});
      if (bytewise) await turn();
    }
    if (socket.writableNeedDrain && !socket.destroyed) {
      await within(timeoutMs, () => `the peer to take what we sent\n${transcript()}`, drained(socket));
    }
  };

  const encrypt = async (tls: ConnectionOptions) => {
    assert.equal(inbox.length, 0, `bytes in clear text where TLS begins\n${context()}`);
    const secure = connectTls({ ...tls, socket: tcp });
    listenTo(secure);
    const shaken = Promise.withResolvers<void>();
    secure.once("secureConnect", shaken.resolve);
    secure.on("error", (error) => {
      failure = error;
      shaken.reject(error);
    });
    secure.once("close", () => shaken.reject(new Error("closed during the TLS handshake")));
    await within(timeoutMs, () => `the TLS handshake\n${context()}`, shaken.promise);
    note("*", `${secure.getProtocol()}`);
  };

  if (options.tls) await encrypt(options.tls);
  else listenTo(tcp);

  return {
    send: (line) => sendRaw(`${line}\r\n`),
    sendRaw,
    async expect(expected) {
      const line = await nextLine(expected);
      assert.ok(
        matches(line, expected),
        `expected ${inspect(expected)}, heard ${inspect(line)}\n${transcript()}`,
      );
      return line;
    },
    async expectUntil(expected) {
      const lines: string[] = [];
      for (;;) {
        const line = await nextLine(expected);
        lines.push(line);
        if (matches(line, expected)) return lines;
      }
    },
    async readExact(count) {
      const bytes = await read(`${count} bytes`, takeExact(count));
      if (!bytes) assert.fail(`closed before ${count} bytes had come\n${context()}`);
      return bytes;
    },
    startTls: (tls = {}) => encrypt(tls),
    async expectClosed() {
      await read("the other side to close", () => (inbox.length > 0 ? true : undefined));
      assert.equal(inbox.length, 0, `expected a close and nothing before it\n${context()}`);
    },
    async readToClose() {
      const lines: string[] = [];
      for (;;) {
        const line = await read("the other side to close", takeLine);
        if (line === undefined) return lines;
        lines.push(line);
      }
    },
    pause: () => socket.pause(),
    resume: () => socket.resume(),
    end: () => socket.end(),
    vanish() {
      note("*", "we vanish");
      tcp.resetAndDestroy();
    },
    transcript,
    get localPort() {
      return tcp.localPort ?? 0;
    },
    get encrypted() {
      return socket !== tcp;
    },
    async [Symbol.asyncDispose]() {
      socket.destroy();
      tcp.destroy();
      if (!tcp.closed) await once(tcp, "close");
    },
  };
}

async function drained(socket: Socket): Promise<void> {
  await Promise.race([once(socket, "drain"), once(socket, "close")]);
}

function matches(line: string, expected: string | RegExp): boolean {
  return typeof expected === "string" ? line.startsWith(expected) : expected.test(line);
}

const LONGEST_SHOWN = 300;

function printable(text: string): string {
  const shown = inspect(text.length > LONGEST_SHOWN ? text.slice(0, LONGEST_SHOWN) : text);
  return text.length > LONGEST_SHOWN ? `${shown}… (${text.length} bytes)` : shown;
}

/** Bytes that have come and were not yet taken. */
class Inbox {
  #chunks: Buffer[] = [];
  length = 0;

  push(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.length += chunk.length;
  }

  takeLine(): string | undefined {
    const all = this.#joined();
    const end = all.indexOf("\r\n");
    return end < 0 ? undefined : this.#take(end + 2).toString("latin1", 0, end);
  }

  takeExact(count: number): Buffer | undefined {
    return this.length < count ? undefined : this.#take(count);
  }

  describe(): string {
    return this.length === 0 ? "" : `not yet read: ${printable(this.#joined().toString("latin1"))}\n`;
  }

  #take(count: number): Buffer {
    const all = this.#joined();
    this.#chunks = [all.subarray(count)];
    this.length -= count;
    return all.subarray(0, count);
  }

  #joined(): Buffer {
    if (this.#chunks.length !== 1) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0] as Buffer;
  }
}
