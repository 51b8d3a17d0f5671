import { BanList } from "./ban-list.ts";
import type { KeptRows } from "./counter-file.ts";
import { Counters, type Reading } from "./counters.ts";
import { Digests } from "./digests.ts";
import { Remembered } from "./remembered.ts";
import {
  type Ban,
  type Bucket,
  type Count,
  type CounterStore,
  type Imposed,
  type KeptBan,
  type Outcome,
  type Question,
  REMEMBERED_MS,
  REPEATS,
  type Receipt,
  type Sentence,
  type Standing,
  type Taken,
  type Visitor,
} from "./store.ts";

/** Counters of one process, and a quarter of that bans, which weigh more. */
const MAX_KEYS = 1_000_000;
const BANNED = 4;
const DAY = 86_400_000;
const KNOWN_NETWORKS = { things: 200_000, ms: REMEMBERED_MS.networks };
/** Of limits on how many different ones, all together. */
const DIFFERENT = { things: 200_000, ms: DAY };
const WRONG_PASSWORDS = { things: 100_000, ms: REMEMBERED_MS.passwords };
/** Names that are nobody's take a tenth of the room, at the expense of each other only. */
const STRANGERS = 10;

/** Everything in the memory of one process. */
export class MemoryStore implements CounterStore {
  readonly #counters: Counters;
  /**
   * What the buckets of names that are nobody's would hold. They count for nothing, but a name that never gets
   * the answer of a full bucket would be known to be nobody's.
   */
  readonly #decoys: Counters;
  /** Of each network. */
  readonly #repeats: Counters;
  readonly #bans: BanList;
  readonly #digests = new Digests();
  readonly #networks = new Remembered(KNOWN_NETWORKS, this.#digests);
  readonly #wrong = new Remembered(WRONG_PASSWORDS, this.#digests);
  /** Of names that are nobody's: made up in any number, they push out no user's. */
  readonly #wrongOfStrangers = new Remembered(WRONG_PASSWORDS, this.#digests);
  readonly #different = new Remembered(DIFFERENT, this.#digests);
  /** How many different ones: kept no more than which they are, or they would be counted twice. */
  readonly #kinds: Counters;
  readonly #now: () => number;
  /** What outlives the process, in the order of the file. */
  readonly #tables: readonly (Counters | Remembered)[];

  /** `now`: milliseconds of a clock that never goes back. */
  constructor(now: () => number = () => performance.now(), maxKeys = MAX_KEYS) {
    this.#now = now;
    this.#counters = new Counters(maxKeys, this.#digests);
    this.#kinds = new Counters(maxKeys, this.#digests);
    this.#decoys = new Counters(Math.ceil(maxKeys / STRANGERS), this.#digests);
    this.#repeats = new Counters(Math.ceil(maxKeys / STRANGERS), this.#digests);
    this.#bans = new BanList(Math.ceil(maxKeys / BANNED));
    this.#tables = [this.#counters, this.#decoys, this.#networks, this.#wrong, this.#wrongOfStrangers];
  }

  /** Keys held, of counters and bans. */
  get size(): number {
    return this.#counters.size + this.#kinds.size + this.#decoys.size + this.#bans.size;
  }

  async take(question: Question): Promise<{ readonly ban: Ban } | Taken> {
    const { bans, buckets, visitor, guess = false } = question;
    const now = this.#now();
    const known = this.#isKnown(visitor, now);
    const ban = this.#bans.longest(bans, known, now);
    if (ban) return { ban };
    const counts = buckets.map((bucket) => this.#count(bucket, known, now));
    const refused = counts.some(({ over }, at) => over && !buckets[at]?.soft);
    const imposed = guess ? [] : this.#imposeOn(buckets, counts, now);
    if (refused || (guess && this.#repeat(visitor, now))) return { refused, counts, receipts: [], imposed };
    const receipts: Receipt[] = [];
    for (const [at, bucket] of buckets.entries()) {
      const { cost = 1, ofName, distinct } = bucket;
      if (cost === 0 || (ofName && known)) continue;
      if (distinct !== undefined) {
        (counts[at] as { taken: number }).taken += this.#addDifferent(bucket, distinct, now);
        continue;
      }
      const window = this.#counters.add(bucket, cost, guess, now);
      (counts[at] as { taken: number }).taken += cost;
      receipts.push({ bucket, window, guess });
    }
    return { refused, counts, receipts, imposed };
  }

  async giveBack(receipts: readonly Receipt[]): Promise<void> {
    for (const receipt of receipts) this.#giveBack(receipt);
  }

  async settle(
    receipts: readonly Receipt[],
    outcome: Outcome,
    visitor?: Visitor,
  ): Promise<readonly Imposed[]> {
    const now = this.#now();
    if (outcome === "right" && visitor) this.#networks.add(visitor.user, visitor.network, now);
    const wrong = outcome === "wrong" || outcome === "unknownName";
    const repeated =
      wrong && this.#isRepeated(visitor, now) && this.#repeatsOf(visitor, now) <= REPEATS.points;
    if (wrong && visitor?.fingerprint !== undefined) {
      const wrongs = outcome === "wrong" ? this.#wrong : this.#wrongOfStrangers;
      wrongs.add(visitor.user, visitor.fingerprint, now);
    }
    if (!wrong || repeated) {
      await this.giveBack(receipts);
      return [];
    }
    return receipts.flatMap((receipt) => this.#keep(receipt, outcome, now) ?? []);
  }

  async look({ bans, buckets, visitor }: Question): Promise<Standing> {
    const now = this.#now();
    const known = this.#isKnown(visitor, now);
    const counts = buckets.map((bucket) => ({
      ...this.#count(bucket, known, now),
      taken: this.#countersOf(bucket).read(bucket, now).taken,
      ...(bucket.ban && { banMs: this.#bans.weigh(bucket.ban, now).length }),
    }));
    return { bans: this.#bans.among(bans, now), counts, known };
  }

  async bans(): Promise<readonly Ban[]> {
    return this.#bans.all(this.#now());
  }

  async ban(sentence: Sentence): Promise<Imposed | undefined> {
    return this.#bans.impose(sentence, this.#now());
  }

  async unban(key: string, counters: readonly string[]): Promise<boolean> {
    for (const counter of counters) for (const at of [this.#counters, this.#kinds]) at.forget(counter);
    return this.#bans.lift(key, this.#now());
  }

  /** Another number whenever bans are not those of before. */
  get banChanges(): number {
    return this.#bans.changes;
  }

  keepBans(): readonly KeptBan[] {
    return this.#bans.keep(this.#now());
  }

  restoreBans(kept: readonly KeptBan[]): void {
    this.#bans.restore(kept, this.#now());
  }

  /** What keys are counted by, and what is made of it: known to this process and to those after it. */
  get secret(): Uint8Array {
    return this.#digests.secret;
  }

  /** Another number whenever there is something to keep that was not there before; the secret is, from the start. */
  get counterChanges(): number {
    return this.#tables.reduce((sum, { changes }) => sum + changes, 1);
  }

  get counterTables(): number {
    return this.#tables.length;
  }

  *keepCounters(): Iterable<KeptRows> {
    for (const [table, kept] of this.#tables.entries())
      for (const rows of kept.parts.keep(this.#now)) yield { table, rows };
  }

  /** Forgets what is counted and remembered, but for bans and seats, to take what was counted by this secret. */
  restoreSecret(secret: Uint8Array): void {
    this.#digests.rekey(secret);
    for (const { parts } of [...this.#tables, this.#repeats, this.#kinds]) parts.clear();
  }

  restoreCounters({ table, rows }: KeptRows, agoMs: number): void {
    this.#tables[table]?.parts.restore(rows, agoMs, this.#now());
  }

  #isKnown(visitor: Visitor | undefined, now: number): boolean {
    return visitor !== undefined && this.#networks.has(visitor.user, visitor.network, now);
  }

  /** Whether this wrong password has been counted for this name before. */
  #isRepeated(visitor: Visitor | undefined, now: number): boolean {
    if (visitor?.fingerprint === undefined) return false;
    const { user, fingerprint } = visitor;
    return this.#wrong.has(user, fingerprint, now) || this.#wrongOfStrangers.has(user, fingerprint, now);
  }

  /** Whether it is a repeated one that is free. */
  #repeat(visitor: Visitor | undefined, now: number): boolean {
    if (!visitor || !this.#isRepeated(visitor, now)) return false;
    this.#repeats.add(repeatsAt(visitor), 1, false, now);
    return this.#repeatsOf(visitor, now) <= REPEATS.points;
  }

  #repeatsOf(visitor: Visitor | undefined, now: number): number {
    return visitor ? this.#repeats.read(repeatsAt(visitor), now).taken : 0;
  }

  #count(bucket: Bucket, known: boolean, now: number): Count {
    const { windowMs, cost = 1, points, ofName } = bucket;
    const own = this.#countersOf(bucket).read(bucket, now);
    const decoy = ofName ? this.#decoys.read(bucket, now) : undefined;
    const taken = own.taken + (decoy?.taken ?? 0);
    const endsAt = Math.max(own.endsAt, decoy?.endsAt ?? 0);
    const leftMs = windowMs === undefined ? undefined : endsAt === 0 ? windowMs : endsAt - now;
    const passes = (ofName && known) || this.#isCounted(bucket, own, now);
    return { taken, leftMs, over: !passes && taken + Math.max(cost, 1) > points };
  }

  #countersOf({ distinct }: Bucket): Counters {
    return distinct === undefined ? this.#counters : this.#kinds;
  }

  #isCounted({ key, distinct }: Bucket, { endsAt }: Reading, now: number): boolean {
    return distinct !== undefined && this.#different.has(`${key}\u0000${endsAt}`, distinct, now);
  }

  /** Another one of this window: nobody gives it back, for it has been there. */
  #addDifferent(bucket: Bucket, distinct: string, now: number): 0 | 1 {
    if (this.#isCounted(bucket, this.#kinds.read(bucket, now), now)) return 0;
    this.#kinds.add(bucket, 1, false, now);
    const { endsAt } = this.#kinds.read(bucket, now);
    this.#different.add(`${bucket.key}\u0000${endsAt}`, distinct, now, endsAt - now);
    return 1;
  }

  #giveBack({ bucket, window, guess }: Receipt): void {
    this.#counters.subtract(bucket, window, bucket.cost ?? 1, guess);
  }

  #keep(receipt: Receipt, outcome: Outcome, now: number): Imposed | undefined {
    const { bucket, window } = receipt;
    const { cost = 1, ofName, ban, points } = bucket;
    // A name that no guess ever bans would be known to be nobody's, too.
    const kept =
      ofName && outcome === "unknownName"
        ? this.#keepDecoy(receipt, now)
        : this.#counters.decide(bucket, window, cost, now);
    return ban && kept !== undefined && kept >= points ? this.#bans.impose(ban, now) : undefined;
  }

  #keepDecoy(receipt: Receipt, now: number): number {
    const { bucket } = receipt;
    this.#giveBack(receipt);
    this.#decoys.add(bucket, bucket.cost ?? 1, false, now);
    return this.#decoys.read(bucket, now).taken;
  }

  #imposeOn(buckets: readonly Bucket[], counts: readonly Count[], now: number): Imposed[] {
    return buckets.flatMap(({ ban, cost }, at) =>
      ban && cost !== 0 && counts[at]?.over ? (this.#bans.impose(ban, now) ?? []) : [],
    );
  }
}

function repeatsAt({ network }: Visitor): Bucket {
  return { key: network, soft: true, ...REPEATS };
}
