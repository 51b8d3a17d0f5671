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
  | "capability"
  | "starttls"
  | "id"
  /** LOGIN, or AUTHENTICATE once its response has come. */
  | "login"
  | "select"
  | "idle"
  | "fetch"
  | "logout";

/**
 * What is done there: nothing at all, an end, or bytes of the test's own (`{tag}` stands for the command's tag)
 * and then perhaps an end, or the handshake.
 */
export type Act =
  | "silence"
  | "close"
  | "reset"
  | { readonly say: string | Uint8Array; readonly next?: "close" | "reset" | "handshake" | "loggedIn" };

export interface ScriptedBackendOptions {
  readonly tls: "none" | "starttls" | "implicit";
  /** Wanted unless tls is `none`. */
  readonly certificate?: Certificate;
  /** Said before TLS and inside it until the login, beside STARTTLS, LOGINDISABLED and AUTH=PLAIN, which follow from `tls`. */
  readonly capabilities?: string;
  /** Said after the login. */
  readonly capabilitiesAfterLogin?: string;
  /** Says LOGINDISABLED and STARTTLS before TLS; false leaves both out. */
  readonly offerStartTls?: boolean;
  /** Faults, by point. A function may wait for the test, and gives `undefined` for the ordinary answer. */
  readonly acts?: Partial<Record<Point, Act | (() => Act | undefined | Promise<Act | undefined>)>>;
}

/** An IMAP backend of scripted answers, and a witness of what reached it. */
export interface ScriptedBackend extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  readonly tls: ScriptedBackendOptions["tls"];
  /** Connections so far, and those that are open now. */
  readonly connections: number;
  readonly open: number;
  /** Every byte that came, clear and from inside TLS, in order. */
  received(): string;
  /** The commands that came, in order, without tag and arguments. */
  commands(): string[];
  /** Whether this text came, as it stands or inside base64. */
  heard(secret: string): boolean;
  /** Waits for a command; gives its whole line. */
  hears(command: string): Promise<string>;
  /** Begins the record anew. */
  forget(): void;
  /** What both sides said. */
  transcript(): string;
  /** Says something to every open connection. */
  say(bytes: string | Uint8Array): void;
  /** Ends every open connection by a reset. */
  resetAll(): void;
  stop(): Promise<void>;
}

export async function startScriptedBackend(options: ScriptedBackendOptions): Promise<ScriptedBackend> {
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
  server.listen(port, "127.0.0.1");
  await once(server, "listening");

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
    tls: options.tls,
    get connections() {
      return connections;
    },
    get open() {
      return open.size;
    },
    received: () => witness.received,
    commands: () => witness.commands.map(({ name }) => name),
    heard: (secret) => witness.heard(secret),
    hears: (command) =>
      eventually(
        () => `${command} at the backend\n${witness.transcript()}`,
        () => witness.commands.find(({ name }) => name === command.toUpperCase())?.line,
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
    [Symbol.asyncDispose]: stop,
  };
}

class Witness {
  received = "";
  commands: { readonly name: string; readonly line: string }[] = [];
  #said: string[] = [];

  forget(): void {
    this.received = "";
    this.commands = [];
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

/** One connection: frames commands, and answers them as the script says. */
class Visit {
  readonly #options: ScriptedBackendOptions;
  readonly #witness: Witness;
  readonly #tcp: Socket;
  #socket: Socket;
  #buffer = "";
  #encrypted = false;
  #loggedIn = false;
  #idling: string | undefined;
  #answering = false;
  #onResponse: ((line: string) => void) | undefined;
  /** How many literals of the command at hand have been asked for. */
  #asked = 0;

  constructor(tcp: Socket, options: ScriptedBackendOptions, witness: Witness) {
    this.#tcp = tcp;
    this.#socket = tcp;
    this.#options = options;
    this.#witness = witness;
    // The gateway may end a connection as it likes; what came before is what counts.
    tcp.on("error", () => {});
  }

  begin(): void {
    if (this.#options.tls === "implicit") this.#handshake();
    else this.#listen();
    void this.#at("greeting", undefined, () =>
      this.say(`* OK [CAPABILITY ${this.#capabilities()}] scripted\r\n`),
    );
  }

  say(bytes: string | Uint8Array): void {
    this.#witness.note("S:", typeof bytes === "string" ? bytes : Buffer.from(bytes).toString("latin1"));
    if (this.#socket.writable)
      this.#socket.write(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes);
  }

  reset(): void {
    if (!this.#tcp.destroyed) this.#tcp.resetAndDestroy();
  }

  #listen(): void {
    this.#socket.on("data", (chunk: Buffer) => {
      const text = chunk.toString("latin1");
      this.#witness.received += text;
      this.#witness.note("C:", text);
      this.#buffer += text;
      this.#answerAll();
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

  #capabilities(): string {
    if (this.#loggedIn) return this.#options.capabilitiesAfterLogin ?? "IMAP4rev1 IDLE LITERAL+ UIDPLUS MOVE";
    const base = this.#options.capabilities ?? "IMAP4rev1 SASL-IR LITERAL+ ID IDLE";
    if (this.#encrypted || this.#options.tls === "none") return `${base} AUTH=PLAIN`;
    return this.#options.offerStartTls === false ? base : `${base} STARTTLS LOGINDISABLED`;
  }

  /** One command at a time, as a server with a simple loop does. */
  #answerAll(): void {
    if (this.#answering && !this.#onResponse) return;
    const command = this.#takeCommand();
    if (command === undefined) return;
    if (this.#onResponse) {
      this.#onResponse(command);
      return;
    }
    this.#answering = true;
    void this.#answer(command).then(() => {
      this.#answering = false;
      this.#answerAll();
    });
  }

  /** A whole command with its literals, or nothing yet. */
  #takeCommand(): string | undefined {
    let from = 0;
    for (let literals = 0; ; literals++) {
      const end = this.#buffer.indexOf("\r\n", from);
      if (end < 0) return undefined;
      const literal = /\{(\d+)(\+?)\}$/.exec(this.#buffer.slice(from, end));
      if (!literal || this.#idling !== undefined) {
        const command = this.#buffer.slice(0, end);
        this.#buffer = this.#buffer.slice(end + 2);
        this.#asked = 0;
        return command;
      }
      if (literals === this.#asked) {
        this.#asked++;
        if (!literal[2]) this.say("+ go ahead\r\n");
      }
      from = end + 2 + Number(literal[1]);
    }
  }

  async #answer(line: string): Promise<void> {
    if (this.#idling !== undefined) {
      this.say(`${this.#idling} OK idle over\r\n`);
      this.#idling = undefined;
      return;
    }
    const [tag = "*", word = ""] = line.split(" ", 2);
    const name = word.toUpperCase();
    this.#witness.commands.push({ name, line });
    const ok = (text: string) => () => this.say(`${tag} OK ${text}\r\n`);
    switch (name) {
      case "CAPABILITY":
        return this.#at("capability", tag, () =>
          this.say(`* CAPABILITY ${this.#capabilities()}\r\n${tag} OK done\r\n`),
        );
      case "ID":
        return this.#at("id", tag, () => this.say(`* ID ("name" "scripted")\r\n${tag} OK done\r\n`));
      case "STARTTLS":
        return this.#at("starttls", tag, () => {
          this.say(`${tag} OK begin\r\n`);
          this.#handshake();
        });
      case "AUTHENTICATE":
        if (line.split(" ").length < 4) {
          this.say("+ \r\n");
          await this.#response();
        }
        return this.#at("login", tag, () => this.#logIn(tag));
      case "LOGIN":
        return this.#at("login", tag, () => this.#logIn(tag));
      case "SELECT":
        return this.#at("select", tag, () => this.say(`* 0 EXISTS\r\n${tag} OK [READ-WRITE] selected\r\n`));
      case "FETCH":
        return this.#at("fetch", tag, ok("nothing to fetch"));
      case "IDLE":
        return this.#at("idle", tag, () => {
          this.#idling = tag;
          this.say("+ idling\r\n");
        });
      case "LOGOUT":
        return this.#at("logout", tag, () => {
          this.say(`* BYE bye\r\n${tag} OK done\r\n`);
          this.#socket.end();
        });
      default:
        ok("done")();
    }
  }

  #logIn(tag: string): void {
    this.#loggedIn = true;
    this.say(`${tag} OK [CAPABILITY ${this.#capabilities()}] logged in\r\n`);
  }

  /** The client's next line, when it is no command but the answer to a `+`. */
  async #response(): Promise<string> {
    const { promise, resolve } = Promise.withResolvers<string>();
    this.#onResponse = (line) => {
      this.#onResponse = undefined;
      resolve(line);
    };
    this.#answerAll();
    return promise;
  }

  async #at(point: Point, tag: string | undefined, ordinary: () => void): Promise<void> {
    const given = this.#options.acts?.[point];
    const act = typeof given === "function" ? await given() : given;
    if (act === undefined) ordinary();
    else if (act === "close") this.#socket.end();
    else if (act === "reset") this.reset();
    else if (act !== "silence") {
      this.say(typeof act.say === "string" ? act.say.replaceAll("{tag}", tag ?? "*") : act.say);
      if (act.next === "close") this.#socket.end();
      if (act.next === "reset") this.reset();
      if (act.next === "handshake") this.#handshake();
      if (act.next === "loggedIn") this.#loggedIn = true;
    }
  }
}
