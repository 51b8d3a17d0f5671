import type { Mailbox } from "../mailbox.ts";
import type { StatusItem } from "./command.ts";
import { AFTER_LOGIN, accountOf, type CommandRows } from "./command-row.ts";
import { formatMailbox } from "./format.ts";
import { ok } from "./reply.ts";

/** Commands about mailboxes by name. */
export const MAILBOX_COMMANDS: CommandRows<
  "CREATE" | "DELETE" | "RENAME" | "SUBSCRIBE" | "UNSUBSCRIBE" | "STATUS"
> = {
  CREATE: {
    when: AFTER_LOGIN,
    run(session, { mailbox }) {
      accountOf(session).create(mailbox);
      return ok("Created");
    },
  },
  DELETE: {
    when: AFTER_LOGIN,
    run(session, { mailbox }) {
      accountOf(session).delete(mailbox);
      return ok("Deleted");
    },
  },
  RENAME: {
    when: AFTER_LOGIN,
    run(session, { from, to }) {
      accountOf(session).rename(from, to);
      return ok("Renamed");
    },
  },
  SUBSCRIBE: {
    when: AFTER_LOGIN,
    run(session, { mailbox }) {
      accountOf(session).subscribe(mailbox);
      return ok("Subscribed");
    },
  },
  UNSUBSCRIBE: {
    when: AFTER_LOGIN,
    run(session, { mailbox }) {
      accountOf(session).unsubscribe(mailbox);
      return ok("Unsubscribed");
    },
  },
  STATUS: {
    when: AFTER_LOGIN,
    async run(session, { mailbox, items }) {
      await session.write(formatStatus(mailbox, accountOf(session).get(mailbox), items));
      return ok("That is how it stands");
    },
  },
};

export function formatStatus(name: string, mailbox: Mailbox, items: readonly StatusItem[]): string {
  const values: Record<StatusItem, () => number> = {
    MESSAGES: () => mailbox.messages.length,
    RECENT: () => mailbox.recentCount,
    UIDNEXT: () => mailbox.uidNext,
    UIDVALIDITY: () => mailbox.uidValidity,
    UNSEEN: () => mailbox.unseenCount,
  };
  const pairs = items.map((item) => `${item} ${values[item]()}`);
  return `* STATUS ${formatMailbox(name)} (${pairs.join(" ")})\r\n`;
}
