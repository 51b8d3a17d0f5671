import type { Account } from "../account.ts";
import type { CommandArguments, CommandName } from "./command.ts";
import type { Reply } from "./reply.ts";
import type { Selected } from "./selected.ts";
import type { ImapSession, State } from "./session.ts";

/** A command: in which states it is legal, and what it does. Undefined means it has answered for itself. */
export interface CommandRow<Name extends CommandName> {
  readonly when: readonly State[];
  run(
    session: ImapSession,
    args: CommandArguments[Name],
    tag: string,
  ): Promise<Reply | undefined> | Reply | undefined;
}

export type CommandRows<Names extends CommandName = CommandName> = { [Name in Names]: CommandRow<Name> };

export const ALWAYS: readonly State[] = ["not authenticated", "authenticated", "selected"];
export const BEFORE_LOGIN: readonly State[] = ["not authenticated"];
export const AFTER_LOGIN: readonly State[] = ["authenticated", "selected"];
export const SELECTED: readonly State[] = ["selected"];

/** The row's `when` promises that there is one. */
export function accountOf(session: ImapSession): Account {
  if (!session.account) throw new Error("the command ran before login");
  return session.account;
}

/** The row's `when` promises that there is one. */
export function selectedOf(session: ImapSession): Selected {
  if (!session.selected) throw new Error("the command ran without a mailbox");
  return session.selected;
}
