import type { Cursor } from "./cursor.ts";
import { parseDay } from "./date.ts";
import type { SequenceSet } from "./sequence-set.ts";

/** RFC 3501 6.4.4. Text to look for is latin1, as it came. */
export type SearchKey =
  | { readonly kind: "all" | "new" | "old" | "recent" }
  | { readonly kind: "flag"; readonly flag: string; readonly present: boolean }
  | { readonly kind: "set"; readonly uid: boolean; readonly set: SequenceSet }
  | { readonly kind: "header"; readonly field: string; readonly value: string }
  | { readonly kind: "text" | "body"; readonly value: string }
  | { readonly kind: "date"; readonly sent: boolean; readonly relation: Relation; readonly day: number }
  | { readonly kind: "size"; readonly larger: boolean; readonly size: number }
  | { readonly kind: "not"; readonly key: SearchKey }
  | { readonly kind: "and" | "or"; readonly keys: readonly SearchKey[] };

export type Relation = "BEFORE" | "ON" | "SINCE";

export interface SearchProgram {
  readonly charset: string;
  readonly key: SearchKey;
}

const MAX_DEPTH = 50;
const MAX_KEYS = 500;

interface Reading {
  readonly cursor: Cursor;
  depth: number;
  keys: number;
}

const FLAG_KEYS: Record<string, readonly [flag: string, present: boolean]> = {
  ANSWERED: ["\\Answered", true],
  DELETED: ["\\Deleted", true],
  DRAFT: ["\\Draft", true],
  FLAGGED: ["\\Flagged", true],
  SEEN: ["\\Seen", true],
  UNANSWERED: ["\\Answered", false],
  UNDELETED: ["\\Deleted", false],
  UNDRAFT: ["\\Draft", false],
  UNFLAGGED: ["\\Flagged", false],
  UNSEEN: ["\\Seen", false],
};

type KeyReader = (reading: Reading, name: string) => SearchKey;

const single = (kind: "all" | "new" | "old" | "recent"): KeyReader => {
  return () => ({ kind });
};
const header: KeyReader = ({ cursor }, name) => ({
  kind: "header",
  field: name.toLowerCase(),
  value: text(cursor),
});
const keyword: KeyReader = ({ cursor }, name) => {
  cursor.space();
  return { kind: "flag", flag: cursor.atom(), present: name === "KEYWORD" };
};
const size: KeyReader = ({ cursor }, name) => {
  cursor.space();
  return { kind: "size", larger: name === "LARGER", size: cursor.number() };
};
const date: KeyReader = ({ cursor }, name) => {
  cursor.space();
  const day = parseDay(cursor.astring()) ?? cursor.fail("a date");
  const relation = name.replace("SENT", "") as Relation;
  return { kind: "date", sent: name.startsWith("SENT"), relation, day };
};

const READERS: Record<string, KeyReader> = {
  ALL: single("all"),
  NEW: single("new"),
  OLD: single("old"),
  RECENT: single("recent"),
  BCC: header,
  CC: header,
  FROM: header,
  SUBJECT: header,
  TO: header,
  HEADER: ({ cursor }) => {
    cursor.space();
    return { kind: "header", field: cursor.astring().toLowerCase(), value: text(cursor) };
  },
  TEXT: ({ cursor }) => ({ kind: "text", value: text(cursor) }),
  BODY: ({ cursor }) => ({ kind: "body", value: text(cursor) }),
  KEYWORD: keyword,
  UNKEYWORD: keyword,
  LARGER: size,
  SMALLER: size,
  BEFORE: date,
  ON: date,
  SINCE: date,
  SENTBEFORE: date,
  SENTON: date,
  SENTSINCE: date,
  UID: ({ cursor }) => {
    cursor.space();
    return { kind: "set", uid: true, set: cursor.sequenceSet() };
  },
  NOT: (reading) => ({ kind: "not", key: nextKey(reading) }),
  OR: (reading) => ({ kind: "or", keys: [nextKey(reading), nextKey(reading)] }),
};

function text(cursor: Cursor): string {
  cursor.space();
  return cursor.astring();
}

function nextKey(reading: Reading): SearchKey {
  reading.cursor.space();
  return parseKey(reading);
}

export function parseSearch(cursor: Cursor): SearchProgram {
  const charset = cursor.accept("CHARSET ") ? parseCharset(cursor) : "US-ASCII";
  const reading = { cursor, depth: 0, keys: 0 };
  const keys = [parseKey(reading)];
  while (!cursor.atEnd) keys.push(nextKey(reading));
  return { charset, key: { kind: "and", keys } };
}

function parseCharset(cursor: Cursor): string {
  const charset = cursor.astring().toUpperCase();
  cursor.space();
  return charset;
}

function parseKey(reading: Reading): SearchKey {
  const { cursor } = reading;
  if (++reading.keys > MAX_KEYS || ++reading.depth > MAX_DEPTH) cursor.fail("fewer search keys");
  const key = readKey(reading);
  reading.depth--;
  return key;
}

function readKey(reading: Reading): SearchKey {
  const { cursor } = reading;
  if (cursor.sees("(")) {
    const keys = cursor.list(() => parseKey(reading));
    return keys.length > 0 ? { kind: "and", keys } : cursor.fail("a search key");
  }
  if (cursor.sees("*") || cursor.seesDigit()) return { kind: "set", uid: false, set: cursor.sequenceSet() };
  const name = cursor.word();
  const flag = FLAG_KEYS[name];
  if (flag) return { kind: "flag", flag: flag[0], present: flag[1] };
  const read = READERS[name];
  return read ? read(reading, name) : cursor.fail("a search key");
}
