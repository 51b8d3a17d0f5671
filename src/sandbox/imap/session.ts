import type { SecureContext } from "node:tls";
import type { Account } from "../account.ts";
import { type Connection, Disconnected } from "../connection.ts";
import type { MailStore } from "../mail-store.ts";
import { StoreError } from "../store-error.ts";
import type { BadCommand, Command } from "./command.ts";
import { CommandBuffer, type Frame, MAX_TEXT } from "./command-buffer.ts";
import { parseCommand } from "./parser.ts";
import type { Reply } from "./reply.ts";
import type { Selected } from "./selected.ts";

/** RFC 3501 3, but for the logout state, which is the end of `run`. */
export type State = "not authenticated" | "authenticated" | "selected";

export interface SessionOptions {
  readonly store: MailStore;
  /** Who greets. */
  readonly name: string;
  readonly secureContext: SecureContext | undefined;
  /** Hears of errors that are ours; the client only hears that there was one. */
  readonly onFault: (error: unknown) => void;
}

/** Does what a command says; undefined when it has been answered already. */
export type Execute = (session: ImapSession, command: Command) => Promise<Reply | undefined>;

/** Before login a command is a name and a password; after it, a message. */
const LITERALS_BEFORE_LOGIN = 8 * 1024;
const LITERALS_AFTER_LOGIN = 50 * 1024 * 1024;
const MAX_BAD_IN_A_ROW = 20;

const CAPABILITIES =
  "IMAP4rev1 SASL-IR LITERAL+ ID ENABLE IDLE UIDPLUS MOVE UNSELECT SPECIAL-USE NAMESPACE CHILDREN";

/** RFC 3501 7.4.1: sequence numbers must hold still during these, and also for whoever pipelined behind them. */
const HOLDS_EXPUNGES = ["FETCH", "STORE", "SEARCH"];

/** Remembers that something happened until somebody has asked. */
class Signal {
  #isRaised = false;
  #wake: () => void = () => {};

  raise(): void {
    this.#isRaised = true;
    this.#wake();
  }

  async raised(): Promise<void> {
    if (!this.#isRaised) await new Promise<void>((resolve) => (this.#wake = resolve));
    this.#isRaised = false;
  }
}

/** One client's stay: reads commands one by one and answers each. */
export class ImapSession {
  readonly options: SessionOptions;
  secured = false;
  account: Account | undefined;
  selected: Selected | undefined;
  #input = new CommandBuffer(LITERALS_BEFORE_LOGIN);
  readonly #connection: Connection;
  readonly #run: Execute;
  #badInARow = 0;
  #left = false;

  constructor(connection: Connection, options: SessionOptions, execute: Execute) {
    this.#connection = connection;
    this.options = options;
    this.#run = execute;
  }

  get state(): State {
    if (this.selected) return "selected";
    return this.account ? "authenticated" : "not authenticated";
  }

  get capabilities(): string {
    if (this.account) return CAPABILITIES;
    return `${CAPABILITIES}${this.mayStartTls ? " STARTTLS" : ""} AUTH=PLAIN`;
  }

  get mayStartTls(): boolean {
    return this.options.secureContext !== undefined && !this.secured && !this.account;
  }

  /** Until the client leaves, or is shown the door. */
  async run(): Promise<void> {
    try {
      await this.write(`* OK [CAPABILITY ${this.capabilities}] ${this.options.name} ready\r\n`);
      while (!this.#left) {
        const frame = await this.#nextFrame();
        if (!frame) break;
        await this.#act(frame);
      }
    } catch (error) {
      if (!(error instanceof Disconnected)) await this.#fail(error);
    } finally {
      this.unselect();
      this.#connection.end();
    }
  }

  write(data: string | Buffer): Promise<void> {
    return this.#connection.write(data);
  }

  /** The answer to a continuation; undefined when the client is gone. */
  async readLine(): Promise<string | undefined> {
    for (;;) {
      const line = this.#input.nextLine();
      if (line === "overlong") await this.#sayGoodbye("Line too long");
      if (this.#left) return undefined;
      if (line !== undefined) return line;
      if (!(await this.#fill())) return undefined;
    }
  }

  signIn(account: Account): void {
    this.account = account;
    this.#input.literalLimit = LITERALS_AFTER_LOGIN + MAX_TEXT;
  }

  select(selected: Selected): void {
    this.unselect();
    this.selected = selected;
  }

  unselect(): void {
    this.selected?.release();
    this.selected = undefined;
  }

  leave(): void {
    this.#left = true;
  }

  async sendUpdates(mayExpunge: boolean): Promise<void> {
    const updates = this.selected?.takeUpdates(mayExpunge);
    if (updates) await this.write(updates);
  }

  /** Tells what happens until the client sends a line, and returns that line (RFC 2177 3). */
  async idle(): Promise<string | undefined> {
    let idling = true;
    const changes = new Signal();
    if (this.selected) this.selected.onChange = () => changes.raise();
    const tell = async (): Promise<void> => {
      while (idling) {
        await this.sendUpdates(true);
        await changes.raised();
      }
    };
    // When a write fails the client is gone, and the read below finds that out too.
    const telling = tell().catch(() => {});
    const line = await this.readLine();
    idling = false;
    changes.raise();
    await telling;
    if (this.selected) this.selected.onChange = undefined;
    return line;
  }

  /** RFC 3501 6.2.1: what was sent in clear text behind STARTTLS is an injection, and ends the session. */
  async startTls(tag: string, secureContext: SecureContext): Promise<void> {
    if (!this.#input.isEmpty || this.#connection.hasUnread) return this.#sayGoodbye("Bytes behind STARTTLS");
    await this.write(`${tag} OK Begin TLS negotiation now\r\n`);
    await this.#connection.startTls(secureContext);
    this.#input = new CommandBuffer(LITERALS_BEFORE_LOGIN);
    this.secured = true;
  }

  async #nextFrame(): Promise<Frame | undefined> {
    for (;;) {
      const frame = this.#input.next();
      if (frame) return frame;
      if (!(await this.#fill())) return undefined;
    }
  }

  async #fill(): Promise<boolean> {
    const chunk = await this.#connection.read();
    if (chunk) this.#input.push(chunk);
    return chunk !== undefined;
  }

  async #act(frame: Frame): Promise<void> {
    if (frame.kind === "continue") await this.write("+ OK\r\n");
    else if (frame.kind === "command") await this.#answer(parseCommand(frame.pieces));
    else if (frame.fatal) await this.#sayGoodbye("Command is too large");
    else await this.#refuseLiteral(frame.text);
  }

  /** RFC 7889 3: a literal that we did not ask for is never sent, so the session can go on. */
  async #refuseLiteral(text: string): Promise<void> {
    const command = parseCommand([text]);
    await this.write(
      `${command.tag ?? "*"} ${this.account ? "NO [TOOBIG]" : "BAD"} Literal is too large\r\n`,
    );
  }

  async #answer(command: Command | BadCommand): Promise<void> {
    if (command.name === "BAD") return this.#answerBad(command);
    const reply = await this.#execute(command);
    await this.sendUpdates(!HOLDS_EXPUNGES.includes(command.name));
    if (!reply) return;
    this.#badInARow = reply.status === "BAD" ? this.#badInARow + 1 : 0;
    const code = reply.code ? `[${reply.code}] ` : "";
    await this.write(`${command.tag} ${reply.status} ${code}${reply.text}\r\n`);
    await this.#endTooManyBad();
  }

  /** The one place where an error becomes words. */
  async #execute(command: Command): Promise<Reply | undefined> {
    try {
      return await this.#run(this, command);
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      return { status: "NO", code: error.kind, text: error.message };
    }
  }

  async #answerBad({ tag, reason }: BadCommand): Promise<void> {
    this.#badInARow++;
    await this.write(`${tag ?? "*"} BAD ${reason}\r\n`);
    await this.#endTooManyBad();
  }

  async #endTooManyBad(): Promise<void> {
    if (this.#badInARow >= MAX_BAD_IN_A_ROW) await this.#sayGoodbye("Too many bad commands");
  }

  async #fail(error: unknown): Promise<void> {
    this.options.onFault(error);
    await this.#sayGoodbye("Internal error").catch(() => {});
  }

  async #sayGoodbye(text: string): Promise<void> {
    this.leave();
    await this.write(`* BYE ${text}\r\n`);
  }
}
