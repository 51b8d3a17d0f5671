import type { Cursor } from "./cursor.ts";

export type SectionText = "HEADER" | "HEADER.FIELDS" | "HEADER.FIELDS.NOT" | "TEXT" | "MIME";

/** Some octets of a message (RFC 3501 6.4.5, BODY[section]<partial>). */
export interface SectionItem {
  readonly kind: "section";
  /** How the response names it. */
  readonly label: string;
  readonly path: readonly number[];
  readonly text?: SectionText;
  /** In lower case, for HEADER.FIELDS and HEADER.FIELDS.NOT. */
  readonly fields?: readonly string[];
  readonly partial?: { readonly offset: number; readonly length: number };
  readonly peek: boolean;
}

export type PlainItem =
  | "FLAGS"
  | "UID"
  | "INTERNALDATE"
  | "RFC822.SIZE"
  | "ENVELOPE"
  | "BODY"
  | "BODYSTRUCTURE";

export type FetchItem = { readonly kind: PlainItem } | SectionItem;

const PLAIN: readonly PlainItem[] = [
  "FLAGS",
  "UID",
  "INTERNALDATE",
  "RFC822.SIZE",
  "ENVELOPE",
  "BODY",
  "BODYSTRUCTURE",
];

const MACROS: Record<string, readonly PlainItem[]> = {
  ALL: ["FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE"],
  FAST: ["FLAGS", "INTERNALDATE", "RFC822.SIZE"],
  FULL: ["FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODY"],
};

/** The names from before BODY[] (RFC 3501 6.4.5). */
const OLD_SECTIONS: Record<string, SectionItem> = {
  RFC822: { kind: "section", label: "RFC822", path: [], peek: false },
  "RFC822.HEADER": { kind: "section", label: "RFC822.HEADER", path: [], text: "HEADER", peek: true },
  "RFC822.TEXT": { kind: "section", label: "RFC822.TEXT", path: [], text: "TEXT", peek: false },
};

export function parseFetchItems(cursor: Cursor): FetchItem[] {
  if (cursor.sees("(")) {
    const items = cursor.list(() => parseItem(cursor));
    return items.length > 0 ? items : cursor.fail("something to fetch");
  }
  const name = itemName(cursor);
  const macro = MACROS[name];
  return macro ? macro.map((kind) => ({ kind })) : [itemCalled(name, cursor)];
}

function itemName(cursor: Cursor): string {
  return cursor.match(/[A-Za-z0-9.]+/y, "a data item").toUpperCase();
}

function parseItem(cursor: Cursor): FetchItem {
  return itemCalled(itemName(cursor), cursor);
}

function itemCalled(name: string, cursor: Cursor): FetchItem {
  if ((name === "BODY" || name === "BODY.PEEK") && cursor.sees("[")) {
    return parseSection(cursor, name === "BODY.PEEK");
  }
  const plain = PLAIN.find((kind) => kind === name);
  return plain ? { kind: plain } : (OLD_SECTIONS[name] ?? cursor.fail("a data item"));
}

function parseSection(cursor: Cursor, peek: boolean): SectionItem {
  cursor.expect("[");
  const path = parsePath(cursor);
  const text = cursor.sees("]") ? undefined : parseSectionText(cursor, path);
  const fields = text?.startsWith("HEADER.FIELDS") ? parseFieldNames(cursor) : undefined;
  cursor.expect("]");
  const partial = cursor.accept("<") ? parsePartial(cursor) : undefined;
  const names = fields ? ` (${fields.map(fieldLabel).join(" ")})` : "";
  const inner = [...path, ...(text ? [text] : [])].join(".") + names;
  const label = `BODY[${inner}]${partial ? `<${partial.offset}>` : ""}`;
  return {
    kind: "section",
    label,
    path,
    peek,
    ...(text && { text }),
    ...(fields && { fields: fields.map((field) => field.toLowerCase()) }),
    ...(partial && { partial }),
  };
}

/** Part numbers, each with the dot behind it if a section text follows. */
function parsePath(cursor: Cursor): number[] {
  const path: number[] = [];
  while (cursor.seesDigit()) {
    path.push(cursor.number());
    if (!cursor.accept(".")) break;
    if (cursor.sees("]")) cursor.fail("a part number");
  }
  return path.includes(0) ? cursor.fail("a part number") : path;
}

function parseSectionText(cursor: Cursor, path: readonly number[]): SectionText {
  const texts: SectionText[] = ["HEADER.FIELDS.NOT", "HEADER.FIELDS", "HEADER", "TEXT", "MIME"];
  const text = texts.find((each) => cursor.accept(each));
  // RFC 3501 6.4.5: MIME must be prefixed by a part number.
  return text && (text !== "MIME" || path.length > 0) ? text : cursor.fail("a section");
}

function parseFieldNames(cursor: Cursor): string[] {
  cursor.space();
  const names = cursor.list(() => cursor.astring());
  return names.length > 0 && names.every((name) => /^[\x20-\x7e]+$/.test(name))
    ? names
    : cursor.fail("field names");
}

function fieldLabel(name: string): string {
  const upper = name.toUpperCase();
  return /^[A-Z0-9!#$&'+,./:;<=>?@^_`|}~-]+$/.test(upper) ? upper : `"${upper.replace(/["\\]/g, "\\$&")}"`;
}

function parsePartial(cursor: Cursor): { offset: number; length: number } {
  const offset = cursor.number();
  cursor.expect(".");
  const length = cursor.number();
  cursor.expect(">");
  return length > 0 ? { offset, length } : cursor.fail("a length");
}
