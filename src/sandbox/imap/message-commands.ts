import type { Mailbox, Message } from "../mailbox.ts";
import type { CommandArguments } from "./command.ts";
import { AFTER_LOGIN, accountOf, type CommandRows, SELECTED, selectedOf } from "./command-row.ts";
import { bad, no, ok, type Reply } from "./reply.ts";
import { search } from "./search.ts";
import type { Seen, Selected } from "./selected.ts";
import { formatSet } from "./sequence-set.ts";
import type { ImapSession } from "./session.ts";

const CHARSETS = ["US-ASCII", "UTF-8"];
const NO_SUCH_MESSAGE = bad("No such message");
/** RFC 3501 6.3.11 and 6.4.7: the client may create it and try again. */
const NO_TARGET = no("No such mailbox", "TRYCREATE");

/** Commands about messages, but for FETCH. */
export const MESSAGE_COMMANDS: CommandRows<"APPEND" | "SEARCH" | "STORE" | "COPY" | "MOVE"> = {
  APPEND: { when: AFTER_LOGIN, run: append },
  SEARCH: {
    when: SELECTED,
    async run(session, { uid, program }) {
      if (!CHARSETS.includes(program.charset)) {
        return no("Unknown charset", `BADCHARSET (${CHARSETS.join(" ")})`);
      }
      const found = await search(selectedOf(session), program.key);
      const numbers = found.map(({ message, sequence }) => ` ${uid ? message.uid : sequence}`);
      await session.write(`* SEARCH${numbers.join("")}\r\n`);
      return ok("Searched");
    },
  },
  STORE: { when: SELECTED, run: store },
  COPY: {
    when: SELECTED,
    run(session, args) {
      const target = accountOf(session).find(args.mailbox);
      if (!target) return NO_TARGET;
      const picked = pick(session, args);
      if (!picked) return NO_SUCH_MESSAGE;
      const copies = selectedOf(session).mailbox.copyTo(target, picked);
      return ok("Copied", copyUid(target, picked, copies));
    },
  },
  MOVE: {
    when: SELECTED,
    async run(session, args) {
      const { mailbox, readOnly } = selectedOf(session);
      if (readOnly) return no("Mailbox is read-only");
      const target = accountOf(session).find(args.mailbox);
      if (!target) return NO_TARGET;
      const picked = pick(session, args);
      if (!picked) return NO_SUCH_MESSAGE;
      const moved = mailbox.moveTo(target, picked);
      const code = copyUid(
        target,
        moved.map(([from]) => from),
        moved.map(([, to]) => to),
      );
      // RFC 6851 4.3: untagged, so that it comes before the EXPUNGE responses.
      if (code) await session.write(`* OK [${code}] Moved\r\n`);
      return ok("Moved");
    },
  },
};

function append(session: ImapSession, { mailbox, flags, date, raw }: CommandArguments["APPEND"]): Reply {
  const target = accountOf(session).find(mailbox);
  if (!target) return NO_TARGET;
  // RFC 3501 9, CHAR8: without RFC 3516 there is no way to send or fetch a NUL.
  if (raw.includes(0)) return no("Message holds NUL", "CANNOT");
  const message = target.append(raw, flags, date);
  return ok("Appended", `APPENDUID ${target.uidValidity} ${message.uid}`);
}

async function store(session: ImapSession, args: CommandArguments["STORE"]): Promise<Reply> {
  const selected = selectedOf(session);
  if (selected.readOnly) return no("Mailbox is read-only");
  const picked = selected.pick(args.set, args.uid);
  if (!picked) return NO_SUCH_MESSAGE;
  for (const { message } of picked) selected.mailbox.changeFlags(message, args.change, args.flags, selected);
  const lines = args.silent ? [] : picked.map((seen) => flagLine(selected, seen, args.uid));
  await session.write(selected.takeKeywords() + lines.join(""));
  return ok("Stored");
}

function flagLine(selected: Selected, { message, sequence }: Seen, uid: boolean): string {
  return `* ${sequence} FETCH (${uid ? `UID ${message.uid} ` : ""}FLAGS ${selected.flagsOf(message)})\r\n`;
}

function pick(session: ImapSession, { set, uid }: CommandArguments["COPY"]): Message[] | undefined {
  return selectedOf(session)
    .pick(set, uid)
    ?.map(({ message }) => message);
}

/** RFC 4315 3; nothing at all when nothing was copied. */
function copyUid(target: Mailbox, from: readonly Message[], to: readonly Message[]): string | undefined {
  if (from.length === 0) return undefined;
  const uids = (messages: readonly Message[]): string => formatSet(messages.map(({ uid }) => uid));
  return `COPYUID ${target.uidValidity} ${uids(from)} ${uids(to)}`;
}
