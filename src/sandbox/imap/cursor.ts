import type { Piece } from "./command-buffer.ts";
import { parseSequenceSet, type SequenceSet } from "./sequence-set.ts";

/** Not what the grammar allows. Thrown by the cursor, caught in `parseCommand` and nowhere else. */
export class SyntaxFault extends Error {
  override readonly name = "SyntaxFault";
}

/** RFC 3501 9: ATOM-CHAR, ASTRING-CHAR, list-char; a tag is an astring without "+", which would start a continuation. */
const ATOM = /[!#$&'+-[^-z|}~]+/y;
const ASTRING = /[!#$&'+-[\]^-z|}~]+/y;
const LIST_MAILBOX = /[!#-'*-[\]^-z|}~]+/y;
const TAG = /[!#$&',-[\]^-z|}~]+/y;

/** Walks over one command, element by element of RFC 3501's grammar. Text is latin1: a byte a character. */
export class Cursor {
  readonly #pieces: readonly Piece[];
  #index = 0;
  #at = 0;

  constructor(pieces: readonly Piece[]) {
    this.#pieces = pieces;
  }

  get #text(): string {
    const piece = this.#pieces[this.#index];
    return typeof piece === "string" ? piece : "";
  }

  get atEnd(): boolean {
    return this.#index >= this.#pieces.length - 1 && this.#at >= this.#text.length;
  }

  fail(expected: string): never {
    throw new SyntaxFault(`Expected ${expected}`);
  }

  /** True when the text goes on with this, which it does not consume. */
  sees(text: string): boolean {
    return this.#text.startsWith(text, this.#at);
  }

  accept(text: string): boolean {
    const seen = this.#text.slice(this.#at, this.#at + text.length).toUpperCase() === text;
    if (seen) this.#at += text.length;
    return seen;
  }

  expect(text: string): void {
    if (!this.accept(text)) this.fail(`"${text}"`);
  }

  space(): void {
    this.expect(" ");
  }

  end(): void {
    if (!this.atEnd) this.fail("the end of the command");
  }

  /** Text that matches a sticky pattern; the caller says what it was looking for. */
  match(pattern: RegExp, expected: string): string {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0];
    if (!found) this.fail(expected);
    this.#at += found.length;
    return found;
  }

  tag(): string {
    return this.match(TAG, "a tag");
  }

  atom(): string {
    return this.match(ATOM, "an atom");
  }

  word(): string {
    return this.atom().toUpperCase();
  }

  astring(): string {
    return this.#seesString() ? this.string() : this.match(ASTRING, "a string");
  }

  listMailbox(): string {
    return this.#seesString() ? this.string() : this.match(LIST_MAILBOX, "a mailbox pattern");
  }

  nstring(): string | undefined {
    return this.#seesString() ? this.string() : this.accept("NIL") ? undefined : this.fail("a string or NIL");
  }

  string(): string {
    return this.sees('"') ? this.#quoted() : this.literal().toString("latin1");
  }

  literal(): Buffer {
    const next = this.#pieces[this.#index + 1];
    if (this.#at < this.#text.length || !Buffer.isBuffer(next)) this.fail("a literal");
    this.#index += 2;
    this.#at = 0;
    return next;
  }

  number(): number {
    return Number(this.match(/\d{1,15}/y, "a number"));
  }

  sequenceSet(): SequenceSet {
    return parseSequenceSet(this.match(/[\d*:,]+/y, "a sequence set")) ?? this.fail("a sequence set");
  }

  /** `(element element …)`, possibly empty. */
  list<T>(element: () => T): T[] {
    this.expect("(");
    const elements: T[] = [];
    if (this.accept(")")) return elements;
    do elements.push(element());
    while (this.accept(" "));
    this.expect(")");
    return elements;
  }

  seesDigit(): boolean {
    return /\d/.test(this.#text.charAt(this.#at));
  }

  #seesString(): boolean {
    const literalFollows = this.#at >= this.#text.length && Buffer.isBuffer(this.#pieces[this.#index + 1]);
    return literalFollows || this.sees('"');
  }

  #quoted(): string {
    const quoted = this.match(/"(?:[^"\\]|\\["\\])*"/y, "a quoted string");
    if (quoted.includes("\0") || quoted.includes("\r")) this.fail("text in a quoted string");
    return quoted.slice(1, -1).replace(/\\(["\\])/g, "$1");
  }
}
