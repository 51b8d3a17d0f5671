import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { createSecureContext, TLSSocket } from "node:tls";
import { inspect } from "node:util";
import type { Certificate } from "./certificates.ts";
import { freePort } from "./ports.ts";
import { eventually } from "./waiting.ts";

/** What is done in place of the ordinary answer: nothing, an end, or bytes of the test's own and then perhaps an end. */
export type Pop3Act =
  | "silence"
  | "close"
  | "reset"
  | { readonly say: string; readonly next?: "close" | "reset" | "handshake" };

export interface ScriptedPop3Options {
  readonly tls: "none" | "starttls";
  readonly certificate?: Certificate;
  /** The lines of CAPA; without them the backend has never heard of it. */
  readonly capabilities?: readonly string[];
  /**
   * Faults, by "greeting", the command's name, or "otherwise" for a line that begins with none. A function may wait for the test, and gives `undefined` for the
   * ordinary answer.
   */
  readonly acts?: Readonly<
    Record<string, Pop3Act | (() => Pop3Act | undefined | Promise<Pop3Act | undefined>)>
  >;
}

/** A POP3 backend of scripted answers, and a witness of what reached it. */
export interface ScriptedPop3 extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  readonly tls: ScriptedPop3Options["tls"];
  readonly connections: number;
  readonly open: number;
  /** Every line that came, in order. */
  lines(): readonly string[];
  /** Whether this text came, as it stands or inside base64. */
  heard(secret: string): boolean;
  /** Waits for a line that begins so. */
  hears(beginning: string): Promise<string>;
  forget(): void;
  transcript(): string;
}

const COMMANDS = "CAPA STLS USER PASS AUTH APOP QUIT STAT LIST UIDL RETR TOP DELE RSET NOOP XCLIENT".split(
  " ",
);
const STANDARD = ["TOP", "UIDL", "USER", "SASL PLAIN LOGIN", "PIPELINING", "RESP-CODES", "EXPIRE NEVER"];

export async function startScriptedPop3(options: ScriptedPop3Options): Promise<ScriptedPop3> {
  const port = await freePort();
  const open = new Set<Socket>();
  const said: string[] = [];
  let lines: string[] = [];
  let connections = 0;
  const server = createServer({ noDelay: true }, (tcp) => {
    connections += 1;
    open.add(tcp);
    tcp.on("error", () => {});
    tcp.once("close", () => open.delete(tcp));
    void visit(tcp, options, {
      line(line) {
        lines.push(line);
        said.push(`C: ${inspect(line.slice(0, 300))}`);
      },
      said: (bytes) => said.push(`S: ${inspect(bytes.slice(0, 300))}`),
    });
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  const transcript = () => `at the scripted POP3 backend:\n${said.join("\n")}`;
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
    lines: () => lines,
    heard(secret) {
      const text = lines.join("\n");
      const tokens = text.match(/[A-Za-z0-9+/]{4,}={0,2}/g) ?? [];
      const decoded = tokens.map((token) => Buffer.from(token, "base64").toString("latin1"));
      return [text, ...decoded].some((each) => each.includes(secret));
    },
    hears: (beginning) =>
      eventually(
        () => `${beginning} at the backend\n${transcript()}`,
        () => lines.find((line) => line.startsWith(beginning)),
      ),
    forget() {
      lines = [];
    },
    transcript,
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      for (const socket of open) socket.destroy();
      await closed;
    },
  };
}

interface Witness {
  line(line: string): void;
  said(bytes: string): void;
}

/** One connection: one command, one answer, until it ends. */
async function visit(tcp: Socket, options: ScriptedPop3Options, witness: Witness): Promise<void> {
  const input = new Lines(tcp);
  let socket: Socket = tcp;
  let responding = false;
  const say = (bytes: string): void => {
    witness.said(bytes);
    if (socket.writable) socket.write(Buffer.from(bytes, "latin1"));
  };
  const handshake = (): void => {
    if (!options.certificate) throw new Error("a scripted backend that speaks TLS needs a certificate");
    tcp.removeAllListeners("data");
    socket = new TLSSocket(tcp, {
      isServer: true,
      secureContext: createSecureContext(options.certificate),
    });
    socket.on("error", () => {});
    input.read(socket);
  };
  const act = async (point: string, ordinary: () => void): Promise<void> => {
    const given = options.acts?.[point];
    const chosen = typeof given === "function" ? await given() : given;
    if (chosen === undefined) ordinary();
    else if (chosen === "close") socket.end();
    else if (chosen === "reset") tcp.resetAndDestroy();
    else if (chosen !== "silence") {
      say(chosen.say);
      if (chosen.next === "close") socket.end();
      if (chosen.next === "reset") tcp.resetAndDestroy();
      if (chosen.next === "handshake") handshake();
    }
  };

  await act("greeting", () => say("+OK scripted ready\r\n"));
  for (;;) {
    const line = await input.next();
    if (line === undefined) return;
    witness.line(line);
    if (responding) {
      responding = false;
      await act("AUTH", () => say("+OK logged in\r\n"));
      continue;
    }
    const [name = "", mechanism, initial] = line.split(" ");
    const command = name.toUpperCase();
    if (command === "AUTH" && mechanism && !initial) {
      responding = true;
      say("+ \r\n");
      continue;
    }
    await act(COMMANDS.includes(command) ? command : "otherwise", () => {
      const capabilities = "capabilities" in options ? options.capabilities : STANDARD;
      const stls = options.tls === "starttls" && socket === tcp ? ["STLS"] : [];
      switch (command) {
        case "CAPA":
          say(
            capabilities
              ? `+OK\r\n${[...capabilities, ...stls].map((each) => `${each}\r\n`).join("")}.\r\n`
              : "-ERR what\r\n",
          );
          break;
        case "STLS":
          say("+OK begin\r\n");
          handshake();
          break;
        case "STAT":
          say("+OK 0 0\r\n");
          break;
        case "QUIT":
          say("+OK bye\r\n");
          socket.end();
          break;
        default:
          say("+OK done\r\n");
      }
    });
  }
}

/** What comes, as lines to await. */
class Lines {
  #text = "";
  #ended = false;
  #wake = (): void => {};

  constructor(socket: Socket) {
    this.read(socket);
  }

  read(socket: Socket): void {
    socket.on("data", (chunk: Buffer) => {
      this.#text += chunk.toString("latin1");
      this.#wake();
    });
    socket.once("close", () => {
      this.#ended = true;
      this.#wake();
    });
  }

  async next(): Promise<string | undefined> {
    for (;;) {
      const end = this.#text.indexOf("\r\n");
      if (end >= 0) {
        const line = this.#text.slice(0, end);
        this.#text = this.#text.slice(end + 2);
        return line;
      }
      if (this.#ended) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}
