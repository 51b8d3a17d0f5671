import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import type { TestContext } from "node:test";
import { createSecureContext, TLSSocket } from "node:tls";
import { inspect } from "node:util";
import type { Certificate } from "../support/certificates.ts";
import { eventually, within } from "../support/waiting.ts";

const PATIENCE = 4_000;

/** One connection to a backend that the test plays itself, a line at a time. */
export class Visit {
  readonly tcp: Socket;
  #socket: Socket;
  #heard = Buffer.alloc(0);
  #ended = false;
  #wake = (): void => {};
  /** All bytes that came, those inside TLS as well, as latin1. */
  everything = "";

  constructor(tcp: Socket) {
    this.tcp = tcp;
    this.#socket = tcp;
    this.#listen();
  }

  /** Exactly these bytes. */
  say(bytes: string | Buffer): void {
    this.#socket.write(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes);
  }

  /** The next line; it must be this one, or match. */
  async hear(expected: string | RegExp): Promise<string> {
    const line = await this.#take(inspect(expected), () => {
      const end = this.#heard.indexOf("\r\n");
      return end < 0 ? undefined : this.#cut(end, 2);
    });
    if (typeof expected === "string") assert.equal(line, expected);
    else assert.match(line, expected);
    return line;
  }

  /** The next bytes. */
  async hearBytes(count: number): Promise<string> {
    return this.#take(`${count} bytes`, () => (this.#heard.length < count ? undefined : this.#cut(count, 0)));
  }

  /** The gateway closes, with nothing more said than this. */
  async hearsEnd(after = ""): Promise<void> {
    await within(PATIENCE, () => `the end, after ${inspect(this.everything)}`, this.#end());
    assert.equal(this.#heard.toString("latin1"), after);
  }

  /** TLS as the server, from now on. */
  async startTls(certificate: Certificate): Promise<void> {
    this.#socket.removeAllListeners("data").removeAllListeners("end");
    this.#socket = new TLSSocket(this.tcp, {
      isServer: true,
      secureContext: createSecureContext(certificate),
    });
    this.#listen();
  }

  end(): void {
    this.#socket.end();
  }

  reset(): void {
    this.tcp.resetAndDestroy();
  }

  /** Stops reading. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  #listen(): void {
    const over = (): void => {
      this.#ended = true;
      this.#wake();
    };
    this.#socket.on("error", () => {});
    this.#socket.on("data", (chunk: Buffer) => {
      this.everything += chunk.toString("latin1");
      this.#heard = Buffer.concat([this.#heard, chunk]);
      this.#wake();
    });
    this.#socket.on("end", over);
    this.#socket.on("close", over);
  }

  async #end(): Promise<void> {
    while (!this.#ended) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  async #take(what: string, take: () => string | undefined): Promise<string> {
    const wait = async (): Promise<string> => {
      for (;;) {
        const taken = take();
        if (taken !== undefined) return taken;
        assert.ok(!this.#ended, `closed while waiting for ${what}; it had said ${inspect(this.everything)}`);
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    };
    return within(PATIENCE, () => `${what} at the backend, which heard ${inspect(this.everything)}`, wait());
  }

  #cut(count: number, drop: number): string {
    const text = this.#heard.toString("latin1", 0, count);
    this.#heard = this.#heard.subarray(count + drop);
    return text;
  }
}

export interface BackendByHand {
  readonly port: number;
  /** Connections so far. */
  readonly visits: number;
  /** The next connection that comes. */
  visit(): Promise<Visit>;
  /** The next connection, brought to the point where its client is signed in. */
  signedIn(capabilities?: string): Promise<Visit>;
}

/** A listening socket on which the test is the mail server. */
export async function backendByHand(t: TestContext): Promise<BackendByHand> {
  const waiting: Visit[] = [];
  const all: Visit[] = [];
  const server: Server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const visit = new Visit(socket);
    waiting.push(visit);
    all.push(visit);
  });
  server.listen(0, "localhost");
  await once(server, "listening");
  t.after(() => {
    server.close();
    for (const { tcp } of all) tcp.destroy();
  });
  const visit = (): Promise<Visit> =>
    eventually("a connection to the backend", () => waiting.shift(), { timeoutMs: PATIENCE, everyMs: 2 });
  return {
    port: (server.address() as { port: number }).port,
    get visits() {
      return all.length;
    },
    visit,
    async signedIn(capabilities = "IMAP4rev1 IDLE LITERAL+") {
      const here = await visit();
      here.say(`* OK [CAPABILITY ${capabilities} SASL-IR AUTH=PLAIN] ready\r\n`);
      await here.hear(/^A AUTHENTICATE PLAIN \S+$/);
      here.say(`A OK [CAPABILITY ${capabilities}] in\r\n`);
      return here;
    },
  };
}
