/**
 * What a sender knows of a message: "acked" when its end was answered 250; "refused" when it was answered no, or the
 * backend had died before its end was sent; "cut" when the sender left before its end; "unknown" when its end was sent
 * and nobody can say what became of it.
 */
export type Fate = "acked" | "refused" | "cut" | "unknown";

/** How many copies of a message there may be. */
const COPIES: Readonly<Record<Fate, readonly number[]>> = {
  acked: [1],
  refused: [0],
  cut: [0],
  unknown: [0, 1],
};

/** What the senders know of all their messages. Who tries again sends another message, with another id. */
export class Ledger {
  readonly #wanted: number;
  readonly #fates = new Map<string, Fate | "under way">();
  #settled = 0;
  #underWay = 0;
  #acked = 0;

  /** `wanted`: messages that are to be sent until they are taken, or until their end at least was. */
  constructor(wanted: number) {
    this.#wanted = wanted;
  }

  get acked(): number {
    return this.#acked;
  }

  /** Messages that nobody is sending yet. */
  get left(): number {
    return this.#wanted - this.#settled - this.#underWay;
  }

  /** Begins a message, or none when no further one is wanted. */
  begin(): string | undefined {
    if (this.left <= 0) return undefined;
    const id = `m${this.#fates.size + 1}`;
    this.beginAs(id);
    return id;
  }

  /** The same for who chooses the ids. */
  beginAs(id: string): void {
    if (this.#fates.has(id)) throw new Error(`${id} twice`);
    this.#fates.set(id, "under way");
    this.#underWay += 1;
  }

  settle(id: string, fate: Fate): void {
    if (this.#fates.get(id) !== "under way") throw new Error(`${id} is not under way`);
    this.#fates.set(id, fate);
    this.#underWay -= 1;
    if (fate === "acked") this.#acked += 1;
    if (fate === "acked" || fate === "unknown") this.#settled += 1;
  }

  count(fate: Fate): number {
    return [...this.#fates.values()].filter((each) => each === fate).length;
  }

  /** Everything that is not as promised, in words; `stored` are the ids of the messages at the backend. */
  wrongs(stored: readonly string[]): string[] {
    const copies = new Map<string, number>();
    for (const id of stored) copies.set(id, (copies.get(id) ?? 0) + 1);
    const strangers = [...copies.keys()]
      .filter((id) => !this.#fates.has(id))
      .map((id) => `${id}: never sent`);
    const wrong = [...this.#fates]
      .filter(([id, fate]) => fate === "under way" || !COPIES[fate].includes(copies.get(id) ?? 0))
      .map(([id, fate]) => `${id}: ${fate}, and ${copies.get(id) ?? 0} copies`);
    return [...strangers, ...wrong];
  }

  toString(): string {
    const fates = ["acked", "refused", "cut", "unknown"] as const;
    return fates.map((fate) => `${this.count(fate)} ${fate}`).join(", ");
  }
}
