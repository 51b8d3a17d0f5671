import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { createSecureContext, TLSSocket } from "node:tls";
import { inspect } from "node:util";
import type { Certificate } from "./certificates.ts";
import { freePort } from "./ports.ts";
import { eventually } from "./waiting.ts";

/** Where in a session something can be put in place of the ordinary answer. */
export type Point =
  | "greeting"
  | "ehlo"
  | "helo"
  | "starttls"
  /** STARTTLS was answered, and the first bytes of the handshake have come. */
  | "handshake"
  | "auth"
  | "mail"
  | "rcpt"
  | "data"
  /** The first bytes of content have come. */
  | "body"
  /** The end of DATA has come. */
  | "end"
  /** A message has been taken, and nothing was said of it yet. */
  | "taken"
  /** Its acceptance has been said. */
  | "answered"
  | "bdat"
  | "rset"
  | "noop"
  | "quit";

/** What is done there: nothing at all, an end, or bytes of the test's own and then perhaps an end, or the handshake. */
export type Act =
  | "silence"
  | "close"
  | "reset"
  | { readonly say: string | Uint8Array; readonly next?: "close" | "reset" | "handshake" };

type MaybeAct = Act | undefined;

export interface ScriptedSmtpOptions {
  readonly tls?: "none" | "starttls" | "implicit";
  /** Wanted unless tls is `none`. */
  readonly certificate?: Certificate;
  /** Speaks LMTP: LHLO, and a reply for each recipient. */
  readonly lmtp?: boolean;
  /** Lines of the EHLO reply beside STARTTLS and AUTH PLAIN, which follow from `tls` and `auth`. */
  readonly extensions?: readonly string[];
  /** Offers AUTH PLAIN, and takes any password. */
  readonly auth?: boolean;
  /** Faults, by point. A function sees the command's line, may wait for the test, and gives `undefined` for the ordinary answer. */
  readonly acts?: Partial<Record<Point, MaybeAct | ((line: string) => MaybeAct | Promise<MaybeAct>)>>;
}

/** A message that came whole: its end was answered, or would have been. */
export interface Taken {
  readonly mail: string;
  readonly rcpts: readonly string[];
  /** As it came behind DATA, its end and dots included, or as the octets behind BDAT. */
  readonly raw: Buffer;
  readonly by: "data" | "bdat";
}

/** An SMTP or LMTP backend of scripted answers, and a witness of what reached it. */
export interface ScriptedSmtp extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  readonly tls: "none" | "starttls" | "implicit";
  /** Connections so far, those that the gateway makes to learn included, and those that are open now. */
  readonly connections: number;
  readonly open: number;
  readonly taken: readonly Taken[];
  /** Every byte that came, clear and from inside TLS, in order. */
  received(): string;
  /** The command lines that came behind the last `forget`, in order. */
  lines(): string[];
  /** Whether this text came, as it stands or inside base64. */
  heard(secret: string): boolean;
  /** Waits for a command line that begins so. */
  hears(beginning: string): Promise<string>;
  /** Begins the record anew. */
  forget(): void;
  transcript(): string;
  /** Says something to every open connection. */
  say(bytes: string): void;
  resetAll(): void;
  stop(): Promise<void>;
  /** Listens again, on the same port. */
  restart(): Promise<void>;
}

const ALL = ["PIPELINING", "SIZE 60000000", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES", "CHUNKING"];

export async function startScriptedSmtp(options: ScriptedSmtpOptions = {}): Promise<ScriptedSmtp> {
  const port = await freePort();
  const witness = new Witness();
  const open = new Set<Visit>();
  let connections = 0;
  const server: Server = createServer({ noDelay: true }, (socket) => {
    connections++;
    const visit = new Visit(socket, options, witness);
    open.add(visit);
    socket.once("close", () => open.delete(visit));
    visit.begin();
  });
  const start = async () => {
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
  };
  await start();
  const stop = async () => {
    if (!server.listening) return;
    const closed = once(server, "close");
    server.close();
    for (const visit of open) visit.reset();
    await closed;
  };
  return {
    host: "127.0.0.1",
    port,
    tls: options.tls ?? "none",
    get connections() {
      return connections;
    },
    get open() {
      return open.size;
    },
    get taken() {
      return witness.taken;
    },
    received: () => witness.received,
    lines: () => [...witness.lines],
    heard: (secret) => witness.heard(secret),
    hears: (beginning) =>
      eventually(
        () => `${beginning} at the backend\n${witness.transcript()}`,
        () => witness.lines.find((line) => line.startsWith(beginning)),
      ),
    forget: () => witness.forget(),
    transcript: () => witness.transcript(),
    say(bytes) {
      for (const visit of open) visit.say(bytes);
    },
    resetAll() {
      for (const visit of open) visit.reset();
    },
    stop,
    restart: start,
    [Symbol.asyncDispose]: stop,
  };
}

class Witness {
  received = "";
  lines: string[] = [];
  taken: Taken[] = [];
  #said: string[] = [];

  forget(): void {
    this.received = "";
    this.lines = [];
    this.taken = [];
    this.#said = [];
  }

  note(who: string, bytes: string): void {
    this.#said.push(`${who} ${inspect(bytes.slice(0, 300))}`);
  }

  heard(secret: string): boolean {
    const tokens = this.received.match(/[A-Za-z0-9+/]{4,}={0,2}/g) ?? [];
    const decoded = tokens.map((token) => Buffer.from(token, "base64").toString("latin1"));
    return [this.received, ...decoded].some((text) => text.includes(secret));
  }

  transcript(): string {
    return `at the scripted backend:\n${this.#said.join("\n")}`;
  }
}

const END = Buffer.from("\r\n.\r\n");

/** One connection: reads commands and content, and answers them as the script says. */
class Visit {
  readonly #options: ScriptedSmtpOptions;
  readonly #witness: Witness;
  readonly #tcp: Socket;
  #socket: Socket;
  #chunks: Buffer[] = [];
  #encrypted = false;
  #wake = (): void => {};
  #ended = false;
  #mail = "";
  #rcpts: string[] = [];
  #bdat: Buffer[] = [];

  constructor(tcp: Socket, options: ScriptedSmtpOptions, witness: Witness) {
    this.#tcp = tcp;
    this.#socket = tcp;
    this.#options = options;
    this.#witness = witness;
    // The gateway may end a connection as it likes; what came before is what counts.
    tcp.on("error", () => {});
    tcp.on("close", () => {
      this.#ended = true;
      this.#wake();
    });
  }

  begin(): void {
    if (this.#options.tls === "implicit") this.#handshake();
    else this.#listen();
    void this.#serve();
  }

  say(bytes: string | Uint8Array): void {
    this.#witness.note("S:", typeof bytes === "string" ? bytes : Buffer.from(bytes).toString("latin1"));
    if (this.#socket.writable)
      this.#socket.write(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes);
  }

  reset(): void {
    if (!this.#tcp.destroyed) this.#tcp.resetAndDestroy();
  }

  async #serve(): Promise<void> {
    await this.#at("greeting", "", () => this.say("220 backend.example.net ESMTP scripted\r\n"));
    for (let line = await this.#line(); line !== undefined; line = await this.#line()) {
      this.#witness.lines.push(line);
      await this.#answer(line);
    }
  }

  async #answer(line: string): Promise<void> {
    const [verb = "", argument = ""] = line.split(" ", 2);
    switch (verb.toUpperCase()) {
      case "LHLO":
      case "EHLO":
        if ((verb.toUpperCase() === "LHLO") !== (this.#options.lmtp ?? false))
          return this.say("500 5.5.1 no\r\n");
        return this.#at("ehlo", line, () => this.say(this.#ehlo()));
      case "HELO":
        return this.#at("helo", line, () => this.say("250 backend.example.net\r\n"));
      case "STARTTLS":
        return this.#at("starttls", line, () => {
          this.say("220 2.0.0 begin\r\n");
          return this.#beginTls();
        });
      case "AUTH":
        if (line.split(" ").length < 3) {
          this.say("334 \r\n");
          await this.#line();
        }
        return this.#at("auth", line, () => this.say("235 2.7.0 in\r\n"));
      case "MAIL":
        return this.#at("mail", line, () => {
          if (this.#mail) return this.say("503 5.5.1 nested MAIL\r\n");
          this.#mail = line;
          this.say("250 2.1.0 sender ok\r\n");
        });
      case "RCPT":
        return this.#at("rcpt", line, () => {
          if (!this.#mail) return this.say("503 5.5.1 MAIL first\r\n");
          this.#rcpts.push(line);
          this.say("250 2.1.5 recipient ok\r\n");
        });
      case "DATA":
        return this.#at("data", line, async () => {
          if (this.#rcpts.length === 0) return this.say("503 5.5.1 RCPT first\r\n");
          this.say("354 go ahead\r\n");
          await this.#content();
        });
      case "BDAT":
        return this.#chunk(line, Number(argument), / LAST$/i.test(line));
      case "RSET":
        this.#forget();
        return this.#at("rset", line, () => this.say("250 2.0.0 reset\r\n"));
      case "NOOP":
        return this.#at("noop", line, () => this.say("250 2.0.0 nothing\r\n"));
      case "QUIT":
        return this.#at("quit", line, () => {
          this.say("221 2.0.0 bye\r\n");
          this.#socket.end();
        });
      default:
        return this.say("500 5.5.2 what?\r\n");
    }
  }

  #ehlo(): string {
    const { tls = "none", auth = false, extensions = ALL } = this.#options;
    const lines = ["backend.example.net", ...extensions];
    if (tls === "starttls" && !this.#encrypted) lines.push("STARTTLS");
    if (auth && (tls === "none" || this.#encrypted)) lines.push("AUTH PLAIN");
    return lines.map((text, at) => `250${at === lines.length - 1 ? " " : "-"}${text}\r\n`).join("");
  }

  async #content(): Promise<void> {
    const content: Buffer[] = [];
    // Its end may be cut anywhere; so that long ones take no long time, only what is new is searched.
    let tail: Buffer = Buffer.from("\r\n");
    let begun = false;
    for (;;) {
      const some = await this.#some();
      if (!some) return;
      if (!begun) {
        await this.#at("body", "", () => {
          begun = true;
        });
      }
      if (!begun) return;
      const seen = Buffer.concat([tail, some]);
      const end = seen.indexOf(END);
      if (end < 0) {
        content.push(some);
        tail = seen.subarray(1 - END.length);
        continue;
      }
      const behind = end + END.length - tail.length;
      const raw = Buffer.concat([...content, some.subarray(0, behind)]);
      this.#chunks.unshift(some.subarray(behind));
      return this.#finish(raw, "data", "end");
    }
  }

  async #chunk(line: string, size: number, last: boolean): Promise<void> {
    for (let left = size; left > 0; ) {
      const some = await this.#some();
      if (!some) return;
      this.#bdat.push(some.subarray(0, left));
      if (some.length > left) this.#chunks.unshift(some.subarray(left));
      left -= Math.min(left, some.length);
    }
    if (this.#rcpts.length === 0) return this.say("503 5.5.1 RCPT first\r\n");
    if (last) return this.#finish(Buffer.concat(this.#bdat), "bdat", "bdat");
    await this.#at("bdat", line, () => this.say("250 2.0.0 chunk\r\n"));
  }

  /** The message counts as taken when its acceptance has been said. */
  async #finish(raw: Buffer, by: Taken["by"], point: Point): Promise<void> {
    const taken = { mail: this.#mail, rcpts: [...this.#rcpts], raw, by };
    const replies = this.#options.lmtp ? this.#rcpts.length : 1;
    this.#forget();
    await this.#at(point, "", async () => {
      this.#witness.taken.push(taken);
      await this.#at("taken", "", () => this.say("250 2.0.0 taken\r\n".repeat(replies)));
      await this.#at("answered", "", () => {});
    });
  }

  #forget(): void {
    this.#mail = "";
    this.#rcpts = [];
    this.#bdat = [];
  }

  /** A fault waits for the first bytes, which TLS else would take. */
  async #beginTls(): Promise<void> {
    const act = await this.#act("handshake", "");
    if (act === undefined) return this.#handshake();
    await this.#some();
    this.#do(act);
  }

  async #at(point: Point, line: string, ordinary: () => void | Promise<void>): Promise<void> {
    const act = await this.#act(point, line);
    if (act === undefined) await ordinary();
    else this.#do(act);
  }

  async #act(point: Point, line: string): Promise<MaybeAct> {
    const given = this.#options.acts?.[point];
    return typeof given === "function" ? given(line) : given;
  }

  #do(act: Act): void {
    if (act === "close") this.#socket.end();
    else if (act === "reset") this.reset();
    else if (act !== "silence") {
      this.say(act.say);
      if (act.next === "close") this.#socket.end();
      if (act.next === "reset") this.reset();
      if (act.next === "handshake") this.#handshake();
    }
  }

  #listen(): void {
    this.#socket.on("data", (chunk: Buffer) => {
      const text = chunk.toString("latin1");
      this.#witness.received += text;
      this.#witness.note("C:", text);
      this.#chunks.push(chunk);
      this.#wake();
    });
  }

  #handshake(): void {
    const { certificate } = this.#options;
    if (!certificate) throw new Error("a scripted backend that speaks TLS needs a certificate");
    this.#socket.removeAllListeners("data");
    this.#socket = new TLSSocket(this.#tcp, {
      isServer: true,
      secureContext: createSecureContext(certificate),
    });
    this.#socket.on("error", () => {});
    this.#encrypted = true;
    this.#listen();
  }

  /** Whatever has come, or undefined when nothing will any more. */
  async #some(): Promise<Buffer | undefined> {
    while (this.#chunks.length === 0) {
      if (this.#ended) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const all = Buffer.concat(this.#chunks);
    this.#chunks = [];
    return all.length > 0 ? all : this.#some();
  }

  async #line(): Promise<string | undefined> {
    let text = Buffer.alloc(0);
    for (;;) {
      const some = await this.#some();
      if (!some) return undefined;
      text = Buffer.concat([text, some]);
      const end = text.indexOf("\r\n");
      if (end < 0) continue;
      if (text.length > end + 2) this.#chunks.unshift(text.subarray(end + 2));
      return text.toString("latin1", 0, end);
    }
  }
}
