import type { Quota } from "./quota.ts";
import { StoreError } from "./store-error.ts";

export const SYSTEM_FLAGS = ["\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft"] as const;
const MAX_KEYWORDS = 100;
const MAX_KEYWORD_LENGTH = 100;

/** One message in one mailbox. Only its mailbox changes it. */
export interface Message {
  readonly uid: number;
  readonly raw: Buffer;
  readonly internalDate: Date;
  readonly flags: ReadonlySet<string>;
}

/** `origin` is whoever asked for the change, so that it need not be told what it did itself. */
export interface MailboxEvent {
  readonly kind: "added" | "expunged" | "flags";
  readonly message: Message;
  readonly origin: unknown;
}

export type FlagChange = "replace" | "add" | "remove";

interface NewMessage {
  readonly raw: Buffer;
  readonly flags: Iterable<string>;
  readonly internalDate: Date;
}

/** Messages in the order of their UIDs, and who watches them. */
export class Mailbox {
  readonly uidValidity: number;
  /** The RFC 6154 attribute, such as `\Sent`. */
  readonly specialUse: string | undefined;
  readonly #quota: Quota;
  readonly #watchers = new Set<(event: MailboxEvent) => void>();
  readonly #keywords = new Map<string, string>();
  readonly #recent = new Set<Message>();
  #messages: Message[] = [];
  #uidNext = 1;

  constructor(uidValidity: number, quota: Quota, specialUse?: string) {
    this.uidValidity = uidValidity;
    this.specialUse = specialUse;
    this.#quota = quota;
  }

  get messages(): readonly Message[] {
    return this.#messages;
  }

  get uidNext(): number {
    return this.#uidNext;
  }

  /** Every keyword ever used here, as first spelled. */
  get keywords(): readonly string[] {
    return [...this.#keywords.values()];
  }

  get recentCount(): number {
    return this.#recent.size;
  }

  get unseenCount(): number {
    return this.#messages.filter((message) => !message.flags.has("\\Seen")).length;
  }

  /** Returns the function that ends the watch. */
  watch(watcher: (event: MailboxEvent) => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  append(
    raw: Buffer,
    flags: Iterable<string> = [],
    internalDate: Date = new Date(),
    origin?: unknown,
  ): Message {
    const [message] = this.#addAll([{ raw, flags, internalDate }], origin, this.#quota);
    if (!message) throw new Error("an append adds one message");
    return message;
  }

  /** Copies all or nothing, in order; the copies come back in the same order. */
  copyTo(target: Mailbox, messages: readonly Message[], origin?: unknown): Message[] {
    return target.#addAll(messages, origin, target.#quota);
  }

  /** Moves those still here, and returns them beside what they became. Needs no room, so a full account can be tidied up. */
  moveTo(target: Mailbox, messages: readonly Message[], origin?: unknown): [from: Message, to: Message][] {
    if (target.#quota !== this.#quota) throw new StoreError("CANNOT", "Cannot move to another account");
    const wanted = new Set(messages);
    const sources = this.#messages.filter((message) => wanted.has(message));
    const moved = target.#addAll(sources, origin);
    this.#remove(sources, origin);
    return sources.flatMap((from, index) => {
      const to = moved[index];
      return to ? [[from, to]] : [];
    });
  }

  changeFlags(message: Message, change: FlagChange, names: Iterable<string>, origin?: unknown): void {
    // A flag on a message that someone else has just expunged goes nowhere, and that is no error.
    const flags = message.flags as Set<string>;
    const given = this.#canonicalFlags(names);
    const before = [...flags].sort().join(" ");
    if (change === "replace") flags.clear();
    for (const flag of given) {
      if (change === "remove") flags.delete(flag);
      else flags.add(flag);
    }
    if ([...flags].sort().join(" ") !== before) this.#tell({ kind: "flags", message, origin });
  }

  /** Those already gone are passed over: two sessions may expunge the same message. */
  expunge(messages: Iterable<Message>, origin?: unknown): void {
    for (const message of this.#remove(messages, origin)) this.#quota.give(message.raw.length);
  }

  /** RFC 3501 2.3.2: `\Recent` belongs to the first session that is told of the message. */
  claimRecent(message: Message): boolean {
    return this.#recent.delete(message);
  }

  #addAll(given: readonly NewMessage[], origin: unknown, charged?: Quota): Message[] {
    const sets = given.map((message) => this.#canonicalFlags(message.flags));
    charged?.take(given.map((message) => message.raw.length));
    const added = given.map(({ raw, internalDate }, index) => {
      const message: Message = { uid: this.#uidNext++, raw, internalDate, flags: new Set(sets[index]) };
      return message;
    });
    for (const message of added) {
      this.#messages.push(message);
      this.#recent.add(message);
      this.#tell({ kind: "added", message, origin });
    }
    return added;
  }

  #remove(messages: Iterable<Message>, origin: unknown): Message[] {
    const doomed = new Set(messages);
    const gone = this.#messages.filter((message) => doomed.has(message));
    this.#messages = this.#messages.filter((message) => !doomed.has(message));
    for (const message of gone) {
      this.#recent.delete(message);
      this.#tell({ kind: "expunged", message, origin });
    }
    return gone;
  }

  /** Flags compare without case (RFC 3501 2.3.2); the first spelling of a keyword is kept. */
  #canonicalFlags(names: Iterable<string>): string[] {
    return [...names].map((name) => {
      const key = name.toLowerCase();
      const known = SYSTEM_FLAGS.find((flag) => flag.toLowerCase() === key) ?? this.#keywords.get(key);
      if (known) return known;
      if (this.#keywords.size >= MAX_KEYWORDS || name.length > MAX_KEYWORD_LENGTH) {
        throw new StoreError("LIMIT", "Too many keywords");
      }
      this.#keywords.set(key, name);
      return name;
    });
  }

  #tell(event: MailboxEvent): void {
    for (const watcher of this.#watchers) watcher(event);
  }
}
