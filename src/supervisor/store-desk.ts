import type { CounterStore, Receipt } from "../policy/store/store.ts";
import { Refused } from "../refusal.ts";
import type { StoreAnswer, StoreCall } from "./remote-store.ts";

/** Methods that a worker may call by name. */
const METHODS: ReadonlySet<string> = new Set([
  "take",
  "giveBack",
  "settle",
  "look",
  "bans",
  "ban",
  "unban",
] satisfies (keyof CounterStore)[]);

/** One worker's account at the store of counters: what it asks for, and what it still holds. */
export class StoreDesk {
  readonly #store: CounterStore;
  /** Seats by their key and window: how many of each. */
  readonly #seats = new Map<string, { readonly receipt: Receipt; count: number }>();

  #closed = false;

  constructor(store: CounterStore) {
    this.#store = store;
  }

  async serve(calls: readonly StoreCall[]): Promise<readonly StoreAnswer[]> {
    const answers = await Promise.all(calls.map((call) => this.#serveOne(call)));
    return answers.flatMap((answer) => answer ?? []);
  }

  /**
   * The worker is gone: its sessions have left their seats. Tries at a password that it did not finish stay
   * counted until their window ends: nobody knows any more whether they were right.
   */
  async close(): Promise<void> {
    const held = [...this.#seats.values()].flatMap(({ receipt, count }) =>
      Array<Receipt>(count).fill(receipt),
    );
    this.#seats.clear();
    this.#closed = true;
    await this.#store.giveBack(held);
  }

  /** Undefined where nobody waits for the answer. */
  async #serveOne({ id, method, args }: StoreCall): Promise<StoreAnswer | undefined> {
    try {
      if (!METHODS.has(method)) throw new Error(`no method ${method}`);
      const store = this.#store as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>;
      const value = await store[method]?.(...args);
      // Asked for by one that died meanwhile: nobody will give it back.
      if (this.#closed) await this.#store.giveBack(method === "take" ? receiptsIn(value) : []);
      else this.#note(method, args, value);
      return id === undefined ? undefined : { id, value };
    } catch (error) {
      if (id === undefined) return undefined;
      if (error instanceof Refused) return { id, refused: error.refusal };
      return { id, fault: error instanceof Error ? error.message : String(error) };
    }
  }

  #note(method: string, args: readonly unknown[], value: unknown): void {
    if (method === "take") for (const receipt of receiptsIn(value)) this.#add(receipt, 1);
    if (method === "giveBack" || method === "settle")
      for (const receipt of args[0] as readonly Receipt[]) this.#add(receipt, -1);
  }

  #add(receipt: Receipt, by: 1 | -1): void {
    if (receipt.bucket.windowMs !== undefined) return;
    const name = `${receipt.window} ${receipt.bucket.key}`;
    const held = this.#seats.get(name) ?? { receipt, count: 0 };
    held.count += by;
    if (held.count > 0) this.#seats.set(name, held);
    else this.#seats.delete(name);
  }
}

function receiptsIn(value: unknown): readonly Receipt[] {
  const { receipts } = (value ?? {}) as { readonly receipts?: readonly Receipt[] };
  return receipts ?? [];
}
