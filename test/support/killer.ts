import { setImmediate as turn } from "node:timers/promises";
import type { Postfix } from "./postfix.ts";
import { within } from "./waiting.ts";

/** Kills a backend again and again, and starts it again each time. */
export class Killer {
  readonly #postfix: Postfix;
  #back: Promise<void> | undefined;
  #kills = 0;

  constructor(postfix: Postfix) {
    this.#postfix = postfix;
  }

  get kills(): number {
    return this.#kills;
  }

  /** Whether a kill is not made good for yet. */
  get down(): boolean {
    return this.#back !== undefined;
  }

  /** Settles when the backend is there. */
  async up(): Promise<void> {
    while (this.down) await this.#back;
  }

  /** The backend is dead when this returns, and starts again. */
  kill(): void {
    this.#kills += 1;
    const back = this.#postfix.restart().then(() => {
      this.#back = undefined;
    });
    this.#back = back;
  }
}

/**
 * Where a session stands when its backend is killed: as it first needs the backend; with half a message sent and the
 * other half to come; as the end of the message goes out; or with that end sent, and others' already answered.
 */
export type Moment = "entrance" | "content" | "end" | "answer";

const MOMENTS: readonly Moment[] = ["end", "entrance", "content", "answer", "entrance"];

export interface AmbushOptions {
  readonly kills: number;
  /** Sessions that are to stand at the same place when the kill comes. */
  readonly crowd: number;
  /** Whether it is time for a kill, of which there were so many. */
  due(kills: number): boolean;
}

/** Lets the killer strike whenever a crowd of sessions has come to one moment, and at no other time. */
export class Ambush {
  readonly #killer: Killer;
  readonly #options: AmbushOptions;
  #crowd: (() => void)[] = [];
  /** The crowd goes on, and the kill is about to come: as it has spoken, or with the first message acknowledged. */
  #striking: "now" | "at an answer" | undefined;

  constructor(killer: Killer, options: AmbushOptions) {
    this.#killer = killer;
    this.#options = options;
  }

  /** Every session calls this as it comes to a moment; when that is the kill's, it waits for the others there. */
  async meet(moment: Moment): Promise<void> {
    const next = this.#next;
    if ((next === "answer" ? "end" : next) !== moment) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#crowd.push(resolve);
    if (this.#crowd.length >= this.#options.crowd) void this.#strike(next as Moment);
    await within(30_000, () => `a crowd at ${moment}, where ${this.#crowd.length} are`, promise);
  }

  /** Every session calls this as a message of its is acknowledged. */
  answered(): void {
    if (this.#striking === "at an answer") this.#kill();
  }

  get #next(): Moment | undefined {
    const { kills, down } = this.#killer;
    if (down || this.#striking || kills >= this.#options.kills) return undefined;
    const moment = MOMENTS[kills % MOMENTS.length];
    // As the sessions come back after one kill, so comes the next.
    return moment === "entrance" || this.#options.due(kills) ? moment : undefined;
  }

  async #strike(moment: Moment): Promise<void> {
    this.#striking = moment === "answer" ? "at an answer" : "now";
    // Its second halves are to meet a dead backend.
    if (moment === "content") this.#kill();
    for (const goOn of this.#crowd.splice(0)) goOn();
    // What the crowd says goes out in this turn.
    await turn();
    if (this.#striking === "now") this.#kill();
  }

  #kill(): void {
    this.#striking = undefined;
    this.#killer.kill();
  }
}
