import { ChannelClosed } from "../../io/channel.ts";
import { Refused } from "../../refusal.ts";
import type { UpstreamLine } from "../../session/protocol.ts";
import { Extensions } from "./extensions.ts";
import { envelopeReply } from "./replies.ts";
import type { ReplyQueue, Slot, Taking } from "./reply-queue.ts";
import { ReplyReader } from "./upstream.ts";

/** RFC 5321 4.5.3.2.6: what a backend may take with a message that it has whole, in milliseconds. */
export const PATIENCE = 10 * 60_000;
/** Commands that are held back to be written together, in bytes. */
const MAX_HELD = 8 * 1024;

const tooSlow = (): Refused => new Refused("unavailable", "the backend took too long");

/** The backend's end of a session that carries mail: commands go out in few writes, and replies come back in turn. */
export class BackendLine {
  readonly offers: Extensions;
  readonly #upstream: UpstreamLine;
  readonly #queue: ReplyQueue;
  #held = "";
  #lost = false;

  constructor(upstream: UpstreamLine, queue: ReplyQueue) {
    this.#upstream = upstream;
    this.#queue = queue;
    this.offers = new Extensions(upstream.offers);
    upstream.channel.liftBudget();
  }

  get name(): string {
    return this.#upstream.backend;
  }

  /** RFC 2033 4.2: LMTP answers for each recipient what SMTP answers once. */
  get isLmtp(): boolean {
    return this.#upstream.protocol === "lmtp";
  }

  /** The connection is gone, or of no more use. */
  get lost(): boolean {
    return this.#lost;
  }

  get channel() {
    return this.#upstream.channel;
  }

  /** Says a command, whose reply takes its turn; it is on the wire with the next `flush`. */
  say(command: string, taking?: Taking): Slot {
    const slot = this.owe(taking);
    if (!this.#lost) this.#held += command;
    if (this.#held.length > MAX_HELD) this.flush();
    return slot;
  }

  /** The backend owes a reply from now on. */
  owe(taking?: Taking): Slot {
    if (!this.#lost) this.channel.setDeadline(PATIENCE, tooSlow);
    return this.#queue.expect(taking);
  }

  /** Puts on the wire what has been said; before anybody waits for anything. */
  flush(): void {
    const held = this.#held;
    this.#held = "";
    if (held !== "") this.#send(held);
  }

  /** Writes content behind all that has been said. */
  write(pieces: readonly Buffer[]): void {
    this.flush();
    const bytes = pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces);
    if (bytes.length > 0) this.#send(bytes);
  }

  /** A message must not reach its end at the backend, and there is no other way to take it back. */
  abandon(): void {
    this.#lost = true;
    this.channel.destroy();
  }

  /**
   * Hands replies to those who wait for them, until there is no backend any more. `told` hears when the client was
   * told some, and whether it is behind with taking them. Never throws.
   */
  async listen(told: (behind: boolean) => void): Promise<void> {
    const replies = new ReplyReader(this.channel);
    try {
      while (this.#handOver(replies)) {
        const behind = this.#queue.flush();
        told(behind !== undefined);
        if (behind !== undefined) {
          await behind;
          told(false);
        }
        if (this.#queue.length === 0) this.channel.clearDeadline();
        await this.channel.more();
      }
    } catch {
      // Closed, silent for too long, or not speaking SMTP: the client's next command hears of it.
    }
    this.abandon();
    await this.#queue.giveUp(envelopeReply("unknownFate"));
  }

  /** False when a reply came that nobody has asked for, or a 421: behind it comes the close (RFC 5321 3.8). */
  #handOver(replies: ReplyReader): boolean {
    for (let reply = replies.take(); reply; reply = replies.take()) {
      if (reply.code === 421) this.#lost = true;
      if (!this.#queue.answer(reply) || this.#lost) return false;
    }
    return true;
  }

  /** One that is gone is noticed by whoever listens to it. */
  #send(data: string | Buffer): void {
    if (this.#lost) return;
    try {
      this.channel.send(data, "latin1");
    } catch (error) {
      if (!(error instanceof ChannelClosed)) throw error;
    }
  }
}
