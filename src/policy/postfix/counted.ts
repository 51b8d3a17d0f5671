import { createHash } from "node:crypto";

/** What has been counted of one message. */
interface Message {
  readonly recipients: Set<string>;
  whole: boolean;
  bytes: boolean;
}

/** How much is remembered at once, messages and recipients together: some megabytes. */
const PLACES = 50_000;

/**
 * What of which message has been counted, so that whoever asks twice (in two lists of restrictions, or again after a
 * lost connection) is counted once. The oldest is forgotten first.
 */
export class CountedMail {
  readonly #messages = new Map<string, Message>();
  readonly #places: number;
  #taken = 0;

  constructor(places = PLACES) {
    this.#places = places;
  }

  get size(): number {
    return this.#taken;
  }

  hasRecipient(instance: string | undefined, recipient: string): boolean {
    return this.#find(instance)?.recipients.has(digest(recipient)) ?? false;
  }

  /** Whether they need not be counted with their message: it did so itself, or they came one by one. */
  hasRecipients(instance: string | undefined): boolean {
    const message = this.#find(instance);
    return message !== undefined && (message.whole || message.recipients.size > 0);
  }

  hasMessage(instance: string | undefined): boolean {
    return this.#find(instance)?.whole ?? false;
  }

  hasBytes(instance: string | undefined): boolean {
    return this.#find(instance)?.bytes ?? false;
  }

  addRecipient(instance: string | undefined, recipient: string): void {
    const message = this.#touch(instance);
    const sum = digest(recipient);
    if (!message || message.recipients.has(sum)) return;
    message.recipients.add(sum);
    this.#taken += 1;
    this.#makeRoom();
  }

  /** The message with its recipients, and with its bytes where they are known. */
  addMessage(instance: string | undefined, bytes: boolean): void {
    const message = this.#touch(instance);
    if (!message) return;
    message.whole = true;
    message.bytes ||= bytes;
    this.#makeRoom();
  }

  #find(instance: string | undefined): Message | undefined {
    return instance === undefined ? undefined : this.#messages.get(digest(instance));
  }

  /** The newest from now on. */
  #touch(instance: string | undefined): Message | undefined {
    if (instance === undefined) return undefined;
    const key = digest(instance);
    const known = this.#messages.get(key);
    const message = known ?? { recipients: new Set(), whole: false, bytes: false };
    if (known) this.#messages.delete(key);
    else this.#taken += 1;
    this.#messages.set(key, message);
    return message;
  }

  #makeRoom(): void {
    for (const [key, { recipients }] of this.#messages) {
      if (this.#taken <= this.#places) return;
      this.#messages.delete(key);
      this.#taken -= 1 + recipients.size;
    }
  }
}

/** As short whatever a client says, and nobody's address. */
function digest(text: string): string {
  return createHash("sha256").update(text).digest("base64").slice(0, 22);
}
