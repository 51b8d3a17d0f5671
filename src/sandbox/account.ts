import { Mailbox } from "./mailbox.ts";
import { Quota } from "./quota.ts";
import { StoreError } from "./store-error.ts";

/** Between the levels of a mailbox name. */
export const DELIMITER = "/";
const MAX_MAILBOXES = 500;
const MAX_SUBSCRIPTIONS = 1000;
const MAX_NAME_LENGTH = 250;
const SPECIAL_USE = ["Drafts", "Sent", "Trash", "Junk", "Archive"];

/** RFC 3501 5.1: INBOX is one name in any case, and so is the first level of names below it. */
export function normalName(name: string): string {
  const [first = "", ...rest] = name.split(DELIMITER);
  return first.toUpperCase() === "INBOX" ? ["INBOX", ...rest].join(DELIMITER) : name;
}

function superiors(name: string): string[] {
  const levels = name.split(DELIMITER);
  return levels.slice(1).map((_, index) => levels.slice(0, index + 1).join(DELIMITER));
}

/** One user's mailboxes by name. A superior of a mailbox is always a mailbox too. */
export class Account {
  readonly name: string;
  readonly quota = new Quota();
  readonly #mailboxes = new Map<string, Mailbox>();
  readonly #subscriptions = new Set<string>();
  #nextUidValidity: number;

  constructor(name: string, uidValidity = Math.floor(Date.now() / 1000)) {
    this.name = name;
    this.#nextUidValidity = uidValidity;
    this.#add("INBOX");
    for (const use of SPECIAL_USE) this.#add(use, `\\${use}`);
    for (const mailbox of this.#mailboxes.keys()) this.subscribe(mailbox);
  }

  get mailboxNames(): string[] {
    return [...this.#mailboxes.keys()];
  }

  get subscriptions(): string[] {
    return [...this.#subscriptions];
  }

  find(name: string): Mailbox | undefined {
    return this.#mailboxes.get(normalName(name));
  }

  get(name: string): Mailbox {
    const mailbox = this.find(name);
    if (!mailbox) throw new StoreError("NONEXISTENT", "No such mailbox");
    return mailbox;
  }

  get inbox(): Mailbox {
    return this.get("INBOX");
  }

  hasChildren(name: string): boolean {
    return this.#inferiors(normalName(name)).length > 0;
  }

  create(given: string): Mailbox {
    // RFC 3501 6.3.3: a trailing separator only says that inferior names will follow.
    const name = normalName(given.endsWith(DELIMITER) ? given.slice(0, -1) : given);
    checkName(name);
    if (this.#mailboxes.has(name)) throw new StoreError("ALREADYEXISTS", "Mailbox exists already");
    this.#createSuperiors(name);
    return this.#add(name);
  }

  delete(given: string): void {
    const name = normalName(given);
    const mailbox = this.get(name);
    if (name === "INBOX") throw new StoreError("CANNOT", "INBOX stays");
    if (this.hasChildren(name)) throw new StoreError("HASCHILDREN", "Mailbox has inferior mailboxes");
    this.#mailboxes.delete(name);
    mailbox.expunge(mailbox.messages);
  }

  rename(from: string, to: string): void {
    const [source, target] = [normalName(from), normalName(to)];
    const mailbox = this.get(source);
    checkName(target);
    if (this.#mailboxes.has(target)) throw new StoreError("ALREADYEXISTS", "Mailbox exists already");
    if (source === "INBOX") this.#moveInboxTo(target);
    else this.#renameTree(source, target, mailbox);
  }

  subscribe(name: string): void {
    checkName(normalName(name));
    if (this.#subscriptions.size >= MAX_SUBSCRIPTIONS)
      throw new StoreError("LIMIT", "Too many subscriptions");
    this.#subscriptions.add(normalName(name));
  }

  unsubscribe(name: string): void {
    this.#subscriptions.delete(normalName(name));
  }

  isSubscribed(name: string): boolean {
    return this.#subscriptions.has(normalName(name));
  }

  /** RFC 3501 6.3.5: renaming INBOX moves its messages away and leaves it, and its inferiors, in place. */
  #moveInboxTo(target: string): void {
    const created = this.create(target);
    this.inbox.moveTo(created, this.inbox.messages);
  }

  #renameTree(source: string, target: string, mailbox: Mailbox): void {
    if (target.startsWith(source + DELIMITER)) throw new StoreError("CANNOT", "A mailbox cannot hold itself");
    const inferiors = this.#inferiors(source);
    for (const name of inferiors) checkName(target + name.slice(source.length));
    this.#createSuperiors(target);
    this.#mailboxes.delete(source);
    this.#mailboxes.set(target, mailbox);
    for (const name of inferiors) {
      const moved = this.get(name);
      this.#mailboxes.delete(name);
      this.#mailboxes.set(target + name.slice(source.length), moved);
    }
  }

  #inferiors(name: string): string[] {
    return this.mailboxNames.filter((other) => other.startsWith(name + DELIMITER));
  }

  #createSuperiors(name: string): void {
    for (const superior of superiors(name)) if (!this.#mailboxes.has(superior)) this.#add(superior);
  }

  #add(name: string, specialUse?: string): Mailbox {
    if (this.#mailboxes.size >= MAX_MAILBOXES) throw new StoreError("LIMIT", "Too many mailboxes");
    // RFC 3501 2.3.1.1: no two mailboxes ever made here share a value, so a name made again is never confused.
    const mailbox = new Mailbox(this.#nextUidValidity++, this.quota, specialUse);
    this.#mailboxes.set(name, mailbox);
    return mailbox;
  }
}

/** Names are modified UTF-7 and pass through untouched, so all of them are printable ASCII (RFC 3501 5.1.3). */
function checkName(name: string): void {
  const levels = name.split(DELIMITER);
  if (name.length > MAX_NAME_LENGTH) throw new StoreError("LIMIT", "Mailbox name is too long");
  if (!/^[\x20-\x7e]+$/.test(name) || /[%*]/.test(name) || levels.includes("")) {
    throw new StoreError("CANNOT", "Not a mailbox name");
  }
}
