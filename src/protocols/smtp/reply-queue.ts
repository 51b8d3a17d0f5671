import type { Channel } from "../../io/channel.ts";
import { formatReply, type Reply } from "./grammar.ts";

/** How a reply of the backend is taken. */
export interface Taking {
  /** What the client hears instead of the backend's own words. */
  readonly instead?: (reply: Reply) => string;
  /** Hears the reply the moment that it is there; undefined when it will never come. */
  readonly heard?: (reply: Reply | undefined) => void;
}

/** One reply that the client waits for: the backend's, or ours in its turn. */
export class Slot {
  /** What the client is to hear, once that is known. */
  text: string | undefined;
  #reply: Reply | undefined;
  readonly #taking: Taking;
  #waiting: PromiseWithResolvers<Reply | undefined> | undefined;

  constructor(taking: Taking, text?: string) {
    this.#taking = taking;
    this.text = text;
  }

  /** The backend's reply, or undefined when it will never come. */
  get reply(): Promise<Reply | undefined> {
    if (this.text !== undefined) return Promise.resolve(this.#reply);
    this.#waiting ??= Promise.withResolvers();
    return this.#waiting.promise;
  }

  answer(reply: Reply): void {
    this.#settle(this.#taking.instead?.(reply) ?? formatReply(reply), reply);
  }

  giveUp(text: string): void {
    this.#settle(text, undefined);
  }

  #settle(text: string, reply: Reply | undefined): void {
    this.text = text;
    this.#reply = reply;
    this.#taking.heard?.(reply);
    this.#waiting?.resolve(reply);
  }
}

const PLAIN: Taking = {};

/** RFC 2920: replies in the order of the commands, one each, whoever gives them. */
export class ReplyQueue {
  readonly #client: Channel;
  readonly #slots: Slot[] = [];
  /** Where in the slots the first one is that still waits for the backend. */
  #unheard = 0;
  /** Settles when the client has taken enough to be told more. */
  #behind: Promise<void> | undefined;
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
  expect(taking: Taking = PLAIN): Slot {
    const slot = new Slot(taking);
    this.#slots.push(slot);
    if (this.#given !== undefined) {
      slot.giveUp(this.#given);
      void this.flush();
    }
    return slot;
  }

  /** Takes its turn for a reply of our own. */
  say(text: string): Promise<void> | undefined {
    this.#slots.push(new Slot(PLAIN, text));
    return this.flush();
  }

  /** The backend's next reply, to be told with the next `flush`; false when nobody waits for one. */
  answer(reply: Reply): boolean {
    const slot = this.#next();
    slot?.answer(reply);
    return slot !== undefined;
  }

  /** No further reply will come: whoever waits, or asks from now on, hears `text`. */
  giveUp(text: string): Promise<void> | undefined {
    this.#given = text;
    for (let slot = this.#next(); slot; slot = this.#next()) slot.giveUp(text);
    return this.flush();
  }

  /** Settles when nobody waits for a reply any more. */
  async drained(): Promise<void> {
    for (let slot = this.#next(); slot; slot = this.#next()) await slot.reply;
    await this.flush();
  }

  /**
   * Tells the client what it can be told, in one write; a promise where it does not take that at once. A client that
   * is gone is noticed by whoever reads from it: the backend's replies are still worth having.
   */
  flush(): Promise<void> | undefined {
    this.#tell(this.#ready());
    if (this.#client.behind && this.#failure === undefined) this.#behind ??= this.#catchUp();
    return this.#behind;
  }

  #next(): Slot | undefined {
    while (this.#slots[this.#unheard]?.text !== undefined) this.#unheard += 1;
    return this.#slots[this.#unheard];
  }

  #ready(): string {
    let text = "";
    let told = 0;
    for (; this.#slots[told]?.text !== undefined; told += 1) text += this.#slots[told]?.text;
    this.#slots.splice(0, told);
    this.#unheard = Math.max(this.#unheard - told, 0);
    return text;
  }

  /** A client that has not taken one reply in its time is not waited for with the next. */
  #tell(text: string): void {
    if (text === "" || this.#failure !== undefined) return;
    try {
      this.#client.send(text, "latin1");
    } catch (error) {
      this.#failure = error;
    }
  }

  async #catchUp(): Promise<void> {
    try {
      await this.#client.drained();
    } catch (error) {
      this.#failure ??= error;
    } finally {
      this.#behind = undefined;
    }
  }
}
