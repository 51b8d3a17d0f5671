import type { Channel } from "../../io/channel.ts";
import { formatReply, type Reply } from "./grammar.ts";

/** One reply that the client waits for: the backend's, or ours in its turn. */
export interface Slot {
  /** The backend's reply, or undefined when it will never come. */
  readonly reply: Promise<Reply | undefined>;
}

interface Waiting extends Slot {
  text: string | undefined;
  readonly settle: (reply: Reply | undefined) => void;
  /** What the client hears instead of the backend's own words. */
  readonly instead: ((reply: Reply) => string) | undefined;
}

/** RFC 2920: replies in the order of the commands, one each, whoever gives them. */
export class ReplyQueue {
  readonly #client: Channel;
  readonly #slots: Waiting[] = [];
  #writing: Promise<void> = Promise.resolve();
  #failure: unknown;
  /** What everybody hears who still asks a backend that will not answer any more. */
  #given: string | undefined;

  constructor(client: Channel) {
    this.#client = client;
  }

  /** Replies that are still to be heard. */
  get length(): number {
    return this.#slots.length;
  }

  /** Why the client could not be told something, if so. */
  get failure(): unknown {
    return this.#failure;
  }

  /** Takes its turn for a reply of the backend. */
  expect(instead?: (reply: Reply) => string): Slot {
    const { promise, resolve } = Promise.withResolvers<Reply | undefined>();
    const slot: Waiting = { reply: promise, settle: resolve, instead, text: this.#given };
    this.#slots.push(slot);
    if (slot.text !== undefined) {
      slot.settle(undefined);
      void this.#flush();
    }
    return slot;
  }

  /** Takes its turn for a reply of our own. */
  async say(text: string): Promise<void> {
    this.#slots.push({ reply: Promise.resolve(undefined), settle: () => {}, instead: undefined, text });
    await this.#flush();
  }

  /** The backend's next reply; false when nobody waits for one. */
  async answer(reply: Reply): Promise<boolean> {
    const slot = this.#next();
    if (!slot) return false;
    slot.text = slot.instead ? slot.instead(reply) : formatReply(reply);
    slot.settle(reply);
    await this.#flush();
    return true;
  }

  /** No further reply will come: whoever waits, or asks from now on, hears `text`. */
  async giveUp(text: string): Promise<void> {
    this.#given = text;
    for (let slot = this.#next(); slot; slot = this.#next()) {
      slot.text = text;
      slot.settle(undefined);
    }
    await this.#flush();
  }

  /** Settles when nobody waits for a reply any more. */
  async drained(): Promise<void> {
    for (let slot = this.#next(); slot; slot = this.#next()) await slot.reply;
    await this.#flush();
  }

  #next(): Waiting | undefined {
    return this.#slots.find((slot) => slot.text === undefined);
  }

  async #flush(): Promise<void> {
    let text = "";
    while (this.#slots[0]?.text !== undefined) text += this.#slots.shift()?.text;
    // Two writers, the backend's replies and our own, keep their order by waiting for each other.
    // A client that is gone is noticed by whoever reads from it; the backend's replies are still worth having.
    if (text)
      this.#writing = this.#writing
        .then(() => this.#tell(text))
        .catch((error: unknown) => {
          this.#failure ??= error;
        });
    await this.#writing;
  }

  /** A client that has not taken one reply in its time is not waited for with the next. */
  async #tell(text: string): Promise<void> {
    if (this.#failure === undefined) await this.#client.write(Buffer.from(text, "latin1"));
  }
}
