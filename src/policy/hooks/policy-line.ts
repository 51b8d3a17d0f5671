import type { Socket } from "node:net";
import { PolicyAttributeReader, type PolicyAttributes } from "../../wire/policy-attributes.ts";
import { HookFailure } from "./hook.ts";

/** A connection that ended before any answer had begun. */
export class LineGone extends Error {
  readonly kind: "connect" | "broken";

  constructor(kind: "connect" | "broken", message: string) {
    super(message);
    this.kind = kind;
  }
}

interface Asking {
  readonly answered: (answer: PolicyAttributes) => void;
  readonly failed: (error: Error) => void;
}

/** One connection to a policy server: one question at a time. */
export class Line {
  readonly #socket: Socket;
  readonly #reader = new PolicyAttributeReader();
  #asking: Asking | undefined;
  #connected = false;
  #heard = false;
  #reason = "the connection was closed";

  constructor(socket: Socket, gone: () => void) {
    this.#socket = socket;
    socket.on("connect", () => {
      this.#connected = true;
    });
    socket.on("data", (chunk: Buffer) => this.#take(chunk));
    socket.on("error", (error) => {
      this.#reason = error.message;
    });
    socket.on("timeout", () => this.end());
    socket.on("close", () => {
      this.#fail(
        this.#heard
          ? new HookFailure("broken", "an answer without its end")
          : new LineGone(this.#connected ? "broken" : "connect", this.#reason),
      );
      gone();
    });
  }

  get closed(): boolean {
    return this.#socket.destroyed || !this.#socket.writable;
  }

  ask(request: Buffer, signal: AbortSignal, late: () => Error): Promise<PolicyAttributes> {
    this.#socket.setTimeout(0);
    this.#socket.ref();
    this.#heard = false;
    return new Promise((resolve, reject) => {
      const over = (): void => this.#give(late());
      const done = (): void => signal.removeEventListener("abort", over);
      this.#asking = {
        answered: (answer) => {
          done();
          resolve(answer);
        },
        failed: (error) => {
          done();
          reject(error);
        },
      };
      signal.addEventListener("abort", over, { once: true });
      if (signal.aborted) over();
      else if (this.closed) this.#give(new LineGone("broken", this.#reason));
      else this.#socket.write(request);
    });
  }

  /** Nobody needs it now: it holds no process, and ends after a while. */
  rest(ms: number): void {
    this.#socket.setTimeout(ms);
    this.#socket.unref();
  }

  end(): void {
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    // Nobody has asked: what comes now would be taken for the next answer.
    if (!this.#asking) {
      this.end();
      return;
    }
    this.#heard = true;
    this.#reader.push(chunk);
    const answer = this.#reader.take();
    if (typeof answer === "string")
      this.#give(new HookFailure("malformed", `an answer with a fault: ${answer}`));
    else if (answer) this.#answer(this.#asking, answer);
  }

  #answer({ answered }: Asking, answer: PolicyAttributes): void {
    this.#asking = undefined;
    if (this.#reader.begun) this.end();
    answered(answer);
  }

  #give(error: Error): void {
    this.#fail(error);
    this.end();
  }

  #fail(error: Error): void {
    const asking = this.#asking;
    this.#asking = undefined;
    asking?.failed(error);
  }
}
