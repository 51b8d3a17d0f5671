import { connect } from "node:net";
import type { PolicyAttributes } from "../../wire/policy-attributes.ts";
import { HookFailure } from "./hook.ts";
import { Line, LineGone } from "./policy-line.ts";

/** Where a policy server listens. */
export type PolicyServer = { readonly host: string; readonly port: number } | { readonly path: string };

/** Postfix gives each of its processes one; ours serve many sessions. */
const CONNECTIONS = 20;
/** A connection that nobody needs is kept so long, in milliseconds. */
const KEEP = 60_000;

/** Somebody who needs a connection, with the time that is left for him. */
interface Waiting {
  readonly turn: (line: Line | undefined) => void;
}

/** The connections to one policy server: kept open, one question at a time on each. */
export class PolicyLines implements AsyncDisposable {
  readonly #server: PolicyServer;
  readonly #timeoutMs: number;
  readonly #idle: Line[] = [];
  readonly #waiting = new Set<Waiting>();
  readonly #open = new Set<Line>();
  /** Those that are open, and those whose turn it is to open one. */
  #taken = 0;

  constructor(server: PolicyServer, timeoutMs: number) {
    this.#server = server;
    this.#timeoutMs = timeoutMs;
  }

  /** Gives the whole answer to a whole request; rejects with HookFailure. */
  async ask(request: Buffer): Promise<PolicyAttributes> {
    const signal = AbortSignal.timeout(this.#timeoutMs);
    const kept = await this.#turn(signal);
    if (kept) {
      try {
        return await this.#askOn(kept, request, signal);
      } catch (error) {
        // It was closed over there while we kept it: no answer had begun, so the question can be asked again.
        if (!(error instanceof LineGone)) throw error;
        return await this.#askAnew(request, signal);
      }
    }
    return await this.#askFor(this.#connect(), request, signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const line of this.#open) line.end();
  }

  /** A kept connection, or leave to open one. */
  async #turn(signal: AbortSignal): Promise<Line | undefined> {
    const kept = this.#idle.pop();
    if (kept) return kept;
    if (this.#taken < CONNECTIONS) {
      this.#taken += 1;
      return undefined;
    }
    return this.#wait(signal);
  }

  /** Whoever closes one kept connection has closed the others as well, or will. */
  async #askAnew(request: Buffer, signal: AbortSignal): Promise<PolicyAttributes> {
    for (const line of this.#idle.splice(0)) line.end();
    const line = (await this.#turn(signal)) ?? this.#connect();
    return this.#askFor(line, request, signal);
  }

  async #askFor(line: Line, request: Buffer, signal: AbortSignal): Promise<PolicyAttributes> {
    try {
      return await this.#askOn(line, request, signal);
    } catch (error) {
      throw error instanceof LineGone ? new HookFailure(error.kind, error.message) : error;
    }
  }

  #wait(signal: AbortSignal): Promise<Line | undefined> {
    return new Promise((resolve, reject) => {
      const waiting: Waiting = {
        turn: (line) => {
          this.#waiting.delete(waiting);
          signal.removeEventListener("abort", late);
          resolve(line);
        },
      };
      const late = (): void => {
        this.#waiting.delete(waiting);
        reject(this.#late());
      };
      signal.addEventListener("abort", late, { once: true });
      this.#waiting.add(waiting);
    });
  }

  #connect(): Line {
    const line = new Line(connect(this.#server), () => this.#gone(line));
    this.#open.add(line);
    return line;
  }

  async #askOn(line: Line, request: Buffer, signal: AbortSignal): Promise<PolicyAttributes> {
    const answer = await line.ask(request, signal, () => this.#late());
    const [next] = this.#waiting;
    if (line.closed) return answer;
    if (next) next.turn(line);
    else {
      this.#idle.push(line);
      line.rest(KEEP);
    }
    return answer;
  }

  #gone(line: Line): void {
    this.#open.delete(line);
    const place = this.#idle.indexOf(line);
    if (place >= 0) this.#idle.splice(place, 1);
    this.#taken -= 1;
    const [next] = this.#waiting;
    if (!next) return;
    this.#taken += 1;
    next.turn(undefined);
  }

  #late(): HookFailure {
    return new HookFailure("timeout", `no answer in ${this.#timeoutMs} ms`);
  }
}
