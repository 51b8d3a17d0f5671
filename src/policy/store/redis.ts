import { randomUUID } from "node:crypto";
import { RedisKeys } from "./redis-keys.ts";
import {
  GIVE_BACK,
  IMPOSE,
  LIST,
  LOOK,
  RENEW,
  SETTLE,
  type StoreScript,
  TAKE,
  UNBAN,
} from "./redis-scripts.ts";
import { Seats } from "./redis-seats.ts";
import {
  type Ban,
  type Bucket,
  type Count,
  type CounterStore,
  type Imposed,
  type Look,
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

/** Runs scripts; rejects when there is no answer in time. */
export interface ScriptRunner {
  readonly prefix: string;
  run(script: StoreScript, keys: readonly string[], args: readonly string[]): Promise<unknown>;
}

/** So many of each name. */
const NETWORKS = { ms: REMEMBERED_MS.networks, each: 16 };
const PASSWORDS = { ms: REMEMBERED_MS.passwords, each: 8 };
/** Bans in the list of all: those that end first are left out of it, and hold nevertheless. */
const MOST_BANS = 100_000;
const LISTED = 10_000;
/** Things of one question: Redis answers others in between, also when a process with all its seats has died. */
const AT_ONCE = 500;
/** A replica that was killed frees its seats after this long; one that lives renews them three times as often. */
const SEAT_MS = 60_000;

/**
 * Everything in a Redis or Valkey that several Posterns share. Each question is one script, so one round trip and one
 * step: home-made, because nothing ready answers bans, windows and seats of several keys at once, all or nothing.
 * Rejects when Redis does not answer; FailoverStore is for that.
 */
export class RedisStore implements CounterStore, Disposable {
  readonly #runner: ScriptRunner;
  readonly #seats: Seats;
  readonly #seatMs: number;
  /** Ours among the holders of seats. */
  readonly #who = randomUUID().slice(0, 13);

  constructor(runner: ScriptRunner, seatMs = SEAT_MS) {
    this.#runner = runner;
    this.#seatMs = seatMs;
    this.#seats = new Seats(seatMs / 3, (seats) => this.#renew(seats));
  }

  async take(question: Question): Promise<{ readonly ban: Ban } | Taken> {
    const { buckets, guess = false } = question;
    const keys = this.#keys();
    const reply = (await this.#run(TAKE, keys, this.#ask(question, keys))) as TakeReply;
    if (reply[0] === "ban") return { ban: toBan(reply.slice(1) as unknown as BanRow) };
    const [, refused, rows, imposed] = reply;
    const receipts = rows.flatMap(([, , , window], at): Receipt[] =>
      window === "" ? [] : [{ bucket: buckets[at] as Bucket, window: Number(window), guess }],
    );
    for (const receipt of receipts) this.#seats.hold(receipt);
    return {
      refused: refused === 1,
      counts: toCounts(rows, buckets),
      receipts,
      imposed: imposed.map(toImposed),
    };
  }

  async giveBack(receipts: readonly Receipt[]): Promise<void> {
    if (receipts.length === 0) return;
    for (const receipt of receipts) this.#seats.release(receipt);
    for (let at = 0; at < receipts.length; at += AT_ONCE) {
      const keys = this.#keys();
      const some = receipts.slice(at, at + AT_ONCE).map((one) => this.#receipt(one, keys));
      await this.#run(GIVE_BACK, keys, { receipts: some });
    }
  }

  async settle(
    receipts: readonly Receipt[],
    outcome: Outcome,
    visitor?: Visitor,
  ): Promise<readonly Imposed[]> {
    const keys = this.#keys();
    const reply = await this.#run(SETTLE, keys, {
      outcome,
      receipts: receipts.map((one) => this.#receipt(one, keys)),
      visitor: keys.visitor(visitor),
      networks: NETWORKS,
      passwords: PASSWORDS,
      repeats: REPEATS,
    });
    return (reply as ImposedRow[]).map(toImposed);
  }

  async look(question: Question): Promise<Standing> {
    const keys = this.#keys();
    const reply = await this.#run(LOOK, keys, this.#ask(question, keys));
    const [known, bans, rows] = reply as [number, BanRow[], LookRow[]];
    const counts = toCounts(rows, question.buckets).map((count, at): Look => {
      const banMs = rows[at]?.[3] ?? "";
      return banMs === "" ? count : { ...count, banMs: Number(banMs) };
    });
    return { bans: bans.map(toBan), counts, known: known === 1 };
  }

  async bans(): Promise<readonly Ban[]> {
    const keys = this.#keys();
    keys.list();
    const names = (await this.#run(LIST, keys, { most: LISTED })) as string[];
    const all: Ban[] = [];
    for (let at = 0; at < names.length; at += AT_ONCE)
      all.push(...(await this.look({ bans: names.slice(at, at + AT_ONCE), buckets: [] })).bans);
    return all;
  }

  async ban(sentence: Sentence): Promise<Imposed | undefined> {
    const keys = this.#keys();
    const reply = await this.#run(IMPOSE, keys, { ban: keys.sentence(sentence, MOST_BANS) });
    return Array.isArray(reply) ? toImposed(reply as unknown as ImposedRow) : undefined;
  }

  async unban(key: string, counters: readonly string[]): Promise<boolean> {
    const keys = this.#keys();
    keys.ban(key);
    keys.list();
    for (const counter of counters) keys.counter({ key: counter, windowMs: 1 });
    return (await this.#run(UNBAN, keys, { key })) === 1;
  }

  [Symbol.dispose](): void {
    this.#seats[Symbol.dispose]();
  }

  #keys(): RedisKeys {
    return new RedisKeys(this.#runner.prefix);
  }

  #run(script: StoreScript, keys: RedisKeys, question: object): Promise<unknown> {
    return this.#runner.run(script, keys.all, [JSON.stringify(question)]);
  }

  #ask({ bans, buckets, visitor, guess = false }: Question, keys: RedisKeys): object {
    return {
      guess,
      repeats: guess ? REPEATS : undefined,
      who: this.#who,
      seatMs: this.#seatMs,
      bans: bans.map((key) => ({ key, at: keys.ban(key) })),
      buckets: buckets.map(({ points, windowMs: window, soft, cost = 1, ofName, distinct, ...bucket }) => ({
        at: keys.counter({ key: bucket.key, windowMs: window }),
        decoy: ofName && window !== undefined ? keys.decoy(bucket.key) : undefined,
        ban: bucket.ban && keys.sentence(bucket.ban, MOST_BANS),
        different: distinct === undefined ? undefined : keys.different(bucket.key),
        ...{ points, window, soft, cost, ofName, distinct },
      })),
      visitor: keys.visitor(visitor),
    };
  }

  #receipt({ bucket, window, guess }: Receipt, keys: RedisKeys): object {
    const { key, windowMs: windowed, cost = 1, ofName, points, ban } = bucket;
    return {
      at: keys.counter(bucket),
      decoy: ofName && windowed !== undefined ? keys.decoy(key) : undefined,
      ban: ban && keys.sentence(ban, MOST_BANS),
      window: String(window),
      who: this.#who,
      ...{ windowed, cost, ofName, points, guess },
    };
  }

  /** What fails is tried again with the next round: there are two before a seat is lost. */
  async #renew(receipts: readonly Receipt[]): Promise<void> {
    const keys = this.#keys();
    const seats = receipts.flatMap(({ bucket, window }) => {
      const at = keys.counter(bucket);
      return Array.from({ length: bucket.cost ?? 1 }, (_, n) => ({
        at,
        member: `${this.#who}:${window}:${n + 1}`,
      }));
    });
    await this.#run(RENEW, keys, { seats, seatMs: this.#seatMs }).catch(() => {});
  }
}

type CountRow = readonly [taken: string, left: string, over: number, window: string];
type LookRow = readonly [taken: string, left: string, over: number, banMs: string];
type ImposedRow = readonly [key: string, by: string, ms: string, times: number];
type BanRow = readonly [key: string, by: string, left: string, times: number];
type TakeReply =
  | readonly ["ban", ...BanRow]
  | readonly ["taken", refused: number, rows: readonly CountRow[], imposed: readonly ImposedRow[]];

function toBan([key, by, left, times]: BanRow): Ban {
  return { key, by, leftMs: Number(left), times: Number(times) };
}

function toImposed([key, by, ms, times]: ImposedRow): Imposed {
  return { key, by, ms: Number(ms), times: Number(times) };
}

function toCounts(rows: readonly (CountRow | LookRow)[], buckets: readonly Bucket[]): Count[] {
  return rows.map(([taken, left, over], at) => ({
    taken: Number(taken),
    leftMs: buckets[at]?.windowMs === undefined ? undefined : Number(left),
    over: over === 1,
  }));
}
