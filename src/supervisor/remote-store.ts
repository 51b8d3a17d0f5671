import type { CounterStore } from "../policy/store/store.ts";
import { Refused } from "../refusal.ts";

type Method = keyof CounterStore & string;

/** A call of a method of the store in another process. */
export interface StoreCall {
  readonly id: number;
  readonly method: string;
  readonly args: readonly unknown[];
}

export interface StoreAnswer {
  readonly id: number;
  readonly value?: unknown;
  readonly fault?: string;
}

/** Something that the store knows by its key, and the caller as an object of its own. */
type Keyed = Readonly<Record<string, unknown>> & { readonly key: string };

interface Waiting {
  /** The caller's own objects: the answer is about these. */
  readonly known: ReadonlyMap<string, Keyed>;
  resolve(value: unknown): void;
  reject(error: Error): void;
}

/**
 * The counters that live in the supervisor, as a worker sees them. All calls of one turn of the event loop are one
 * message. It knows no method by name: arguments and answers cross as plain data, and what has a `key` comes back
 * as the very object that was given.
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
    for (const { id, value, fault } of answers) {
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (fault !== undefined) waiting?.reject(new Error(`the store failed: ${fault}`));
      else waiting?.resolve(revive(value, waiting.known));
    }
  }

  /** The other process is gone, and its counters with it: nobody is let in any more, and giving back is no fault. */
  lose(): void {
    this.#lost = true;
    for (const waiting of this.#waiting.values()) waiting.reject(GONE());
    this.#waiting.clear();
  }

  #call(method: Method, args: readonly unknown[]): Promise<unknown> {
    if (this.#lost) return method === "take" ? Promise.reject(GONE()) : Promise.resolve([]);
    this.#last += 1;
    const id = this.#last;
    const known = new Map<string, Keyed>();
    if (this.#calls.length === 0) setImmediate(() => this.#flush());
    this.#calls.push({ id, method, args: args.map((arg) => plain(arg, known)) });
    return new Promise((resolve, reject) => this.#waiting.set(id, { known, resolve, reject }));
  }

  #flush(): void {
    const calls = this.#calls;
    this.#calls = [];
    this.#send(calls);
  }
}

const GONE = (): Refused => new Refused("unavailable", "the process that counts is gone");

/** A copy without what only means something in this process; what has a key is remembered. */
function plain(value: unknown, known: Map<string, Keyed>): unknown {
  if (Array.isArray(value)) return value.map((item) => plain(item, known));
  if (!isObject(value)) return value;
  if (isKeyed(value)) {
    known.set(value.key, value);
    return Object.fromEntries(Object.entries(value).filter(([, member]) => !isObject(member)));
  }
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, plain(member, known)]));
}

function revive(value: unknown, known: ReadonlyMap<string, Keyed>): unknown {
  if (Array.isArray(value)) return value.map((item) => revive(item, known));
  if (!isObject(value)) return value;
  if (isKeyed(value) && known.has(value.key)) return known.get(value.key);
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, revive(member, known)]));
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}

function isKeyed(value: Readonly<Record<string, unknown>>): value is Keyed {
  return typeof value["key"] === "string";
}
