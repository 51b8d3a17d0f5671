import { connect, type Socket } from "node:net";

/** How one login went: milliseconds from connecting to the tagged reply, and the reply. */
export interface Login {
  readonly began: number;
  readonly ms: number;
  readonly reply: string;
}

export interface LoadOptions {
  /** In clear text, one after the other. */
  readonly ports: readonly number[];
  readonly perSecond: number;
  readonly user: (serial: number) => string;
  readonly password: string;
}

const TICK_MS = 20;

/** IMAP logins at a steady rate, whatever becomes of those before; each is a session of its own, and leaves. */
export class LoginLoad implements AsyncDisposable {
  readonly logins: Login[] = [];
  readonly #options: LoadOptions;
  readonly #underWay = new Set<Promise<void>>();
  readonly #timer: NodeJS.Timeout;
  readonly #began = performance.now();
  #serial = 0;

  constructor(options: LoadOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  /** Logins that began at this time or later. */
  since(at: number): readonly Login[] {
    return this.logins.filter(({ began }) => began >= at);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.#underWay);
  }

  #tick(): void {
    const due = ((performance.now() - this.#began) / 1000) * this.#options.perSecond;
    while (this.#serial < due) {
      const one = this.#logIn(this.#serial++).finally(() => this.#underWay.delete(one));
      this.#underWay.add(one);
    }
  }

  async #logIn(serial: number): Promise<void> {
    const { ports, user, password } = this.#options;
    const began = performance.now();
    const localAddress = `127.0.${1 + (serial % 3)}.${1 + (serial % 251)}`;
    const socket = connect({ port: ports[serial % ports.length] ?? 0, host: "127.0.0.1", localAddress });
    const reply = await converse(socket, `a LOGIN ${user(serial)} ${password}\r\n`);
    this.logins.push({ began, ms: performance.now() - began, reply });
    socket.end("b LOGOUT\r\n");
  }
}

/** The line that answers the command, or what became of the connection instead. */
function converse(socket: Socket, command: string): Promise<string> {
  return new Promise((resolve) => {
    let heard = "";
    let said = false;
    socket.on("data", (chunk) => {
      heard += chunk.toString("latin1");
      if (!said && heard.includes("\r\n")) {
        said = true;
        socket.write(command);
      }
      const reply = /^a .*(?=\r\n)/m.exec(heard);
      if (reply) resolve(reply[0]);
    });
    socket.on("error", (error) => resolve(`error: ${error.message}`));
    socket.on("close", () => resolve(`closed after: ${heard}`));
  });
}

/** Of a sorted or unsorted list of numbers. */
export function quantile(numbers: readonly number[], part: number): number {
  const sorted = numbers.toSorted((one, other) => one - other);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0;
}
