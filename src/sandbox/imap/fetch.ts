import type { Message } from "../mailbox.ts";
import { parseMime } from "../mime.ts";
import type { CommandArguments } from "./command.ts";
import type { Piece } from "./command-buffer.ts";
import { type CommandRows, SELECTED, selectedOf } from "./command-row.ts";
import { formatDateTime } from "./date.ts";
import type { FetchItem, PlainItem, SectionItem } from "./fetch-item.ts";
import { bad, ok, type Reply } from "./reply.ts";
import { readSection } from "./section.ts";
import type { Seen, Selected } from "./selected.ts";
import type { ImapSession } from "./session.ts";
import { formatBody, formatEnvelope } from "./structure.ts";

/** Smaller octets travel with the text around them, in one write. */
const WORTH_A_WRITE = 16 * 1024;

export const FETCH_COMMANDS: CommandRows<"FETCH"> = {
  FETCH: { when: SELECTED, run: fetch },
};

async function fetch(session: ImapSession, { set, uid, items }: CommandArguments["FETCH"]): Promise<Reply> {
  const selected = selectedOf(session);
  const picked = selected.pick(set, uid);
  if (!picked) return bad("No such message");
  const asked: FetchItem[] = uid ? withItem(items, "UID") : [...items];
  for (const seen of picked) await sendMessage(session, selected, seen, asked);
  return ok("Fetched");
}

async function sendMessage(
  session: ImapSession,
  selected: Selected,
  { sequence, message }: Seen,
  asked: FetchItem[],
): Promise<void> {
  const items = markSeen(selected, message, asked) ? withItem(asked, "FLAGS") : asked;
  let text = `* ${sequence} FETCH (`;
  for (const [index, item] of items.entries()) {
    if (index > 0) text += " ";
    for (const piece of formatItem(selected, message, item)) {
      if (typeof piece === "string") text += piece;
      else if (piece.length < WORTH_A_WRITE) text += piece.toString("latin1");
      else {
        // Awaited piece by piece: a client that does not read stops its own FETCH here.
        await session.write(text);
        await session.write(piece);
        text = "";
      }
    }
  }
  await session.write(`${text})\r\n`);
}

/** RFC 3501 6.4.5: reading a body without PEEK sets \Seen, and the client is told so. */
function markSeen(selected: Selected, message: Message, items: readonly FetchItem[]): boolean {
  const reads = items.some((item) => item.kind === "section" && !item.peek);
  if (!reads || selected.readOnly || message.flags.has("\\Seen")) return false;
  selected.mailbox.changeFlags(message, "add", ["\\Seen"], selected);
  return true;
}

function withItem(items: readonly FetchItem[], kind: PlainItem): FetchItem[] {
  return items.some((item) => item.kind === kind) ? [...items] : [{ kind }, ...items];
}

function formatItem(selected: Selected, message: Message, item: FetchItem): Piece[] {
  if (item.kind === "section") return formatSection(message, item);
  return [`${item.kind} ${formatPlain(selected, message, item.kind)}`];
}

function formatSection(message: Message, item: SectionItem): Piece[] {
  const octets = readSection(message.raw, item);
  return octets ? [`${item.label} {${octets.length}}\r\n`, octets] : [`${item.label} NIL`];
}

function formatPlain(selected: Selected, message: Message, kind: PlainItem): string {
  const { raw } = message;
  switch (kind) {
    case "FLAGS":
      return selected.flagsOf(message);
    case "UID":
      return String(message.uid);
    case "INTERNALDATE":
      return `"${formatDateTime(message.internalDate)}"`;
    case "RFC822.SIZE":
      return String(raw.length);
    case "ENVELOPE":
      return formatEnvelope(raw, parseMime(raw).header);
    case "BODY":
      return formatBody(raw, parseMime(raw), false);
    case "BODYSTRUCTURE":
      return formatBody(raw, parseMime(raw), true);
  }
}
