import { Refused } from "../../refusal.ts";
import { MemoryStore } from "./memory.ts";
import type {
  Ban,
  Bucket,
  Count,
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

/** How to decide while the shared store gives no answer. */
export type OnStoreFailure = "local" | "allow" | "refuse";

/**
 * A receipt says by its window's sign which store it is of, for it may travel: those of the shared one are above zero.
 * A window in memory has 32 bits, which leaves two million times that the shared one comes back.
 */
const GENERATION = 2 ** 32;

/**
 * The shared store, and what is decided without it. `local`: by counters of this Postern alone, with half the points
 * of each bucket, so that two replicas together let as many pass as one limit does; who is known from where is not
 * known then, and bans of the shared store do not hold. None of that is carried over when the store is back: what
 * was counted here meanwhile is forgotten. A limit lets at most its points in the shared store and half of them at
 * each replica pass in one window of one outage.
 */
export class FailoverStore implements CounterStore {
  readonly #shared: CounterStore;
  readonly #mode: OnStoreFailure;
  #local = new MemoryStore();
  #generation = 0;

  /** `shared` rejects, within its time, when it has no answer. */
  constructor(shared: CounterStore, mode: OnStoreFailure) {
    this.#shared = shared;
    this.#mode = mode;
  }

  /** The shared store is back: what was counted without it is over. */
  back(): void {
    this.#local = new MemoryStore();
    this.#generation += 1;
  }

  async take(question: Question): Promise<{ readonly ban: Ban } | Taken> {
    return this.#orElse(
      (store) => store.take(question),
      () => this.#takeWithout(question),
    );
  }

  async giveBack(receipts: readonly Receipt[]): Promise<void> {
    const { shared, local } = this.#sort(receipts);
    await this.#local.giveBack(local);
    // What cannot be given back has an end of its own there.
    if (shared.length > 0) await this.#shared.giveBack(shared).catch(() => {});
  }

  async settle(
    receipts: readonly Receipt[],
    outcome: Outcome,
    visitor?: Visitor,
  ): Promise<readonly Imposed[]> {
    const { shared, local } = this.#sort(receipts);
    if (local.length > 0) return this.#local.settle(local, outcome, visitor);
    // A receipt of an outage that is over owes nothing, and what was learnt of the name is learnt.
    return this.#shared.settle(shared, outcome, visitor).catch(() => []);
  }

  look(question: Question): Promise<Standing> {
    return this.#orElse((store) => store.look(question));
  }

  bans(): Promise<readonly Ban[]> {
    return this.#orElse((store) => store.bans());
  }

  ban(sentence: Sentence): Promise<Imposed | undefined> {
    return this.#orElse((store) => store.ban(sentence));
  }

  unban(key: string, counters: readonly string[]): Promise<boolean> {
    return this.#orElse((store) => store.unban(key, counters));
  }

  async #orElse<Answer>(
    ask: (store: CounterStore) => Promise<Answer>,
    otherwise = () => ask(this.#local),
  ): Promise<Answer> {
    try {
      return await ask(this.#shared);
    } catch {
      return otherwise();
    }
  }

  async #takeWithout(question: Question): Promise<{ readonly ban: Ban } | Taken> {
    if (this.#mode === "refuse") throw new Refused("unavailable", "the policy's store does not answer");
    if (this.#mode === "allow") return allowed(question);
    const generation = this.#generation;
    const answer = await this.#local.take({ ...question, buckets: question.buckets.map(stricter) });
    if ("ban" in answer) return answer;
    const receipts = answer.receipts.map((one) => ({
      ...one,
      window: -(generation * GENERATION + one.window),
    }));
    return { ...answer, receipts };
  }

  #sort(receipts: readonly Receipt[]): { shared: Receipt[]; local: Receipt[] } {
    const shared = receipts.filter(({ window }) => window > 0);
    const local = receipts.flatMap((one) => {
      const window = -one.window - this.#generation * GENERATION;
      return window > 0 && window < GENERATION ? [{ ...one, window }] : [];
    });
    return { shared, local };
  }
}

function stricter<Any extends Bucket>(bucket: Any): Any {
  const { points } = bucket;
  return { ...bucket, points: points === 0 ? 0 : Math.max(1, Math.floor(points / 2)) };
}

/** Everything passes but what never does: to know that, nobody has to count. */
function allowed({ buckets }: Question): Taken {
  const counts = buckets.map(
    ({ windowMs, points }): Count => ({ taken: 0, leftMs: windowMs, over: points === 0 }),
  );
  const refused = buckets.some(({ points, soft }) => points === 0 && !soft);
  return { refused, counts, receipts: [], imposed: [] };
}
