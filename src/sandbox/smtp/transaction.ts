import type { Account } from "../account.ts";
import type { Mailbox, Message } from "../mailbox.ts";
import { MESSAGE_BYTES } from "../quota.ts";
import { Content } from "./content.ts";

/** What the store takes with the fields that we put on top. */
export const MAX_CONTENT = MESSAGE_BYTES - 1024;

/** RFC 5321 3.3: one message on its way, from MAIL to the end of its content. */
export class Transaction {
  readonly reversePath: string;
  /** RFC 6531: MAIL said SMTPUTF8. */
  readonly isInternational: boolean;
  /** Whoever is named twice gets it once. */
  readonly recipients = new Set<Account>();
  /** RFC 3030 2: a first BDAT has come, so there can be no DATA and no more recipients. */
  hasChunks = false;
  readonly #content = new Content(MAX_CONTENT);

  constructor(reversePath: string, isInternational: boolean) {
    this.reversePath = reversePath;
    this.isInternational = isInternational;
  }

  get isTooLarge(): boolean {
    return this.#content.isTooLarge;
  }

  readonly take = (piece: Buffer): void => this.#content.push(piece);

  /** To every recipient, or to none: a client is given one reply for all. */
  deliver(trace: string): void {
    const message = Buffer.concat([Buffer.from(trace), this.#content.bytes]);
    const done: [mailbox: Mailbox, message: Message][] = [];
    try {
      for (const { inbox } of this.recipients) done.push([inbox, inbox.append(message)]);
    } catch (error) {
      for (const [mailbox, delivered] of done) mailbox.expunge([delivered]);
      throw error;
    }
  }
}
