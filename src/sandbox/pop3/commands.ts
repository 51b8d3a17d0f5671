import type { Message } from "../mailbox.ts";
import { type PlainCredential, readPlainResponse } from "../plain-response.ts";
import { type Maildrop, multiLine, octetsOf, topOf } from "./maildrop.ts";
import type { Pop3Session, State } from "./session.ts";

export interface Reply {
  readonly ok: boolean;
  readonly text: string;
  /** What follows the line, as it goes out. */
  readonly body?: Buffer;
}

/** A command: in which states it is legal, and what it does. Undefined means it has answered for itself. */
interface Row {
  readonly when: readonly State[];
  run(session: Pop3Session, argument: string): Reply | undefined | Promise<Reply | undefined>;
}

const ok = (text: string, body?: Buffer): Reply => ({ ok: true, text, ...(body && { body }) });
const err = (text: string): Reply => ({ ok: false, text });

const ALWAYS: readonly State[] = ["AUTHORIZATION", "TRANSACTION"];
const BEFORE: readonly State[] = ["AUTHORIZATION"];

const ROWS: Readonly<Record<string, Row>> = {
  CAPA: {
    when: ALWAYS,
    run: (session) => ok("Capability list follows", list(session.capabilities)),
  },
  QUIT: {
    when: ALWAYS,
    run(session) {
      session.maildrop?.update();
      session.leave();
      return ok("Until next time");
    },
  },
  STLS: {
    when: BEFORE,
    async run(session) {
      if (!session.mayStartTls) return err("TLS is not available");
      await session.startTls();
      return undefined;
    },
  },
  USER: {
    when: BEFORE,
    run(session, name) {
      session.named = name;
      return name ? ok("Send PASS") : err("USER without a name");
    },
  },
  PASS: {
    when: BEFORE,
    run(session, password) {
      const { named } = session;
      session.named = undefined;
      return named ? signIn(session, { authcid: named, password }) : err("PASS before USER");
    },
  },
  AUTH: { when: BEFORE, run: authenticate },
  NOOP: inTransaction(() => ok("Nothing to tell")),
  RSET: inTransaction((maildrop) => {
    maildrop.reset();
    return ok("Nothing is deleted");
  }),
  STAT: inTransaction((maildrop) => ok(`${maildrop.entries.length} ${maildrop.octets}`)),
  LIST: inTransaction(listing((message) => String(octetsOf(message)))),
  UIDL: inTransaction((maildrop, argument) =>
    listing((message) => maildrop.uniqueId(message))(maildrop, argument),
  ),
  RETR: inTransaction((maildrop, argument) =>
    withMessage(maildrop, argument, (message) => ok(`${octetsOf(message)} octets`, multiLine(message.raw))),
  ),
  TOP: inTransaction((maildrop, argument) => {
    const [number = "", lines = ""] = argument.split(" ");
    if (!/^\d{1,9}$/.test(lines)) return err("TOP without a number of lines");
    return withMessage(maildrop, number, (message) =>
      ok("Top of the message follows", multiLine(topOf(message, Number(lines)))),
    );
  }),
  DELE: inTransaction((maildrop, argument) =>
    withMessage(maildrop, argument, (message) => {
      maildrop.delete(message);
      return ok("Will be deleted at QUIT");
    }),
  ),
};

export async function execute(session: Pop3Session, line: string): Promise<Reply | undefined> {
  const space = line.indexOf(" ");
  const name = (space === -1 ? line : line.slice(0, space)).toUpperCase();
  const row = Object.hasOwn(ROWS, name) ? ROWS[name] : undefined;
  if (!row) return err("Unknown command");
  if (!row.when.includes(session.state)) return err(`${name} is not for the ${session.state} state`);
  return row.run(session, space === -1 ? "" : line.slice(space + 1));
}

function inTransaction(run: (maildrop: Maildrop, argument: string) => Reply): Row {
  return {
    when: ["TRANSACTION"],
    run({ maildrop }, argument) {
      if (!maildrop) throw new Error("the command ran before login");
      return run(maildrop, argument);
    },
  };
}

function withMessage(maildrop: Maildrop, number: string, run: (message: Message) => Reply): Reply {
  const message = /^\d{1,9}$/.test(number) ? maildrop.find(Number(number)) : undefined;
  return message ? run(message) : err("No such message");
}

/** LIST and UIDL: of one message in the status line, of all of them behind it. */
function listing(say: (message: Message) => string): (maildrop: Maildrop, argument: string) => Reply {
  return (maildrop, argument) =>
    argument
      ? withMessage(maildrop, argument, (message) => ok(`${Number(argument)} ${say(message)}`))
      : ok(
          `${maildrop.entries.length} messages`,
          list(maildrop.entries.map(([number, message]) => `${number} ${say(message)}`)),
        );
}

function list(lines: readonly string[]): Buffer {
  return multiLine(Buffer.from(lines.map((line) => `${line}\r\n`).join("")));
}

async function authenticate(session: Pop3Session, argument: string): Promise<Reply | undefined> {
  if (!argument) return ok("Mechanisms follow", list(["PLAIN"]));
  const [mechanism = "", initial] = argument.split(" ");
  if (mechanism.toUpperCase() !== "PLAIN") return err("Unknown mechanism");
  const response = initial ?? (await session.ask("+ \r\n"));
  if (response === undefined) return undefined;
  if (response === "*") return err("Authentication cancelled");
  const credential = readPlainResponse(response);
  return credential ? signIn(session, credential) : err("Not a PLAIN response");
}

function signIn(session: Pop3Session, { authcid, password, authzid }: PlainCredential): Reply {
  const account = session.options.store.login(authcid, password, authzid);
  if (!account) return err("[AUTH] Wrong user or password");
  session.signIn(account);
  return ok("Logged in");
}
