import type { SecureContext } from "node:tls";
import type { Account } from "../account.ts";
import { type Connection, Disconnected } from "../connection.ts";
import { LineReader } from "../line-reader.ts";
import type { MailStore } from "../mail-store.ts";
import type { Reply } from "./commands.ts";
import { Maildrop } from "./maildrop.ts";

/** RFC 1939 3, but for the UPDATE state, which is the end of `run`. */
export type State = "AUTHORIZATION" | "TRANSACTION";

export interface SessionOptions {
  readonly store: MailStore;
  /** Who greets. */
  readonly name: string;
  readonly secureContext: SecureContext | undefined;
  /** Hears of errors that are ours; the client only hears that there was one. */
  readonly onFault: (error: unknown) => void;
}

/** Does what a line says; undefined when it has been answered already. */
export type Execute = (session: Pop3Session, line: string) => Promise<Reply | undefined>;

/** RFC 5034 4: a response may be as long as this. */
const MAX_LINE = 12_288;
const MAX_BAD_IN_A_ROW = 20;

/** One client's stay: reads commands one by one and answers each. */
export class Pop3Session {
  readonly options: SessionOptions;
  secured = false;
  account: Account | undefined;
  maildrop: Maildrop | undefined;
  /** What USER said. */
  named: string | undefined;
  readonly #connection: Connection;
  readonly #run: Execute;
  readonly #lines: LineReader;
  #badInARow = 0;
  #left = false;

  constructor(connection: Connection, options: SessionOptions, execute: Execute) {
    this.#connection = connection;
    this.#lines = new LineReader(connection);
    this.options = options;
    this.#run = execute;
  }

  get state(): State {
    return this.account ? "TRANSACTION" : "AUTHORIZATION";
  }

  get capabilities(): readonly string[] {
    const login = ["USER", "SASL PLAIN"];
    const always = ["TOP", "UIDL", "PIPELINING", "RESP-CODES", "AUTH-RESP-CODE", ...login];
    return this.mayStartTls ? [...always, "STLS"] : always;
  }

  get mayStartTls(): boolean {
    return this.options.secureContext !== undefined && !this.secured && !this.account;
  }

  async run(): Promise<void> {
    try {
      await this.#say({ ok: true, text: `${this.options.name} ready` });
      while (!this.#left) {
        const line = await this.#readLine();
        if (line === undefined) break;
        const reply = await this.#run(this, line);
        if (reply) await this.#answer(reply);
      }
    } catch (error) {
      if (!(error instanceof Disconnected)) await this.#fail(error);
    } finally {
      this.#connection.end();
    }
  }

  /** Prompts for one line that is no command; undefined when the client is gone. */
  async ask(prompt: string): Promise<string | undefined> {
    await this.#connection.write(prompt);
    return this.#readLine();
  }

  signIn(account: Account): void {
    this.account = account;
    this.maildrop = new Maildrop(account.inbox);
  }

  leave(): void {
    this.#left = true;
  }

  /** RFC 2595 4: what was sent in clear text behind STLS is an injection, and ends the session. */
  async startTls(): Promise<void> {
    const { secureContext } = this.options;
    if (!secureContext) throw new Error("there is no TLS to start");
    if (!this.#lines.isEmpty) return this.#sayGoodbye("Bytes behind STLS");
    await this.#say({ ok: true, text: "Begin TLS now" });
    await this.#connection.startTls(secureContext);
    this.named = undefined;
    this.secured = true;
  }

  async #readLine(): Promise<string | undefined> {
    const line = await this.#lines.next(MAX_LINE);
    if (line !== "tooLong") return line?.toString();
    await this.#sayGoodbye("Line too long");
    return undefined;
  }

  async #answer(reply: Reply): Promise<void> {
    this.#badInARow = reply.ok ? 0 : this.#badInARow + 1;
    await this.#say(reply);
    if (this.#badInARow >= MAX_BAD_IN_A_ROW) this.leave();
  }

  async #say({ ok, text, body }: Reply): Promise<void> {
    await this.#connection.write(`${ok ? "+OK" : "-ERR"} ${text}\r\n`);
    if (body) await this.#connection.write(body);
  }

  async #fail(error: unknown): Promise<void> {
    this.options.onFault(error);
    await this.#sayGoodbye("[SYS/TEMP] Internal error").catch(() => {});
  }

  async #sayGoodbye(text: string): Promise<void> {
    this.leave();
    await this.#say({ ok: false, text });
  }
}
