import type { Ban, Imposed, KeptBan, Sentence } from "./store.ts";

interface Entry {
  readonly by: string;
  /** Milliseconds of the clock. */
  readonly until: number;
  readonly times: number;
  /** Until when the next one is a repeat of this. */
  readonly forgetAt: number;
  readonly sparesKnown: boolean;
}

/** How many of the oldest are looked at for one that is over, before one that is not makes room. */
const LOOKS = 64;

/** Who is banned, and who was lately. */
export class BanList {
  /** In the order in which they were imposed. */
  readonly #entries = new Map<string, Entry>();
  readonly #maxKeys: number;
  #changes = 0;

  constructor(maxKeys: number) {
    this.#maxKeys = maxKeys;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Another number whenever somebody was banned, or not any more, before his time. */
  get changes(): number {
    return this.#changes;
  }

  /** The longest of these bans; `known`: one that spares known networks does not count. */
  longest(keys: readonly string[], known: boolean, now: number): Ban | undefined {
    if (this.#entries.size === 0) return undefined;
    let longest: Ban | undefined;
    for (const key of keys) {
      const ban = this.#standing(key, now);
      if (!ban || (known && this.#entries.get(key)?.sparesKnown)) continue;
      if (ban.leftMs > (longest?.leftMs ?? 0)) longest = ban;
    }
    return longest;
  }

  /** All of these that hold, without regard to whom they spare. */
  among(keys: Iterable<string>, now: number): Ban[] {
    return [...keys].flatMap((key) => this.#standing(key, now) ?? []);
  }

  all(now: number): Ban[] {
    return this.among(this.#entries.keys(), now);
  }

  impose(sentence: Sentence, now: number): Imposed | undefined {
    const { key, by, ms, upToMs = ms, sparesKnown = false } = sentence;
    const { times, length } = this.weigh(sentence, now);
    const last = this.#entries.get(key);
    const until = now + length;
    if (last && last.until >= until) return undefined;
    this.#entries.delete(key);
    const forgetAt = until + (upToMs > ms ? upToMs : 0);
    this.#entries.set(key, { by, until, times, forgetAt, sparesKnown });
    this.#changes += 1;
    if (this.#entries.size > this.#maxKeys) this.#makeRoom(now);
    return { key, by, ms: length, times };
  }

  /** What a sentence comes to now: how often it was then, and how long it is. */
  weigh(
    { key, ms, upToMs = ms }: Sentence,
    now: number,
  ): { readonly times: number; readonly length: number } {
    const last = this.#entries.get(key);
    const repeated = last !== undefined && last.forgetAt > now;
    const times = !repeated ? 1 : last.until > now ? last.times : last.times + 1;
    return { times, length: Math.min(ms * 2 ** (times - 1), Math.max(upToMs, ms)) };
  }

  /** Whether it held. */
  lift(key: string, now: number): boolean {
    const held = this.#standing(key, now) !== undefined;
    if (this.#entries.delete(key)) this.#changes += 1;
    return held;
  }

  /** All that is known, as it may be kept elsewhere. */
  keep(now: number): KeptBan[] {
    return [...this.#entries]
      .filter(([, { forgetAt }]) => forgetAt > now)
      .map(([key, { until, forgetAt, ...rest }]) => ({
        ...rest,
        key,
        leftMs: until - now,
        forgetInMs: forgetAt - now,
      }));
  }

  /** Takes what was kept in the place of all that is known. */
  restore(kept: readonly KeptBan[], now: number): void {
    this.#entries.clear();
    for (const { key, leftMs, forgetInMs, ...rest } of kept.slice(-this.#maxKeys))
      this.#entries.set(key, { ...rest, until: now + leftMs, forgetAt: now + forgetInMs });
  }

  #standing(key: string, now: number): Ban | undefined {
    const entry = this.#entries.get(key);
    if (!entry || entry.until <= now) return undefined;
    return { key, by: entry.by, leftMs: entry.until - now, times: entry.times };
  }

  #makeRoom(now: number): void {
    const [oldest] = this.#entries.keys();
    const over = this.#entries
      .entries()
      .take(LOOKS)
      .find(([, { until }]) => until <= now);
    this.#entries.delete(over?.[0] ?? (oldest as string));
  }
}
