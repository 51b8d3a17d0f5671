import type { CounterStore } from "../policy/store/store.ts";
import { type Refusal, Refused } from "../refusal.ts";

type Method = keyof CounterStore & string;

/** A call of a method of the store in another process. */
export interface StoreCall {
  /** Absent where nobody waits for the answer. */
  readonly id?: number;
  readonly method: string;
  readonly args: readonly unknown[];
}

export interface StoreAnswer {
  readonly id: number;
  readonly value?: unknown;
  readonly fault?: string;
  /** The store's own no. */
  readonly refused?: Refusal;
}

interface Waiting {
  resolve(value: unknown): void;
  reject(error: Error): void;
  /** The answer will not come. */
  lost(): void;
}

/** Calls take effect in order, so whoever gives back has nothing to wait for: half the messages of a session's end. */
const UNANSWERED: ReadonlySet<string> = new Set(["giveBack"] satisfies Method[]);

/**
 * The counters that live in the supervisor, as a worker sees them. All calls of one turn of the event loop are one
 * message; arguments and answers are plain data.
 */
export class RemoteStore {
  readonly #send: (calls: readonly StoreCall[]) => void;
  readonly #waiting = new Map<number, Waiting>();
  #calls: StoreCall[] = [];
  #last = 0;
  #lost = false;

  constructor(send: (calls: readonly StoreCall[]) => void) {
    this.#send = send;
  }

  /** The store's own face. */
  get store(): CounterStore {
    return new Proxy({} as CounterStore, {
      get:
        (_target, method) =>
        (...args: unknown[]) =>
          typeof method === "string" ? this.#call(method as Method, args) : undefined,
    });
  }

  answered(answers: readonly StoreAnswer[]): void {
    for (const { id, value, fault, refused } of answers) {
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (refused) waiting?.reject(new Refused(refused.kind, refused.detail));
      else if (fault !== undefined) waiting?.reject(new Error(`the store failed: ${fault}`));
      else waiting?.resolve(value);
    }
  }

  /** The other process is gone, and its counters with it: nobody is let in any more, and giving back is no fault. */
  lose(): void {
    this.#lost = true;
    for (const waiting of this.#waiting.values()) waiting.lost();
    this.#waiting.clear();
  }

  #call(method: Method, args: readonly unknown[]): Promise<unknown> {
    if (this.#lost) return withoutAnswer(method);
    if (this.#calls.length === 0) setImmediate(() => this.#flush());
    if (UNANSWERED.has(method)) {
      this.#calls.push({ method, args });
      return Promise.resolve();
    }
    this.#last += 1;
    const id = this.#last;
    this.#calls.push({ id, method, args });
    return new Promise((resolve, reject) => {
      const lost = (): void => resolve(withoutAnswer(method));
      this.#waiting.set(id, { resolve, reject, lost });
    });
  }

  #flush(): void {
    const calls = this.#calls;
    this.#calls = [];
    this.#send(calls);
  }
}

/** Who asks for leave does not get it; for all else it is too late. */
function withoutAnswer(method: Method): Promise<unknown> {
  return method === "take" ? Promise.reject(GONE()) : Promise.resolve([]);
}

const GONE = (): Refused => new Refused("unavailable", "the process that counts is gone");
