import { setImmediate as turn } from "node:timers/promises";
import type { Postfix } from "./postfix.ts";
import { within } from "./waiting.ts";

/**
 * Where a session stands when its backend is killed: as it first needs the backend; with half a message sent and the
 * other half to come; as the end of the message goes out; or with that end sent, and others' already answered.
 */
export type Moment = "entrance" | "content" | "end" | "answer";

const MOMENTS: readonly Moment[] = ["end", "entrance", "content", "answer", "entrance"];

export interface KillerOptions {
  readonly kills: number;
  /** Sessions that are to stand at the same place when the kill comes. */
  readonly crowd: number;
  /** The next kill comes when at least so many messages are acknowledged. */
  due(kills: number): number;
  acked(): number;
}

/** Kills a backend again and again, each time when a crowd of sessions has come to one moment, and starts it again. */
export class Killer {
  readonly #postfix: Postfix;
  readonly #options: KillerOptions;
  #crowd: (() => void)[] = [];
  /** A crowd has been together, and its kill is about to come. */
  #striking = false;
  /** It has gone on to send its ends, and the first answer kills. */
  #armed = false;
  #back: Promise<void> | undefined;
  #kills = 0;

  constructor(postfix: Postfix, options: KillerOptions) {
    this.#postfix = postfix;
    this.#options = options;
  }

  get kills(): number {
    return this.#kills;
  }

  /** Settles when the backend is there, unless it is killed again meanwhile. */
  async up(): Promise<void> {
    await this.#back;
  }

  /** Every session calls this as it comes to a moment; when that is the kill's, it waits for the others there. */
  async meet(moment: Moment): Promise<void> {
    if (this.#due !== moment && !(moment === "end" && this.#due === "answer")) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#crowd.push(resolve);
    if (this.#crowd.length >= this.#options.crowd) void this.#strike();
    await within(30_000, `a crowd at ${moment}, where ${this.#crowd.length} are`, promise);
  }

  /** Every session calls this as a message of its is acknowledged. */
  answered(): void {
    if (this.#armed) this.kill();
  }

  /** The backend is dead when this returns, and starts again. */
  kill(): void {
    this.#striking = false;
    this.#armed = false;
    this.#kills += 1;
    const restarted = this.#postfix.restart();
    const back = restarted.finally(() => {
      if (this.#back === back) this.#back = undefined;
    });
    this.#back = back;
  }

  get #due(): Moment | undefined {
    const { kills, due, acked } = this.#options;
    if (this.#back || this.#striking || this.#kills >= kills) return undefined;
    // As the sessions come back after one kill, so comes the next.
    const moment = MOMENTS[this.#kills % MOMENTS.length];
    return moment === "entrance" || acked() >= due(this.#kills) ? moment : undefined;
  }

  async #strike(): Promise<void> {
    const moment = this.#due;
    const crowd = this.#crowd;
    this.#crowd = [];
    this.#striking = true;
    if (moment === "content") this.kill();
    if (moment === "answer") this.#armed = true;
    for (const goOn of crowd) goOn();
    // What the crowd says now goes out in this turn.
    await turn();
    if (this.#striking && !this.#armed) this.kill();
  }
}
