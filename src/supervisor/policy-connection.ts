import type { Socket } from "node:net";
import {
  formatPolicyAttributes,
  PolicyAttributeReader,
  type PolicyAttributes,
} from "../wire/policy-attributes.ts";

/** Postfix leaves a connection that it does not use after 5 minutes (smtpd_policy_service_max_idle). */
const IDLE_MS = 600_000;
/** From a request's first byte to its last; Postfix writes it at once. */
const REQUEST_MS = 10_000;
/** Postfix gives up after 100 s (smtpd_policy_service_timeout), and asks again. */
const ANSWER_MS = 60_000;
/** Answers that nobody reads. */
const MAX_UNREAD = 65_536;

type Wait = "idle" | "request" | "answer";

export interface PolicyConnectionOptions {
  /** Gives the action, or undefined for no answer at all: then the connection ends. */
  readonly ask: (asked: PolicyAttributes, signal: AbortSignal) => Promise<string | undefined>;
  /** It ended because of this. */
  readonly faulty: (why: string) => void;
  readonly closed: () => void;
}

/** One connection of a Postfix: a request, an answer, and so on as long as it likes. */
export class PolicyConnection {
  readonly #socket: Socket;
  readonly #options: PolicyConnectionOptions;
  readonly #reader = new PolicyAttributeReader();
  readonly #gone = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #waitsFor: Wait = "idle";
  #leaving = false;

  constructor(socket: Socket, options: PolicyConnectionOptions) {
    this.#socket = socket;
    this.#options = options;
    socket.on("data", (chunk: Buffer) => {
      this.#reader.push(chunk);
      void this.#turn();
    });
    socket.on("error", () => {});
    socket.on("end", () => socket.destroy());
    socket.on("close", () => {
      clearTimeout(this.#timer);
      this.#gone.abort();
      options.closed();
    });
    this.#wait("idle", IDLE_MS);
    // Another process would have read it, had it been a client's.
    socket.resume();
  }

  /** Ends it, behind the answer that is owed. */
  leave(): void {
    this.#leaving = true;
    if (this.#waitsFor !== "answer") this.#socket.destroy();
  }

  /** Answers what is there, one after the other; nothing more is read meanwhile. */
  async #turn(): Promise<void> {
    if (this.#waitsFor === "answer") return;
    for (let next = this.#reader.take(); next !== undefined; next = this.#reader.take()) {
      if (typeof next === "string") return this.#end(FAULTS[next]);
      this.#wait("answer");
      this.#socket.pause();
      await this.#answer(next);
      if (this.#socket.destroyed) return;
      if (this.#leaving) return this.#goodbye();
    }
    this.#socket.resume();
    if (!this.#reader.begun) this.#wait("idle", IDLE_MS);
    else if (this.#waitsFor !== "request") this.#wait("request", REQUEST_MS);
  }

  async #answer(asked: PolicyAttributes): Promise<void> {
    const signal = AbortSignal.any([this.#gone.signal, AbortSignal.timeout(ANSWER_MS)]);
    const action = await this.#options.ask(asked, signal);
    // In trouble Postfix is told nothing: it asks again, and then does what its administrator has chosen.
    if (action === undefined) this.#socket.destroy();
    else if (!this.#socket.destroyed) this.#socket.write(formatPolicyAttributes([["action", action]]));
    if (this.#socket.writableLength > MAX_UNREAD) this.#end("does not read its answers");
  }

  #wait(what: Wait, ms?: number): void {
    clearTimeout(this.#timer);
    this.#waitsFor = what;
    if (ms === undefined) return;
    const why = what === "request" ? `no whole request in ${ms / 1000} s` : undefined;
    this.#timer = setTimeout(() => (why === undefined ? this.#socket.destroy() : this.#end(why)), ms).unref();
  }

  #goodbye(): void {
    this.#wait("request", REQUEST_MS);
    this.#socket.end(() => this.#socket.destroy());
  }

  #end(why: string): void {
    if (!this.#socket.destroyed) this.#options.faulty(why);
    this.#socket.destroy();
  }
}

const FAULTS = {
  lineTooLong: "a line is too long",
  tooManyBytes: "a request is too long",
  tooManyAttributes: "a request has too many attributes",
  noName: "a line is not name=value",
  controlByte: "a line holds NUL or CR",
  empty: "a request is empty",
} as const;
