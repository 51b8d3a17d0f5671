import { Refused } from "../../refusal.ts";
import { printable } from "../../wire/printable.ts";
import type { Facts, Subject } from "../limit-key.ts";
import { Breaker } from "./breaker.ts";
import {
  type Answer,
  type Caller,
  type Hook,
  HookFailure,
  type HookObserver,
  type HookPlace,
} from "./hook.ts";

/** Questions to one hook under way in one process; who comes then goes on without an answer. */
const MAX_PENDING = 1_000;

/** On whose behalf a hook is asked. */
export interface Asker {
  readonly caller: Caller;
  readonly facts: Facts;
}

/** Stands before a hook: when it is asked at all, what its answer leads to, and what no answer does. */
export class Guard {
  readonly name: string;
  readonly hook: Hook;
  readonly #place: HookPlace;
  readonly #observer: HookObserver;
  readonly #breaker: Breaker;
  #pending = 0;

  constructor(place: HookPlace, observer: HookObserver, now?: () => number) {
    this.name = place.name;
    this.hook = place.hook;
    this.#place = place;
    this.#observer = observer;
    this.#breaker = new Breaker(now);
  }

  /** Questions that wait for an answer now. */
  get pending(): number {
    return this.#pending;
  }

  /** Whether it is not asked for a time. */
  get resting(): boolean {
    return !this.#breaker.closed;
  }

  concerns(subject: Subject): boolean {
    return this.#place.concerns(subject);
  }

  /** Asks, and resolves to how much later to go on, in milliseconds; rejects with Refused. */
  async ask(asker: Asker, question: () => Promise<Answer>): Promise<number> {
    const begun = performance.now();
    let answer: Answer;
    try {
      answer = await this.#ask(question);
    } catch (error) {
      this.#withoutAnswer(error, begun);
      return 0;
    }
    return this.#heed(answer, asker, performance.now() - begun);
  }

  async #ask(question: () => Promise<Answer>): Promise<Answer> {
    // Its own fault is no sign of the hook's.
    if (this.#pending >= MAX_PENDING)
      throw new HookFailure("busy", `${this.#pending} questions wait already for an answer`);
    const leave = this.#breaker.enter();
    if (!leave) throw new HookFailure("resting", "it has not answered lately, and is left alone for a while");
    this.#pending += 1;
    try {
      const answer = await question();
      if (this.#breaker.succeeded()) this.#observer.trouble(this.name, undefined);
      return answer;
    } catch (error) {
      if (this.#breaker.failed(leave)) this.#observer.trouble(this.name, reasonOf(error));
      throw error;
    } finally {
      this.#pending -= 1;
    }
  }

  #withoutAnswer(error: unknown, begun: number): void {
    const kind = error instanceof HookFailure ? error.kind : "broken";
    const asked = kind !== "busy" && kind !== "resting";
    this.#observer.answered(this.name, kind, asked ? performance.now() - begun : undefined);
    if (this.#place.onFailure === "allow" || this.#place.observed) return;
    throw new Refused("unavailable", `hook ${this.name}: ${reasonOf(error)}`, { cause: error });
  }

  #heed(answer: Answer, { caller, facts }: Asker, ms: number): number {
    const { observed } = this.#place;
    if (answer.kind === "allow") {
      this.#observer.answered(this.name, "allowed", ms);
      return 0;
    }
    if (answer.kind === "delay") {
      this.#observer.answered(this.name, "delayed", ms);
      return observed ? 0 : answer.ms;
    }
    this.#observer.answered(this.name, observed ? "wouldRefuse" : "refused", ms);
    if (!observed) throw answer.refused;
    this.#observer.wouldRefuse(this.name, caller, facts, answer.refused.refusal.detail);
    return 0;
  }
}

function reasonOf(error: unknown): string {
  return printable(error instanceof Error ? error.message : String(error));
}
