import type { SecureContext } from "node:tls";
import type { Account } from "../account.ts";
import { type Connection, Disconnected } from "../connection.ts";
import type { MailStore } from "../mail-store.ts";
import { type Command, isPostmaster, parseCommand } from "./grammar.ts";
import { Input } from "./input.ts";
import { formatReply, type Reply, reply } from "./reply.ts";
import { traceFields } from "./trace.ts";
import { MAX_CONTENT, type Transaction } from "./transaction.ts";

/** Submission is for users, who sign in (RFC 6409); MX is for other servers, which do not (RFC 5321). */
export type Role = "submission" | "MX";

export interface SessionOptions {
  readonly role: Role;
  readonly store: MailStore;
  /** Who greets. */
  readonly name: string;
  readonly secureContext: SecureContext | undefined;
  /** The account that reads what is sent to <postmaster>. */
  readonly postmaster: string | undefined;
  /** Accounts of other backends that a user may send to. */
  readonly accountElsewhere: (address: string) => Account | undefined;
  /** Hears of errors that are ours; the client only hears that there was one. */
  readonly onFault: (error: unknown) => void;
}

/** Does what a command says; undefined when it has been answered already. */
export type Execute = (session: SmtpSession, command: Command) => Promise<Reply | undefined>;

/** RFC 4954 4: a response may be as long as this. */
const MAX_LINE = 12_288;
const MAX_BAD_IN_A_ROW = 20;

/** One client's stay: reads commands one by one and answers each, so that replies to a pipeline keep its order. */
export class SmtpSession {
  readonly options: SessionOptions;
  readonly input: Input;
  /** What EHLO or HELO said. */
  hello: { readonly name: string; readonly isExtended: boolean } | undefined;
  signedIn: Account | undefined;
  transaction: Transaction | undefined;
  readonly #connection: Connection;
  readonly #run: Execute;
  #secured = false;
  #badInARow = 0;
  #left = false;

  constructor(connection: Connection, options: SessionOptions, execute: Execute) {
    this.#connection = connection;
    this.input = new Input(connection);
    this.options = options;
    this.#run = execute;
  }

  /** Whoever has said all that lets him in; at an MX, a name is enough. */
  get account(): unknown {
    return this.options.role === "MX" ? this.hello : this.signedIn;
  }

  /** RFC 5321 4.1.1.1: what EHLO is told, but for the name. */
  get extensions(): readonly string[] {
    const always = ["PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING"];
    return [
      ...always,
      `SIZE ${MAX_CONTENT}`,
      ...(this.mayStartTls ? ["STARTTLS"] : []),
      ...(this.options.role === "submission" && !this.signedIn ? ["AUTH PLAIN LOGIN"] : []),
    ];
  }

  get mayStartTls(): boolean {
    return this.options.secureContext !== undefined && !this.#secured && !this.signedIn;
  }

  async run(): Promise<void> {
    try {
      await this.say(reply(220, `${this.options.name} ESMTP ready`));
      while (!this.#left) {
        const line = await this.#readLine();
        if (line === undefined) break;
        await this.#obey(parseCommand(line));
      }
    } catch (error) {
      if (!(error instanceof Disconnected)) await this.#fail(error);
    } finally {
      this.#connection.end();
    }
  }

  async say(answer: Reply): Promise<void> {
    await this.#connection.write(formatReply(answer));
  }

  /** Asks for one line that is no command; undefined when the client is gone. */
  async ask(challenge: string): Promise<string | undefined> {
    await this.say(reply(334, challenge));
    return (await this.#readLine())?.toString("latin1");
  }

  /** Whose mailbox an address is. Another server may only name those that are here, a user anybody's. */
  accountOf(address: string): Account | undefined {
    const { store, role, accountElsewhere, postmaster = "" } = this.options;
    const name = isPostmaster(address) ? postmaster : normalAddress(address);
    const here = store.account(address) ?? store.account(name);
    return here ?? (role === "submission" ? accountElsewhere(name) : undefined);
  }

  deliver(transaction: Transaction): void {
    const { hello, signedIn, options } = this;
    if (!hello) throw new Error("mail came before EHLO");
    const { reversePath, isInternational } = transaction;
    const isSignedIn = signedIn !== undefined;
    const passage = { reversePath, isInternational, hello, isSecured: this.#secured, isSignedIn };
    transaction.deliver(traceFields({ ...passage, by: options.name }));
  }

  leave(): void {
    this.#left = true;
  }

  /** RFC 3207 4.2: what was sent in clear text behind STARTTLS is an injection, and ends the session. */
  async startTls(): Promise<void> {
    const { secureContext } = this.options;
    if (!secureContext) throw new Error("there is no TLS to start");
    if (!this.input.isEmpty) return this.sayGoodbye("4.7.0 Bytes behind STARTTLS");
    await this.say(reply(220, "2.0.0 Begin TLS now"));
    await this.#connection.startTls(secureContext);
    this.#secured = true;
    this.hello = undefined;
    this.transaction = undefined;
  }

  /** RFC 5321 3.8: 421 is the last reply of a session that ends before QUIT. */
  async sayGoodbye(text: string): Promise<void> {
    this.leave();
    await this.say(reply(421, text));
  }

  async #readLine(): Promise<Buffer | undefined> {
    const line = await this.input.line(MAX_LINE);
    if (line !== "tooLong") return line;
    await this.sayGoodbye("4.7.0 Line too long");
    return undefined;
  }

  async #obey(command: Command | undefined): Promise<void> {
    const answer = command ? await this.#run(this, command) : reply(500, "5.5.2 Not a command");
    if (!answer) return;
    this.#badInARow = isAboutCommands(answer) ? this.#badInARow + 1 : 0;
    await this.say(answer);
    if (this.#badInARow >= MAX_BAD_IN_A_ROW) await this.sayGoodbye("4.7.0 Too many bad commands");
  }

  async #fail(error: unknown): Promise<void> {
    this.options.onFault(error);
    await this.sayGoodbye("4.3.0 Internal error").catch(() => {});
  }
}

/** RFC 5321 4.2.1 has 500 to 504 for these, RFC 4954 535; other noes are about mail, and honest clients hear them too. */
function isAboutCommands({ code }: Reply): boolean {
  return (code >= 500 && code <= 504) || code === 535;
}

/** RFC 5321 2.4: a domain is the same in any case. */
function normalAddress(address: string): string {
  const at = address.lastIndexOf("@");
  return address.slice(0, at) + address.slice(at).toLowerCase();
}
