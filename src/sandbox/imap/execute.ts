import { AUTH_COMMANDS } from "./auth-commands.ts";
import type { Command, CommandArguments, CommandName } from "./command.ts";
import type { CommandRows } from "./command-row.ts";
import { FETCH_COMMANDS } from "./fetch.ts";
import { GENERAL_COMMANDS } from "./general-commands.ts";
import { LIST_COMMANDS } from "./list.ts";
import { MAILBOX_COMMANDS } from "./mailbox-commands.ts";
import { MESSAGE_COMMANDS } from "./message-commands.ts";
import { bad, type Reply } from "./reply.ts";
import { SELECT_COMMANDS } from "./select-commands.ts";
import type { ImapSession } from "./session.ts";

const ROWS: CommandRows = {
  ...GENERAL_COMMANDS,
  ...AUTH_COMMANDS,
  ...MAILBOX_COMMANDS,
  ...LIST_COMMANDS,
  ...SELECT_COMMANDS,
  ...MESSAGE_COMMANDS,
  ...FETCH_COMMANDS,
};

export async function execute(
  session: ImapSession,
  { name, args, tag }: Command,
): Promise<Reply | undefined> {
  // A Command pairs each name with its own arguments, which the compiler cannot follow through the union.
  return executeNamed(session, name, args as never, tag);
}

async function executeNamed<Name extends CommandName>(
  session: ImapSession,
  name: Name,
  args: CommandArguments[Name],
  tag: string,
): Promise<Reply | undefined> {
  const row = ROWS[name];
  if (!row.when.includes(session.state)) return bad(`${name} is not for the ${session.state} state`);
  return row.run(session, args, tag);
}
