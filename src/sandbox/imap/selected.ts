import { type Mailbox, type MailboxEvent, type Message, SYSTEM_FLAGS } from "../mailbox.ts";
import { formatFlags } from "./format.ts";
import { resolveSet, type SequenceSet } from "./sequence-set.ts";

/** A message as one session sees it. */
export interface Seen {
  readonly sequence: number;
  readonly message: Message;
}

/**
 * One session's view of its mailbox. It changes only in `takeUpdates`, so that a message keeps its sequence number
 * until the client has been told otherwise, whatever other sessions do meanwhile (RFC 3501 7.4.1).
 */
export class Selected {
  readonly mailbox: Mailbox;
  readonly readOnly: boolean;
  /** Called when there is something to tell. */
  onChange: (() => void) | undefined;
  readonly #recent = new Set<Message>();
  readonly #added = new Set<Message>();
  readonly #expunged = new Set<Message>();
  readonly #changed = new Set<Message>();
  readonly #unwatch: () => void;
  #view: Message[];
  #keywordsTold: number;

  constructor(mailbox: Mailbox, readOnly: boolean) {
    this.mailbox = mailbox;
    this.readOnly = readOnly;
    this.#view = [...mailbox.messages];
    this.#keywordsTold = mailbox.keywords.length;
    for (const message of this.#view) this.#claimRecent(message);
    this.#unwatch = mailbox.watch((event) => this.#note(event));
  }

  get size(): number {
    return this.#view.length;
  }

  get recentCount(): number {
    return this.readOnly ? this.mailbox.recentCount : this.#recent.size;
  }

  get firstUnseen(): number | undefined {
    const index = this.#view.findIndex((message) => !message.flags.has("\\Seen"));
    return index < 0 ? undefined : index + 1;
  }

  release(): void {
    this.#unwatch();
  }

  isRecent(message: Message): boolean {
    return this.#recent.has(message);
  }

  flagsOf(message: Message): string {
    return formatFlags(this.isRecent(message) ? [...message.flags, "\\Recent"] : message.flags);
  }

  all(): Seen[] {
    return this.#view.map((message, index) => ({ message, sequence: index + 1 }));
  }

  /** RFC 3501 9, seq-number: undefined where a number is no message; UIDs that are none are passed over. */
  pick(set: SequenceSet, uid: boolean): Seen[] | undefined {
    if (this.#view.length === 0) return [];
    if (uid)
      return resolveSet(set, this.#view.at(-1)?.uid ?? 0).flatMap(([from, to]) => this.#byUid(from, to));
    const ranges = resolveSet(set, this.#view.length);
    if ((ranges.at(-1)?.[1] ?? 0) > this.#view.length) return undefined;
    return ranges.flatMap(([from, to]) => this.#slice(from - 1, to));
  }

  /** Untagged responses for all that changed; the view moves on with them. Expunges wait unless they are allowed. */
  takeUpdates(mayExpunge: boolean): string {
    const lines = mayExpunge ? this.#takeExpunged() : [];
    if (this.#added.size > 0) {
      for (const message of this.#added) {
        this.#claimRecent(message);
        this.#view.push(message);
      }
      this.#added.clear();
      lines.push(`* ${this.size} EXISTS`, `* ${this.recentCount} RECENT`);
    }
    const keywords = this.takeKeywords();
    for (const message of this.#changed) {
      const index = this.#indexOfUid(message.uid);
      if (this.#view[index] !== message) continue;
      lines.push(`* ${index + 1} FETCH (FLAGS ${this.flagsOf(message)})`);
    }
    this.#changed.clear();
    return keywords + lines.map((line) => `${line}\r\n`).join("");
  }

  /** RFC 3501 7.2.6: a keyword that is new to the mailbox is announced before it is used. */
  takeKeywords(): string {
    if (this.mailbox.keywords.length === this.#keywordsTold) return "";
    this.#keywordsTold = this.mailbox.keywords.length;
    return this.describeFlags();
  }

  describeFlags(): string {
    const flags = [...SYSTEM_FLAGS, ...this.mailbox.keywords];
    const permanent = this.readOnly ? [] : [...flags, "\\*"];
    return `* FLAGS ${formatFlags(flags)}\r\n* OK [PERMANENTFLAGS ${formatFlags(permanent)}] Flags that stay\r\n`;
  }

  #note({ kind, message, origin }: MailboxEvent): void {
    if (kind === "added") this.#added.add(message);
    else if (kind === "expunged") this.#noteExpunged(message);
    else if (origin !== this) this.#changed.add(message);
    this.onChange?.();
  }

  #noteExpunged(message: Message): void {
    if (!this.#added.delete(message)) this.#expunged.add(message);
  }

  /** From the last to the first, so that no announced number shifts another. */
  #takeExpunged(): string[] {
    if (this.#expunged.size === 0) return [];
    const gone = this.all().filter(({ message }) => this.#expunged.has(message));
    this.#view = this.#view.filter((message) => !this.#expunged.has(message));
    for (const message of this.#expunged) this.#recent.delete(message);
    this.#expunged.clear();
    return gone.reverse().map(({ sequence }) => `* ${sequence} EXPUNGE`);
  }

  #claimRecent(message: Message): void {
    // RFC 3501 6.3.2: EXAMINE must not take \Recent from the session that will SELECT.
    if (!this.readOnly && this.mailbox.claimRecent(message)) this.#recent.add(message);
  }

  #byUid(from: number, to: number): Seen[] {
    return this.#slice(this.#indexOfUid(from), this.#indexOfUid(to + 1));
  }

  #slice(from: number, to: number): Seen[] {
    return this.#view.slice(from, to).map((message, index) => ({ message, sequence: from + index + 1 }));
  }

  /** Where this UID is in the view, or would be. */
  #indexOfUid(uid: number): number {
    let [low, high] = [0, this.#view.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#view[middle]?.uid ?? 0) < uid) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
