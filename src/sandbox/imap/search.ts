import { setImmediate } from "node:timers/promises";
import { fieldValue, headerValue } from "../header.ts";
import type { Message } from "../mailbox.ts";
import { parseMime } from "../mime.ts";
import { bodyText, decodeHeaderText, headerText } from "../mime-text.ts";
import { dayOfDate, dayOfDateField } from "./date.ts";
import type { Relation, SearchKey } from "./search-key.ts";
import type { Seen, Selected } from "./selected.ts";

/** After so long the other sessions get their turn. */
const TURN_MS = 20;

type Matcher = (message: Message) => boolean;

export async function search(selected: Selected, key: SearchKey): Promise<Seen[]> {
  const matches = compile(selected, key);
  const found: Seen[] = [];
  let turnEnds = Date.now() + TURN_MS;
  for (const seen of selected.all()) {
    if (matches(seen.message)) found.push(seen);
    if (Date.now() < turnEnds) continue;
    await setImmediate();
    turnEnds = Date.now() + TURN_MS;
  }
  return found;
}

function compile(selected: Selected, key: SearchKey): Matcher {
  switch (key.kind) {
    case "all":
      return () => true;
    case "recent":
      return (message) => selected.isRecent(message);
    case "old":
      return (message) => !selected.isRecent(message);
    case "new":
      return (message) => selected.isRecent(message) && !message.flags.has("\\Seen");
    case "flag":
      return flagMatcher(key.flag, key.present);
    case "set":
      return setMatcher(selected, key);
    case "header":
      return headerMatcher(key.field, lookFor(key.value));
    case "text":
    case "body":
      return textMatcher(key.kind === "text", lookFor(key.value));
    case "date":
      return dateMatcher(key);
    case "size":
      return ({ raw }) => (key.larger ? raw.length > key.size : raw.length < key.size);
    case "not":
      return negate(compile(selected, key.key));
    case "and":
    case "or":
      return combine(
        key.kind,
        key.keys.map((each) => compile(selected, each)),
      );
  }
}

function negate(matches: Matcher): Matcher {
  return (message) => !matches(message);
}

function combine(kind: "and" | "or", matchers: readonly Matcher[]): Matcher {
  if (kind === "and") return (message) => matchers.every((matches) => matches(message));
  return (message) => matchers.some((matches) => matches(message));
}

function flagMatcher(flag: string, present: boolean): Matcher {
  const wanted = flag.toLowerCase();
  return ({ flags }) => [...flags].some((each) => each.toLowerCase() === wanted) === present;
}

function setMatcher(selected: Selected, key: Extract<SearchKey, { kind: "set" }>): Matcher {
  const picked = new Set(selected.pick(key.set, key.uid)?.map(({ message }) => message));
  return (message) => picked.has(message);
}

/** RFC 3501 6.4.4: a string matches any substring, without regard to case. */
function lookFor(value: string): (text: string) => boolean {
  const wanted = decodeHeaderText(value).toLowerCase();
  return (text) => text.toLowerCase().includes(wanted);
}

function headerMatcher(field: string, found: (text: string) => boolean): Matcher {
  return ({ raw }) => {
    const fields = parseMime(raw).header.fields.filter((each) => each.name === field);
    return fields.some((each) => found(decodeHeaderText(fieldValue(raw, each))));
  };
}

function textMatcher(withHeader: boolean, found: (text: string) => boolean): Matcher {
  return ({ raw }) => (withHeader && found(headerText(raw, parseMime(raw)))) || found(bodyText(raw));
}

function dateMatcher({ sent, relation, day }: Extract<SearchKey, { kind: "date" }>): Matcher {
  return ({ raw, internalDate }) => {
    const date = sent
      ? dayOfDateField(headerValue(raw, parseMime(raw).header, "date") ?? "")
      : dayOfDate(internalDate);
    return date !== undefined && compareDay(date, relation, day);
  };
}

function compareDay(date: number, relation: Relation, day: number): boolean {
  switch (relation) {
    case "BEFORE":
      return date < day;
    case "ON":
      return date === day;
    case "SINCE":
      return date >= day;
  }
}
