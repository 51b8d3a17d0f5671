import {
  type Alias,
  type Document,
  type ErrorCode,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  type YAMLMap,
  type YAMLSeq,
} from "yaml";

/** Where a value and its key stand, as offsets into the text, and the key's path as an operator writes it. */
interface Place {
  readonly key: string;
  readonly keyOffset: number;
  readonly valueOffset: number;
}

interface Fault {
  readonly offset: number;
  readonly key: string;
  readonly message: string;
}

/** A YAML text as plain values, with the place of everything in it. */
export interface ConfigDocument {
  readonly value: unknown;
  readonly faults: readonly Fault[];
  /** False when the text is not YAML and `value` means nothing. */
  readonly readable: boolean;
  /** The key's path at a JSON pointer; also of what is absent. */
  keyAt(pointer: string): string;
  /** Offset of the key or value at a JSON pointer; of the nearest mapping around what is absent. */
  offsetAt(pointer: string, what: "key" | "value"): number;
  lineColumn(offset: number): { readonly line: number; readonly column: number };
}

const MAX_DEPTH = 50;
/** Aliases are copied; this bounds what a few nested ones can grow to. */
const MAX_COPIED_NODES = 100_000;
const MAX_ALIASES = 1000;

/** Reads YAML 1.2; what is wrong with it comes back as faults, in our own words and without the text itself. */
export function readDocument(text: string): ConfigDocument {
  const lines = new LineCounter();
  const document = parse(text, lines);
  const faults = [...document.errors, ...document.warnings].map((error) => ({
    offset: error.pos[0],
    key: "",
    message: SYNTAX[error.code] ?? "cannot be read as YAML here",
  }));
  const reading = startReading(faults);
  const readable = faults.length === 0;
  const value = readable
    ? readNode(reading, document.contents, { pointer: "", key: "", depth: 0 })
    : undefined;
  return {
    value,
    faults,
    readable: readable && !reading.stopped,
    keyAt: (pointer) => keyAt(reading.places, pointer),
    offsetAt: (pointer, what) => offsetAt(reading.places, pointer, what),
    lineColumn: (offset) => toLineColumn(lines, offset),
  };
}

function parse(text: string, lineCounter: LineCounter): Document.Parsed {
  // uniqueKeys compares every key with every other; readMapping finds duplicates in one pass instead.
  return parseDocument(text, { lineCounter, prettyErrors: false, uniqueKeys: false });
}

function toLineColumn(lines: LineCounter, offset: number): { line: number; column: number } {
  const { line, col } = lines.linePos(offset);
  return { line: Math.max(line, 1), column: Math.max(col, 1) };
}

interface Reading {
  readonly faults: Fault[];
  readonly places: Map<string, Place>;
  readonly anchors: Map<string, Node>;
  aliases: number;
  copiedNodes: number;
  /** Set when a bound was hit: the value is cut short, so nothing more is said about it. */
  stopped: boolean;
}

interface At {
  readonly pointer: string;
  readonly key: string;
  readonly depth: number;
  /** Set inside an alias: everything there is placed at the alias. */
  readonly alias?: number;
}

function startReading(faults: Fault[]): Reading {
  return { faults, places: new Map(), anchors: new Map(), aliases: 0, copiedNodes: 0, stopped: false };
}

function readNode(reading: Reading, node: Node | null, at: At): unknown {
  if (reading.stopped || node === null) return null;
  if (exceedsBounds(reading, node, at)) return null;
  if (isAlias(node)) return readAlias(reading, node, at);
  const value = readContent(reading, node, at);
  // Only now: an anchor cannot hold an alias of itself, so no value goes round in a circle.
  if (!isScalarWithoutAnchor(node)) rememberAnchor(reading, node);
  return value;
}

function readContent(reading: Reading, node: Node, at: At): unknown {
  if (isMap(node)) return readMapping(reading, node, at);
  if (isSeq(node)) return readSequence(reading, node, at);
  return isScalar(node) ? node.value : null;
}

function isScalarWithoutAnchor(node: Node): boolean {
  return isScalar(node) && node.anchor === undefined;
}

function rememberAnchor(reading: Reading, node: Node): void {
  if ("anchor" in node && typeof node.anchor === "string") reading.anchors.set(node.anchor, node);
}

function exceedsBounds(reading: Reading, node: Node, at: At): boolean {
  if (at.depth > MAX_DEPTH) return stop(reading, node, at, "is nested too deep");
  if (at.alias !== undefined && ++reading.copiedNodes > MAX_COPIED_NODES)
    return stop(reading, node, at, "is repeated by aliases too often");
  return false;
}

function stop(reading: Reading, node: Node, at: At, message: string): true {
  reading.stopped = true;
  reading.faults.push({ offset: at.alias ?? start(node), key: at.key, message });
  return true;
}

function readAlias(reading: Reading, node: Alias, at: At): unknown {
  const offset = at.alias ?? start(node);
  if (++reading.aliases > MAX_ALIASES) {
    stop(reading, node, at, `has more than ${MAX_ALIASES} aliases before it`);
    return null;
  }
  const target = reading.anchors.get(node.source);
  if (target !== undefined) return readNode(reading, target, { ...at, depth: at.depth + 1, alias: offset });
  // Its name is not quoted: it may be the beginning of a password that was to be in quotes.
  stop(
    reading,
    node,
    at,
    "is an alias of an anchor that is not before it (put text that begins with * in quotes)",
  );
  return null;
}

function readMapping(reading: Reading, node: YAMLMap, at: At): Record<string, unknown> {
  const mapping: Record<string, unknown> = Object.create(null);
  place(reading, at, node);
  for (const pair of node.items as Pair<Node | null, Node | null>[]) readPair(reading, mapping, pair, at);
  return mapping;
}

function readPair(
  reading: Reading,
  mapping: Record<string, unknown>,
  pair: Pair<Node | null, Node | null>,
  at: At,
) {
  const offset = at.alias ?? start(pair.key);
  const name = nameOf(pair.key);
  if (name === undefined) {
    reading.faults.push({ offset, key: at.key, message: "holds a key that is not plain text" });
    return;
  }
  const inside = below(at, name, memberKey(at.key, name));
  if (name in mapping) {
    reading.faults.push({ offset, key: inside.key, message: "stands here twice" });
    return;
  }
  reading.places.set(inside.pointer, {
    key: inside.key,
    keyOffset: offset,
    valueOffset: isWritten(pair.value) ? (at.alias ?? start(pair.value)) : offset,
  });
  if (pair.key !== null) rememberAnchor(reading, pair.key);
  mapping[name] = readNode(reading, pair.value, inside);
}

function readSequence(reading: Reading, node: YAMLSeq, at: At): unknown[] {
  place(reading, at, node);
  return (node.items as (Node | null)[]).map((item, index) => {
    const inside = below(at, String(index), `${at.key}[${index}]`);
    place(reading, inside, item);
    return readNode(reading, item, inside);
  });
}

function place(reading: Reading, at: At, node: Node | null): void {
  if (reading.places.has(at.pointer)) return;
  const offset = at.alias ?? start(node);
  reading.places.set(at.pointer, { key: at.key, keyOffset: offset, valueOffset: offset });
}

function below(at: At, name: string, key: string): At {
  return { ...at, pointer: childPointer(at.pointer, name), key, depth: at.depth + 1 };
}

function nameOf(key: Node | null): string | undefined {
  if (!isScalar(key)) return undefined;
  return typeof key.value === "string" ? key.value : (key.source ?? "");
}

/** `key:` with nothing behind it has a value, but no place of its own worth pointing at. */
function isWritten(node: Node | null): node is Node {
  return node !== null && !(isScalar(node) && node.value === null && (node.source ?? "") === "");
}

function start(node: Node | null): number {
  return node?.range?.[0] ?? 0;
}

/** The JSON pointer of a member. */
export function childPointer(pointer: string, name: string | number): string {
  return `${pointer}/${String(name).replaceAll("~", "~0").replaceAll("/", "~1")}`;
}

/** What is no plain name is not quoted: a file named by mistake may hold anything there. */
function memberKey(key: string, name: string): string {
  if (!/^[A-Za-z0-9_-][A-Za-z0-9._-]{0,59}$/.test(name)) return `${key}["…"]`;
  return key === "" ? name : `${key}.${name}`;
}

function splitPointer(pointer: string): { parent: string; name: string } {
  const cut = pointer.lastIndexOf("/");
  const name = pointer
    .slice(cut + 1)
    .replaceAll("~1", "/")
    .replaceAll("~0", "~");
  return { parent: pointer.slice(0, cut), name };
}

function keyAt(places: ReadonlyMap<string, Place>, pointer: string): string {
  const place = places.get(pointer);
  if (place !== undefined || pointer === "") return place?.key ?? "";
  const { parent, name } = splitPointer(pointer);
  return memberKey(keyAt(places, parent), name);
}

function offsetAt(places: ReadonlyMap<string, Place>, pointer: string, what: "key" | "value"): number {
  const place = places.get(pointer);
  if (place !== undefined) return what === "key" ? place.keyOffset : place.valueOffset;
  return pointer === "" ? 0 : offsetAt(places, splitPointer(pointer).parent, "value");
}

const QUOTES = "text that begins with a special character needs quotes";

/** The parser's own sentences can quote the file, so they are not used. */
const SYNTAX: Partial<Record<ErrorCode, string>> = {
  BAD_ALIAS: `is not a usable alias (${QUOTES})`,
  BAD_DIRECTIVE: "is not a YAML directive that Postern knows",
  BAD_DQ_ESCAPE: "has an unknown \\ escape inside \"…\"; '…' takes backslashes as they are",
  BAD_INDENT: "is indented differently from what it belongs to, or a closing } or ] is missing before it",
  BAD_SCALAR_START: `begins with a character that YAML reserves (${QUOTES})`,
  BLOCK_AS_IMPLICIT_KEY: "has a second ': ' on one line (text that holds ': ' needs quotes)",
  BLOCK_IN_FLOW: "has an indented block inside { } or [ ]",
  KEY_OVER_1024_CHARS: "has a key of more than 1024 characters; is a ':' missing?",
  MISSING_CHAR: "lacks a closing quote or bracket, a comma, or the space behind a ':'",
  MULTILINE_IMPLICIT_KEY: "has a key that goes over several lines; is a ':' missing?",
  MULTIPLE_DOCS: "has a second document ('---'); one file holds one configuration",
  RESOURCE_EXHAUSTION: "is nested too deep",
  TAB_AS_INDENT: "is indented with a tab; YAML wants spaces",
  TAG_RESOLVE_FAILED: `has a tag that Postern does not know (${QUOTES})`,
  UNEXPECTED_TOKEN: "does not belong here; is a ':' or an indent missing?",
};
