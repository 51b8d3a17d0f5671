import type {
  Ban,
  CounterStore,
  Imposed,
  Outcome,
  Question,
  Receipt,
  Sentence,
  Standing,
  Taken,
  Visitor,
} from "./store.ts";

/** Hears what every asking came to. */
export interface StoreWatcher {
  taken?(question: Question, answer: { readonly ban: Ban } | Taken): void;
  settled?(
    receipts: readonly Receipt[],
    outcome: Outcome,
    visitor: Visitor | undefined,
    imposed: readonly Imposed[],
  ): void;
  /** By hand. */
  banned?(imposed: Imposed): void;
  lifted?(key: string): void;
}

/**
 * A store with others looking on. Everything that is counted passes here, however many processes ask and wherever the
 * counters are; nobody waits for those who look on, and what they throw is theirs.
 */
export class WatchedStore implements CounterStore {
  readonly #store: CounterStore;
  readonly #watchers: readonly StoreWatcher[];
  readonly #fault: (error: unknown) => void;

  constructor(
    store: CounterStore,
    watchers: readonly StoreWatcher[],
    fault: (error: unknown) => void = () => {},
  ) {
    this.#store = store;
    this.#watchers = watchers;
    this.#fault = fault;
  }

  async take(question: Question): Promise<{ readonly ban: Ban } | Taken> {
    const answer = await this.#store.take(question);
    this.#tell((watcher) => watcher.taken?.(question, answer));
    return answer;
  }

  giveBack(receipts: readonly Receipt[]): Promise<void> {
    return this.#store.giveBack(receipts);
  }

  async settle(
    receipts: readonly Receipt[],
    outcome: Outcome,
    visitor?: Visitor,
  ): Promise<readonly Imposed[]> {
    const imposed = await this.#store.settle(receipts, outcome, visitor);
    this.#tell((watcher) => watcher.settled?.(receipts, outcome, visitor, imposed));
    return imposed;
  }

  look(question: Question): Promise<Standing> {
    return this.#store.look(question);
  }

  bans(): Promise<readonly Ban[]> {
    return this.#store.bans();
  }

  async ban(sentence: Sentence): Promise<Imposed | undefined> {
    const imposed = await this.#store.ban(sentence);
    if (imposed) this.#tell((watcher) => watcher.banned?.(imposed));
    return imposed;
  }

  async unban(key: string, counters: readonly string[]): Promise<boolean> {
    const lifted = await this.#store.unban(key, counters);
    if (lifted) this.#tell((watcher) => watcher.lifted?.(key));
    return lifted;
  }

  #tell(hear: (watcher: StoreWatcher) => void): void {
    for (const watcher of this.#watchers) {
      try {
        hear(watcher);
      } catch (error) {
        this.#fault(error);
      }
    }
  }
}
