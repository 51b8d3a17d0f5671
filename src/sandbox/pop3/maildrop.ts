import { readHeader } from "../header.ts";
import type { Mailbox, Message } from "../mailbox.ts";

const CRLF = Buffer.from("\r\n");

/** A mailbox as one session sees it: RFC 1939 3 numbers the messages at login, and nothing moves until QUIT. */
export class Maildrop {
  readonly #mailbox: Mailbox;
  readonly #messages: readonly Message[];
  readonly #deleted = new Set<Message>();

  constructor(mailbox: Mailbox) {
    this.#mailbox = mailbox;
    this.#messages = [...mailbox.messages];
  }

  /** The messages that are not deleted, each with its number. */
  get entries(): readonly (readonly [number: number, message: Message])[] {
    return this.#messages
      .map((message, index) => [index + 1, message] as const)
      .filter(([, message]) => !this.#deleted.has(message));
  }

  get octets(): number {
    return this.entries.reduce((sum, [, message]) => sum + octetsOf(message), 0);
  }

  find(number: number): Message | undefined {
    const message = this.#messages[number - 1];
    return message && !this.#deleted.has(message) ? message : undefined;
  }

  delete(message: Message): void {
    this.#deleted.add(message);
  }

  reset(): void {
    this.#deleted.clear();
  }

  /** RFC 1939 6: the UPDATE state, which only QUIT leads to. */
  update(): void {
    this.#mailbox.expunge(this.#deleted);
  }

  /** RFC 1939 7: of this message for ever, whatever session asks. */
  uniqueId(message: Message): string {
    return `${this.#mailbox.uidValidity.toString(16)}.${message.uid.toString(16)}`;
  }
}

/** As RETR sends it, before its dots are stuffed. */
export function octetsOf({ raw }: Message): number {
  return raw.length + (endsInCrlf(raw) ? 0 : CRLF.length);
}

/** RFC 1939 3: the lines of a multi-line response and its end. */
export function multiLine(content: Buffer): Buffer {
  const stuffed = content.toString("latin1").replace(/(^|\n)\./g, "$1..");
  return Buffer.from(`${stuffed}${endsInCrlf(content) ? "" : "\r\n"}.\r\n`, "latin1");
}

/** The header, the blank line, and this many lines of the body. */
export function topOf({ raw }: Message, lines: number): Buffer {
  let end = readHeader(raw, 0, raw.length).end;
  for (let line = 0; line < lines && end < raw.length; line += 1) {
    const next = raw.indexOf(0x0a, end);
    end = next === -1 ? raw.length : next + 1;
  }
  return raw.subarray(0, end);
}

function endsInCrlf(raw: Buffer): boolean {
  return raw.length === 0 || raw.subarray(-2).equals(CRLF);
}
