/** A word of a structured header field (RFC 5322 3.2, RFC 2045 5.1): a special character, or text. */
interface Token {
  readonly special: boolean;
  readonly text: string;
  /** White space or a comment stood before it. */
  readonly spaced: boolean;
}

/** `type/subtype; name=value`, as RFC 2045 has it for Content-Type and RFC 2183 for Content-Disposition. */
export interface ParameterizedValue {
  readonly value: string;
  readonly parameters: readonly (readonly [name: string, value: string])[];
}

/** RFC 3501 7.4.2: a group begins with a mailbox and no host, and ends with neither. */
export interface EnvelopeAddress {
  readonly name: string | undefined;
  readonly mailbox: string | undefined;
  readonly host: string | undefined;
}

const MAX_VALUE = 64 * 1024;
const MAX_PARAMETERS = 100;

/** What cuts one kind of field into tokens: its special characters, and a run of any others. */
interface Lexicon {
  readonly specials: string;
  readonly word: RegExp;
}

const MEDIA: Lexicon = { specials: ";=", word: /[^ \t(";=]+/y };
const ADDRESSES: Lexicon = { specials: ",:;<>@", word: /[^ \t(",:;<>@]+/y };

function tokenize(value: string, lexicon: Lexicon): Token[] {
  const text = value.slice(0, MAX_VALUE);
  const tokens: Token[] = [];
  for (let at = skipSpace(text, 0), from = 0; at < text.length; at = skipSpace(text, from)) {
    const spaced = at > from;
    const token = readToken(text, at, lexicon);
    tokens.push({ ...token, spaced });
    from = token.next;
  }
  return tokens;
}

function readToken(text: string, at: number, lexicon: Lexicon): Omit<Token, "spaced"> & { next: number } {
  const char = text.charAt(at);
  if (char === '"') return { special: false, ...readQuoted(text, at) };
  if (lexicon.specials.includes(char)) return { special: true, text: char, next: at + 1 };
  lexicon.word.lastIndex = at;
  const word = lexicon.word.exec(text)?.[0] ?? char;
  return { special: false, text: word, next: at + word.length };
}

/** White space and comments (RFC 5322 3.2.2). */
function skipSpace(text: string, from: number): number {
  let at = from;
  for (;;) {
    const char = text.charAt(at);
    if (char === " " || char === "\t") at++;
    else if (char === "(") at = skipComment(text, at);
    else return at;
  }
}

function skipComment(value: string, from: number): number {
  let depth = 0;
  for (let at = from; at < value.length; at++) {
    const char = value.charAt(at);
    if (char === "\\") at++;
    else if (char === "(") depth++;
    else if (char === ")" && --depth === 0) return at + 1;
  }
  return value.length;
}

function readQuoted(value: string, from: number): { text: string; next: number } {
  let text = "";
  for (let at = from + 1; at < value.length; at++) {
    const char = value.charAt(at);
    if (char === '"') return { text, next: at + 1 };
    if (char === "\\") at++;
    text += value.charAt(at);
  }
  return { text, next: value.length };
}

function isSpecial(token: Token | undefined, text: string): boolean {
  return token?.special === true && token.text === text;
}

export function parseParameterized(value: string): ParameterizedValue {
  const tokens = tokenize(value, MEDIA);
  const parameters: [string, string][] = [];
  const first = tokens[0];
  for (let at = 1; at < tokens.length && parameters.length < MAX_PARAMETERS; at++) {
    const [separator, name, equals, text] = tokens.slice(at, at + 4);
    if (!isSpecial(separator, ";") || !isSpecial(equals, "=") || !name || !text) continue;
    if (!name.special && !text.special) parameters.push([name.text.toLowerCase(), text.text]);
  }
  return { value: first && !first.special ? first.text : "", parameters };
}

/** Reads an address list (RFC 5322 3.4) leniently: what is not understood becomes part of a name. */
export function parseAddresses(value: string): EnvelopeAddress[] {
  const reader = new AddressReader();
  for (const token of tokenize(value, ADDRESSES)) reader.take(token);
  return reader.finish();
}

class AddressReader {
  readonly #addresses: EnvelopeAddress[] = [];
  #pending: Token[] = [];
  /** What stands between `<` and `>`. */
  #angle: Token[] | undefined;
  #inAngle = false;

  take(token: Token): void {
    if (isSpecial(token, "<")) {
      this.#inAngle = true;
      this.#angle = [];
    } else if (isSpecial(token, ">")) this.#inAngle = false;
    else if (this.#inAngle) this.#angle?.push(token);
    else if (isSpecial(token, ",")) this.#endAddress();
    else if (isSpecial(token, ":")) this.#beginGroup();
    else if (isSpecial(token, ";")) this.#endGroup();
    else this.#pending.push(token);
  }

  finish(): EnvelopeAddress[] {
    this.#endAddress();
    return this.#addresses;
  }

  #endAddress(): void {
    if (this.#angle || this.#pending.length > 0) this.#addresses.push(toAddress(this.#pending, this.#angle));
    this.#pending = [];
    this.#angle = undefined;
    this.#inAngle = false;
  }

  #beginGroup(): void {
    this.#addresses.push({ name: undefined, mailbox: phrase(this.#pending), host: undefined });
    this.#pending = [];
  }

  #endGroup(): void {
    this.#endAddress();
    this.#addresses.push({ name: undefined, mailbox: undefined, host: undefined });
  }
}

function phrase(tokens: readonly Token[]): string {
  return tokens.map((token, index) => (index > 0 && token.spaced ? " " : "") + token.text).join("");
}

function toAddress(before: readonly Token[], angle: readonly Token[] | undefined): EnvelopeAddress {
  const spec = angle ? withoutRoute(angle) : before;
  const at = spec.findLastIndex((token) => isSpecial(token, "@"));
  const join = (tokens: readonly Token[]): string => tokens.map((token) => token.text).join("");
  const name = angle && before.length > 0 ? phrase(before) : undefined;
  // A mailbox without a host would read as the start of a group (RFC 3501 7.4.2), so the host is empty, not absent.
  if (at < 0) return { name, mailbox: angle ? join(spec) : phrase(spec), host: "" };
  return { name, mailbox: join(spec.slice(0, at)), host: join(spec.slice(at + 1)) };
}

/** RFC 5322 4.4: `<@relay,@relay:user@host>` is an obsolete way to say `<user@host>`. */
function withoutRoute(tokens: readonly Token[]): readonly Token[] {
  const colon = tokens.findLastIndex((token) => isSpecial(token, ":"));
  return tokens.slice(colon + 1);
}
