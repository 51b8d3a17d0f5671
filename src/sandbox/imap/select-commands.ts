import type { Mailbox, Message } from "../mailbox.ts";
import { AFTER_LOGIN, accountOf, type CommandRows, SELECTED, selectedOf } from "./command-row.ts";
import { no, ok, type Reply } from "./reply.ts";
import { Selected } from "./selected.ts";
import type { ImapSession } from "./session.ts";

/** Commands that open, tidy and leave a mailbox. */
export const SELECT_COMMANDS: CommandRows<"SELECT" | "EXAMINE" | "CHECK" | "CLOSE" | "UNSELECT" | "EXPUNGE"> =
  {
    SELECT: { when: AFTER_LOGIN, run: (session, { mailbox }) => open(session, mailbox, false) },
    EXAMINE: { when: AFTER_LOGIN, run: (session, { mailbox }) => open(session, mailbox, true) },
    CHECK: { when: SELECTED, run: () => ok("Nothing is ever unsaved in memory") },
    CLOSE: {
      when: SELECTED,
      run(session) {
        const { mailbox, readOnly } = selectedOf(session);
        // RFC 3501 6.4.2: no EXPUNGE is sent, so the view goes first.
        session.unselect();
        if (!readOnly) mailbox.expunge(deleted(mailbox.messages));
        return ok("Closed");
      },
    },
    UNSELECT: {
      when: SELECTED,
      run(session) {
        session.unselect();
        return ok("Unselected");
      },
    },
    EXPUNGE: {
      when: SELECTED,
      run(session, { set }) {
        const selected = selectedOf(session);
        if (selected.readOnly) return no("Mailbox is read-only");
        const { mailbox } = selected;
        const among = set ? selected.pick(set, true)?.map(({ message }) => message) : mailbox.messages;
        mailbox.expunge(deleted(among ?? []), selected);
        return ok("Expunged");
      },
    },
  };

function deleted(messages: readonly Message[]): Message[] {
  return messages.filter((message) => message.flags.has("\\Deleted"));
}

async function open(session: ImapSession, name: string, readOnly: boolean): Promise<Reply> {
  // RFC 3501 6.3.1: a SELECT that fails leaves nothing selected.
  session.unselect();
  const mailbox = accountOf(session).get(name);
  const selected = new Selected(mailbox, readOnly);
  session.select(selected);
  await session.write(describe(mailbox, selected));
  return ok("Opened", readOnly ? "READ-ONLY" : "READ-WRITE");
}

function describe(mailbox: Mailbox, selected: Selected): string {
  const unseen = selected.firstUnseen;
  const lines = [
    `* ${selected.size} EXISTS`,
    `* ${selected.recentCount} RECENT`,
    ...(unseen === undefined ? [] : [`* OK [UNSEEN ${unseen}] First unseen`]),
    `* OK [UIDVALIDITY ${mailbox.uidValidity}] UIDs valid`,
    `* OK [UIDNEXT ${mailbox.uidNext}] Next UID`,
  ];
  return selected.describeFlags() + lines.map((line) => `${line}\r\n`).join("");
}
