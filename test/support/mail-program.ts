import { once } from "node:events";
import { type ConnectionOptions, connect, type TLSSocket } from "node:tls";
import { within } from "./waiting.ts";

export interface MailProgramOptions {
  readonly port: number;
  readonly tls: ConnectionOptions;
  readonly user: string;
  readonly password: string;
  readonly localAddress?: string;
}

/** An IMAP client that costs little, for tests with hundreds of them. */
export interface MailProgram {
  /** Resolves to the last line that it heard. */
  readonly closed: Promise<string>;
  /** Signs out, in order. */
  leave(): Promise<void>;
  vanish(): void;
}

const PATIENCE = 10_000;

/** Connects by TLS and signs in; an error of any step is the error of this call. */
export async function signIn(options: MailProgramOptions): Promise<MailProgram> {
  const { port, tls, localAddress } = options;
  const socket = connect({ ...tls, host: "127.0.0.1", port, ...(localAddress && { localAddress }) });
  const heard = listen(socket);
  const closed = new Promise<string>((resolve) => socket.once("close", () => resolve(heard.last())));
  try {
    await within(PATIENCE, "a TLS connection", once(socket, "secureConnect"));
    await heard.line("* OK ");
    socket.write(`a LOGIN ${options.user} ${options.password}\r\n`);
    await heard.line("a OK ");
  } catch (error) {
    socket.destroy();
    throw error;
  }
  return {
    closed,
    async leave() {
      socket.write("z LOGOUT\r\n");
      await heard.line("z OK ");
      socket.end();
      await within(PATIENCE, "the end of a session", closed);
    },
    vanish: () => socket.destroy(),
  };
}

function listen(socket: TLSSocket) {
  let rest = "";
  let last = "";
  const lines: string[] = [];
  let failure: Error | undefined;
  let wake = (): void => {};
  socket.setEncoding("latin1");
  socket.on("data", (text: string) => {
    const parts = (rest + text).split("\r\n");
    rest = parts.pop() ?? "";
    lines.push(...parts);
    last = parts.at(-1) ?? last;
    wake();
  });
  socket.on("error", (error) => {
    failure ??= error;
    wake();
  });
  socket.on("close", () => {
    failure ??= new Error(`closed; the last line was ${JSON.stringify(last)}`);
    wake();
  });
  const line = async (beginning: string): Promise<void> => {
    for (;;) {
      const at = lines.findIndex((one) => one.startsWith(beginning));
      if (at >= 0) return void lines.splice(0, at + 1);
      if (failure) throw failure;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
  return {
    last: () => last,
    line: (beginning: string) => within(PATIENCE, `${beginning}; the last line was ${last}`, line(beginning)),
  };
}
