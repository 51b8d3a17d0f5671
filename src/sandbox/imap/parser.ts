import { SYSTEM_FLAGS } from "../mailbox.ts";
import {
  type BadCommand,
  type Command,
  type CommandArguments,
  type CommandName,
  type ListOptions,
  STATUS_ITEMS,
  type StatusItem,
} from "./command.ts";
import type { Piece } from "./command-buffer.ts";
import { Cursor, SyntaxFault } from "./cursor.ts";
import { parseDateTime } from "./date.ts";
import { parseFetchItems } from "./fetch-item.ts";
import { parseSearch } from "./search-key.ts";

/** Reads one command whole. Bad input is a value, never a throw. */
export function parseCommand(pieces: readonly Piece[]): Command | BadCommand {
  const cursor = new Cursor(pieces);
  let tag: string | undefined;
  try {
    tag = cursor.tag();
    cursor.space();
    return parseNamed(tag, cursor);
  } catch (fault) {
    if (!(fault instanceof SyntaxFault)) throw fault;
    return { tag, name: "BAD", reason: fault.message };
  }
}

/** The commands that may stand behind UID (RFC 3501 6.4.8, RFC 4315 2.1, RFC 6851 3.2). */
const UID_COMMANDS = ["COPY", "EXPUNGE", "FETCH", "MOVE", "SEARCH", "STORE"];

function parseNamed(tag: string, cursor: Cursor): Command {
  const first = cursor.word();
  const uid = first === "UID";
  if (uid) cursor.space();
  const name = uid ? cursor.word() : first;
  if (!isCommand(name) || (uid && !UID_COMMANDS.includes(name))) throw new SyntaxFault("Unknown command");
  const args = GRAMMAR[name](cursor, uid);
  cursor.end();
  return { tag, name, args } as Command;
}

function isCommand(name: string): name is CommandName {
  return Object.hasOwn(GRAMMAR, name);
}

const nothing = (): Record<string, never> => ({});

const mailbox = (cursor: Cursor): { mailbox: string } => ({
  mailbox: spaced(cursor, () => cursor.astring()),
});

/** SP and what follows it. */
function spaced<T>(cursor: Cursor, read: () => T): T {
  cursor.space();
  return read();
}

/** Something, and SP. */
function followed<T>(cursor: Cursor, read: () => T): T {
  const value = read();
  cursor.space();
  return value;
}

function addressed(cursor: Cursor, uid: boolean): Pick<CommandArguments["COPY"], "uid" | "set"> {
  return { uid, set: spaced(cursor, () => cursor.sequenceSet()) };
}

const GRAMMAR: { [Name in CommandName]: (cursor: Cursor, uid: boolean) => CommandArguments[Name] } = {
  CAPABILITY: nothing,
  NOOP: nothing,
  LOGOUT: nothing,
  STARTTLS: nothing,
  AUTHENTICATE: (cursor) => ({
    mechanism: spaced(cursor, () => cursor.word()),
    // RFC 4959 3: an initial response, of which "=" is the empty one.
    initial: cursor.accept(" ") ? cursor.match(/[A-Za-z0-9+/=]+/y, "base64") : undefined,
  }),
  LOGIN: (cursor) => ({
    user: spaced(cursor, () => cursor.astring()),
    password: spaced(cursor, () => cursor.astring()),
  }),
  SELECT: mailbox,
  EXAMINE: mailbox,
  CREATE: mailbox,
  DELETE: mailbox,
  RENAME: (cursor) => ({
    from: spaced(cursor, () => cursor.astring()),
    to: spaced(cursor, () => cursor.astring()),
  }),
  SUBSCRIBE: mailbox,
  UNSUBSCRIBE: mailbox,
  LIST: (cursor) => spaced(cursor, () => parseList(cursor)),
  LSUB: (cursor) => ({
    reference: spaced(cursor, () => cursor.astring()),
    pattern: spaced(cursor, () => cursor.listMailbox()),
  }),
  STATUS: (cursor) => ({ ...mailbox(cursor), items: spaced(cursor, () => statusItems(cursor)) }),
  APPEND: (cursor) => {
    const { mailbox: name } = mailbox(cursor);
    cursor.space();
    const flags = cursor.sees("(") ? followed(cursor, () => storable(flagList(cursor))) : [];
    const date = cursor.sees('"') ? followed(cursor, () => dateTime(cursor)) : undefined;
    return { mailbox: name, flags, date, raw: cursor.literal() };
  },
  CHECK: nothing,
  CLOSE: nothing,
  EXPUNGE: (cursor, uid) => ({ set: uid ? addressed(cursor, uid).set : undefined }),
  SEARCH: (cursor, uid) => ({ uid, program: spaced(cursor, () => parseSearch(cursor)) }),
  FETCH: (cursor, uid) => ({
    ...addressed(cursor, uid),
    items: spaced(cursor, () => parseFetchItems(cursor)),
  }),
  STORE: (cursor, uid) => ({ ...addressed(cursor, uid), ...spaced(cursor, () => parseStore(cursor)) }),
  COPY: (cursor, uid) => ({ ...addressed(cursor, uid), ...mailbox(cursor) }),
  MOVE: (cursor, uid) => ({ ...addressed(cursor, uid), ...mailbox(cursor) }),
  ID: (cursor) => spaced(cursor, () => parseId(cursor)),
  ENABLE: (cursor) => {
    const capabilities = [spaced(cursor, () => cursor.word())];
    while (cursor.accept(" ")) capabilities.push(cursor.word());
    return { capabilities };
  },
  IDLE: nothing,
  NAMESPACE: nothing,
  UNSELECT: nothing,
};

function statusItems(cursor: Cursor): StatusItem[] {
  const items = cursor.list(() => {
    const name = cursor.word();
    return STATUS_ITEMS.find((item) => item === name) ?? cursor.fail("a status item");
  });
  return items.length > 0 ? items : cursor.fail("a status item");
}

/** RFC 3501 6.3.8, with as much of RFC 5258's grammar as RFC 6154 builds on. */
function parseList(cursor: Cursor): ListOptions {
  const only = cursor.sees("(") ? selectionOptions(cursor) : [];
  const reference = cursor.astring();
  const patterns = spaced(cursor, () =>
    cursor.sees("(") ? cursor.list(() => cursor.listMailbox()) : [cursor.listMailbox()],
  );
  const returns = cursor.accept(" ") ? returnOptions(cursor) : [];
  return {
    reference,
    patterns,
    only,
    status: returns.find((option) => typeof option !== "string") ?? [],
    returnSubscribed: returns.includes("SUBSCRIBED") || only.includes("SUBSCRIBED"),
  };
}

function selectionOptions(cursor: Cursor): ListOptions["only"] {
  const options = cursor.list(() => {
    const name = cursor.word();
    return name === "SUBSCRIBED" || name === "SPECIAL-USE" ? name : cursor.fail("a selection option");
  });
  cursor.space();
  return options;
}

function returnOptions(cursor: Cursor): (string | StatusItem[])[] {
  cursor.expect("RETURN");
  cursor.space();
  return cursor.list(() => {
    const name = cursor.word();
    if (name === "STATUS") return spaced(cursor, () => statusItems(cursor));
    return ["SUBSCRIBED", "CHILDREN", "SPECIAL-USE"].includes(name) ? name : cursor.fail("a return option");
  });
}

function parseStore(cursor: Cursor): Pick<CommandArguments["STORE"], "change" | "silent" | "flags"> {
  const change = cursor.accept("+") ? "add" : cursor.accept("-") ? "remove" : "replace";
  cursor.expect("FLAGS");
  const silent = cursor.accept(".SILENT");
  const flags = spaced(cursor, () => (cursor.sees("(") ? flagList(cursor) : bareFlags(cursor)));
  return { change, silent, flags: storable(flags) };
}

function flagList(cursor: Cursor): string[] {
  return cursor.list(() => flag(cursor));
}

function bareFlags(cursor: Cursor): string[] {
  const flags = [flag(cursor)];
  while (cursor.accept(" ")) flags.push(flag(cursor));
  return flags;
}

function flag(cursor: Cursor): string {
  if (!cursor.accept("\\")) return cursor.atom();
  const name = `\\${cursor.atom()}`;
  const known = [...SYSTEM_FLAGS, "\\Recent"].find((each) => each.toLowerCase() === name.toLowerCase());
  return known ?? cursor.fail("a system flag");
}

/** RFC 3501 2.3.2: a client cannot alter `\Recent`; many send it back all the same. */
function storable(flags: readonly string[]): string[] {
  return flags.filter((name) => name !== "\\Recent");
}

function dateTime(cursor: Cursor): Date {
  return parseDateTime(cursor.string()) ?? cursor.fail("a date");
}

/** RFC 2971: who the client is. The sandbox does not care, but it must be well said. */
function parseId(cursor: Cursor): Record<string, never> {
  if (cursor.accept("NIL")) return {};
  const fields = cursor.list(() => {
    cursor.string();
    return spaced(cursor, () => cursor.nstring());
  });
  return fields.length <= 30 ? {} : cursor.fail("at most 30 fields");
}
