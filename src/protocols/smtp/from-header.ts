const HEADER_END = Buffer.from("\r\n\r\n");
/** A header longer than this is not looked through; real ones have a tenth of it. */
const MAX_HEADER = 64 * 1024;
/** Stands for the addresses of a header that was not read: nobody's, so only who may send as anybody may send it. */
const UNREAD = "(a header too long)";

/** The addresses of every From field (RFC 5322 3.6.2) of a message's header, as they are written. */
export function fromAddresses(header: string): string[] {
  const unfolded = header.replace(/\r\n(?=[ \t])/g, "");
  const written = [...unfolded.matchAll(/^From[ \t]*:(.*)$/gim)].flatMap(([, value = ""]) =>
    mailboxes(value),
  );
  // RFC 6532: the header is UTF-8, and Latin-1 was only the way to look through its bytes.
  return written.map((address) => Buffer.from(address, "latin1").toString("utf8"));
}

function withoutSpaces(text: string): string {
  return text.replace(/[ \t\r\n]+/g, "");
}

/**
 * The addresses of an address list, RFC 5322 3.4: what stands in angle brackets, or else the words of each item.
 * Display names, comments and quoted strings are not addresses, whatever they look like; but where programs may
 * differ on what they see (something behind the brackets, a quote that never closes), it counts as an address.
 */
function mailboxes(list: string): string[] {
  const addresses: string[] = [];
  let bare = "";
  let angle: string | undefined;
  let found = false;
  const finish = (): void => {
    if (found ? bare.includes("@") : bare.trim() !== "") addresses.push(withoutSpaces(bare));
    bare = "";
    found = false;
  };
  for (let at = 0; at < list.length; ) {
    const sign = list[at];
    if (sign === '"' || sign === "(") {
      const end = sign === '"' ? endOfQuoted(list, at) : endOfComment(list, at);
      if (end === undefined) {
        if (list.includes("@", at)) addresses.push(withoutSpaces(list.slice(at)));
        break;
      }
      // A quoted local part is part of an address; a comment is part of nothing.
      if (sign === '"' && angle !== undefined) angle += list.slice(at, end);
      else if (sign === '"') bare += list.slice(at, end);
      at = end;
      continue;
    }
    if (sign === "<") angle = "";
    else if (sign === ">" && angle !== undefined) {
      addresses.push(withoutSpaces(angle));
      angle = undefined;
      found = true;
      bare = "";
    } else if (angle !== undefined) angle += sign;
    else if (sign === "," || sign === ";") finish();
    else if (sign === ":") {
      if (bare.includes("@")) addresses.push(withoutSpaces(bare));
      bare = "";
    } else bare += sign;
    at += 1;
  }
  // An angle that never closes is still what some program will show.
  if (angle !== undefined) {
    addresses.push(withoutSpaces(angle));
    found = true;
  }
  finish();
  return addresses;
}

function endOfQuoted(text: string, start: number): number | undefined {
  for (let at = start + 1; at < text.length; at += 1) {
    if (text[at] === "\\") at += 1;
    else if (text[at] === '"') return at + 1;
  }
  return undefined;
}

function endOfComment(text: string, start: number): number | undefined {
  let depth = 0;
  for (let at = start; at < text.length; at += 1) {
    if (text[at] === "\\") at += 1;
    else if (text[at] === "(") depth += 1;
    else if (text[at] === ")") {
      depth -= 1;
      if (depth === 0) return at + 1;
    }
  }
  return undefined;
}

/**
 * Holds a message back until its header is whole and its From is judged, so that not a byte of what is refused
 * reaches a backend. Bounded: a header that does not end in time is nobody's.
 */
export class FromGate {
  readonly #allows: (addresses: readonly string[]) => boolean;
  #held: Buffer[] = [];
  #size = 0;
  #open = false;

  /** `allows` is asked once, with all addresses; undefined content is never asked for. */
  constructor(allows: (addresses: readonly string[]) => boolean) {
    this.#allows = allows;
  }

  /** Whether anything is still held back. */
  get holds(): boolean {
    return !this.#open && this.#size > 0;
  }

  /** What may pass now; `last` when the content ends with it. */
  admit(pieces: readonly Buffer[], last: boolean): readonly Buffer[] | "refused" {
    if (this.#open) return pieces;
    // Not push: content of bare line ends has more pieces than a call may have arguments.
    this.#held = this.#held.concat(pieces);
    this.#size += pieces.reduce((sum, piece) => sum + piece.length, 0);
    const whole = Buffer.concat(this.#held);
    const end = whole.indexOf(HEADER_END);
    const header = whole.subarray(0, end === -1 ? whole.length : end);
    if (end === -1 && !last && header.length <= MAX_HEADER) {
      this.#held = [whole];
      return [];
    }
    const read = header.length <= MAX_HEADER;
    return this.#judge(whole, read ? fromAddresses(header.toString("latin1")) : [UNREAD]);
  }

  /** The same when what is held has to pass or be refused before its header has ended. */
  giveUp(): readonly Buffer[] | "refused" {
    return this.#judge(Buffer.concat(this.#held), [UNREAD]);
  }

  #judge(whole: Buffer, addresses: readonly string[]): readonly Buffer[] | "refused" {
    if (!this.#allows(addresses)) return "refused";
    this.#open = true;
    this.#held = [];
    return [whole];
  }
}
