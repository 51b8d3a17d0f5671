import { type Refusal, Refused } from "../refusal.ts";
import type { Entry } from "../session/protocol.ts";
import type { Session } from "../session/session.ts";

/** What a command does to the loop: go on, try this login, or leave (the client said goodbye). */
export type Outcome<L extends Entry> = "next" | "leave" | L;

/** A command as data: when it is legal, and what it does then. A refusal it returns is answered by the loop. */
export interface Row<C, L extends Entry> {
  /** "clear" or "tls" where the command is legal only so; RFC 3501 6.2.1: STARTTLS only before TLS. */
  readonly when?: "clear" | "tls";
  run(session: Session, command: C): Promise<Outcome<L> | Refusal>;
}

export interface Dialect<C, L extends Entry> {
  /** Reads one command, or says what was wrong with it. */
  readonly read: (session: Session) => Promise<C | Refusal>;
  readonly name: (command: C) => string;
  readonly rows: Readonly<Record<string, Row<C, L>>>;
  /** Commands that exist, but only after login. */
  readonly later: ReadonlySet<string>;
  readonly refuse: (session: Session, refusal: Refusal, command: C | undefined) => Promise<void>;
}

/** Reads commands until one of them is a login, or the client leaves. Every bad one counts against the session. */
export async function commandLoop<C extends object, L extends Entry>(
  session: Session,
  dialect: Dialect<C, L>,
): Promise<L | undefined> {
  for (;;) {
    const command = await dialect.read(session);
    const outcome = "kind" in command ? command : await obey(session, dialect, command);
    if (typeof outcome === "object" && "kind" in outcome) {
      await dialect.refuse(session, outcome, "kind" in command ? undefined : command);
      session.countError();
    } else {
      session.understood();
      if (outcome !== "next") return outcome === "leave" ? undefined : outcome;
    }
  }
}

async function obey<C, L extends Entry>(
  session: Session,
  dialect: Dialect<C, L>,
  command: C,
): Promise<Outcome<L> | Refusal> {
  const name = dialect.name(command);
  const row = Object.hasOwn(dialect.rows, name) ? dialect.rows[name] : undefined;
  if (row) {
    const legal = !row.when || (row.when === "tls") === session.channel.encrypted;
    return legal ? row.run(session, command) : { kind: "order", detail: "a command in the wrong state" };
  }
  if (dialect.later.has(name)) return { kind: "notSignedIn", detail: "a command before login" };
  // ALPACA: whoever begins with a word of another protocol is not talking to us, and hears nothing of its own.
  if (!session.understoodAny)
    throw new Refused("notOurProtocol", "the first command is not of this protocol");
  return { kind: "unknownCommand", detail: "an unknown command" };
}
