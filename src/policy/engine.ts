import { setTimeout as delay } from "node:timers/promises";
import { Refused } from "../refusal.ts";
import { type Asked, Asking, type AskingPoint } from "./asking.ts";
import { ByteMeter, type Metered } from "./byte-meter.ts";
import { Clients } from "./clients.ts";
import { type Explanation, explain } from "./explain.ts";
import type { Place } from "./geo/places.ts";
import { settled } from "./guess.ts";
import type { Deed, LimitAnswer, Rule } from "./limit.ts";
import { type Facts, partsOf, readKey, type Subject, showKey, subjectOf } from "./limit-key.ts";
import type { PolicyObserver } from "./observer.ts";
import type { Attempt, Entrance, ExplainedFacts, MailElsewhere, Policy, PolicyOptions } from "./policy.ts";
import { OPERATOR, refusedBy, refusedFor } from "./refusals.ts";
import type { Ban, Count, CounterStore, Imposed, Outcome, Receipt } from "./store/store.ts";
import { countsBytes, judgeTraffic, type Traffic, type TrafficVerdict } from "./traffic.ts";

export type { Limit } from "./limit.ts";
export type { Entrance, Policy, PolicyOptions } from "./policy.ts";

interface Admitted {
  readonly receipts: readonly Receipt[];
  readonly delayMs: number;
}

/** What is heard of a limit that lets somebody pass who is beyond it. */
const HEARD: Readonly<Record<Exclude<Deed, "ban">, LimitAnswer>> = {
  refuse: "refused",
  delay: "delayed",
  throttle: "throttled",
  alert: "alerted",
  observe: "wouldRefuse",
};
const NOTHING: Admitted = { receipts: [], delayMs: 0 };
const NO_LEASE: Entrance = { completed() {}, async [Symbol.asyncDispose]() {} };
const NO_ATTEMPT: Attempt = { settle: (answer) => answer };

/** Puts the limits behind the asking points. */
export function createPolicy(options: PolicyOptions): Policy {
  return new Engine(options);
}

class Engine implements Policy {
  readonly #asking: Asking;
  readonly #clients: Clients;
  readonly #ipv6Prefix: number;
  readonly #store: CounterStore;
  readonly #observer: PolicyObserver;
  /** Only where some limit counts bytes. */
  readonly #meter: ByteMeter | undefined;
  #seats = 0;

  constructor({ limits, mode, exempt, ipv6Prefix, store, observer, places }: PolicyOptions) {
    this.#asking = new Asking(limits, mode, places?.kinds);
    this.#clients = new Clients(exempt, ipv6Prefix, places);
    this.#ipv6Prefix = ipv6Prefix;
    this.#store = store;
    this.#observer = observer;
    if (limits.some(countsBytes)) this.#meter = new ByteMeter((traffic) => this.#judge(traffic));
  }

  get seats(): number {
    return this.#seats;
  }

  *answers(): Iterable<{ limit: string; answer: LimitAnswer; times: number }> {
    for (const { name, answers } of this.#asking.rules)
      for (const [answer, times] of answers) yield { limit: name, answer, times };
  }

  async connection(facts: Facts, signal?: AbortSignal): Promise<AsyncDisposable> {
    return this.#enter("connection", facts, signal);
  }

  async login(facts: Facts, signal?: AbortSignal): Promise<Entrance> {
    return this.#enter("login", facts, signal);
  }

  message(facts: Facts): Promise<void> | undefined {
    return this.#pass("message", facts);
  }

  recipient(facts: Facts): Promise<void> | undefined {
    return this.#pass("recipient", facts)?.catch((error: unknown) => {
      const ours = error instanceof Refused && error.refusal.kind === "tooFast";
      if (ours) this.recipientRefused(facts);
      throw error;
    });
  }

  recipientRefused(facts: Facts): void {
    const asked = this.#ask("refusedRecipient", facts);
    // It is over: nobody waits, and a store without an answer changes nothing.
    if (asked) void this.#admit(asked).catch(() => {});
  }

  /** No limit counts it. */
  content(): undefined {}

  subject(facts: Facts): Subject | undefined {
    const client = this.#clients.find(facts);
    return client.exempt ? undefined : subjectOf(facts, client);
  }

  async attempt(facts: Facts, signal?: AbortSignal, fingerprint?: string): Promise<Attempt> {
    const asked = this.#ask("attempt", facts);
    if (!asked) return NO_ATTEMPT;
    const { visitor } = asked.question;
    const guess = visitor && { ...visitor, ...(fingerprint !== undefined && { fingerprint }) };
    const question = { ...asked.question, guess: true, ...(guess && { visitor: guess }) };
    const { receipts, delayMs } = await this.#admit({ ...asked, question });
    await pause(delayMs, signal);
    if (asked.rules.length === 0) return NO_ATTEMPT;
    const settle = async (outcome: Outcome): Promise<void> =>
      this.#tellBans(await this.#store.settle(receipts, outcome, guess));
    return { settle: (answer) => settled(answer, settle) };
  }

  elsewhere(facts: Facts, mail: MailElsewhere, signal?: AbortSignal): Promise<void> | undefined {
    const subject = this.subject(facts);
    if (!subject) return undefined;
    const { bytesIn = 0 } = mail;
    const asked = this.#asking.askElsewhere(subject, mail);
    return asked && this.#passElsewhere(asked, { facts, in: bytesIn, out: 0 }, signal);
  }

  async #passElsewhere(asked: Asked, moved: Traffic, signal: AbortSignal | undefined): Promise<void> {
    const { delayMs } = await this.#admit(asked);
    if (moved.in > 0) await this.#judge([moved]);
    await pause(delayMs, signal);
  }

  watch(session: Metered, stops: boolean): void {
    this.#meter?.watch(session, stops);
  }

  meter(session: Metered): void {
    void this.#meter?.read(session);
  }

  async explain(facts: ExplainedFacts): Promise<Explanation> {
    const { ip: address } = facts;
    const client = address === undefined ? undefined : this.#clients.find({ ...facts, ip: address });
    const asked = this.#asking.askAll(subjectOf(facts, client ?? {}));
    const spares = new Set(this.#asking.rules.filter(({ ofName }) => ofName).map(({ name }) => name));
    return explain(asked, await this.#store.look(asked.question), client ?? { exempt: false }, spares);
  }

  place(facts: Pick<Facts, "ip" | "claimed">): Place {
    return this.#clients.find(facts).place;
  }

  async bans(): Promise<readonly Ban[]> {
    const bans = await this.#store.bans();
    return bans.map((ban) => ({ ...ban, key: showKey(ban.key) }));
  }

  async ban(text: string, ms: number): Promise<Ban | undefined> {
    const key = readKey(text, this.#ipv6Prefix);
    if (key === undefined || !this.#asking.bansBy(partsOf(key))) return undefined;
    const imposed = await this.#store.ban({ key, by: OPERATOR, ms });
    if (imposed) this.#observer.banned(OPERATOR, showKey(key), imposed.ms);
    const [standing] = (await this.#store.look({ bans: [key], buckets: [] })).bans;
    return { ...(standing ?? { by: OPERATOR, leftMs: ms, times: 1 }), key: showKey(key) };
  }

  async unban(text: string): Promise<boolean> {
    const key = readKey(text, this.#ipv6Prefix);
    if (key === undefined) return false;
    const parts = partsOf(key).join();
    const rules = this.#asking.rules.filter(({ per }) => per.join() === parts);
    return this.#store.unban(
      key,
      rules.map((rule) => rule.counterKey(key)),
    );
  }

  #ask(point: AskingPoint, facts: Facts): Asked | undefined {
    const subject = this.subject(facts);
    return subject && this.#asking.ask(point, subject);
  }

  #pass(point: "message" | "recipient", facts: Facts): Promise<void> | undefined {
    const asked = this.#ask(point, facts);
    return asked && this.#admit(asked).then(({ delayMs }) => pause(delayMs));
  }

  async #enter(
    point: "connection" | "login",
    facts: Facts,
    signal: AbortSignal | undefined,
  ): Promise<Entrance> {
    const asked = this.#ask(point, facts);
    const { receipts, delayMs } = asked ? await this.#admit(asked) : NOTHING;
    const lease = this.#lease(receipts, point === "login");
    await pause(delayMs, signal);
    return lease;
  }

  /** One asking: bans first, then the points of each bucket, or none. */
  async #admit(asked: Asked): Promise<Admitted> {
    const { question, rules, whom } = asked;
    const answer = await this.#store.take(question);
    if ("ban" in answer) throw refusedBy(answer.ban);
    this.#tellBans(answer.imposed);
    if (answer.refused) throw refusedFor(answer, asked);
    let delayMs = 0;
    for (const [at, rule] of rules.entries()) {
      const count = answer.counts[at];
      if (!count?.over) {
        rule.heard("allowed");
        continue;
      }
      // A ban is heard of where it is imposed.
      if (rule.deed !== "ban") rule.heard(HEARD[rule.deed]);
      this.#tellSoft(rule, whom[at] ?? "", count);
      if (rule.deed === "delay") delayMs = Math.max(delayMs, rule.delayMs);
    }
    return { receipts: answer.receipts, delayMs };
  }

  #tellSoft(rule: Rule, whom: string, count: Count): void {
    const about = [rule.name, showKey(whom), rule.describe(whom, count)] as const;
    if (rule.deed === "observe") this.#observer.wouldRefuse(...about, rule.would);
    else if (rule.deed === "delay") this.#observer.delayed(...about, rule.delayMs);
  }

  #lease(receipts: readonly Receipt[], isLogin: boolean): Entrance {
    const seats = receipts.filter(({ bucket }) => bucket.windowMs === undefined);
    if (seats.length === 0 && !(isLogin && receipts.length > 0)) return NO_LEASE;
    this.#seats += seats.length;
    let held: readonly Receipt[] | undefined = isLogin ? receipts : seats;
    return {
      completed() {
        if (held) held = seats;
      },
      [Symbol.asyncDispose]: async () => {
        const back = held;
        if (!back) return;
        held = undefined;
        this.#seats -= seats.length;
        await this.#store.giveBack(back);
      },
    };
  }

  async #judge(traffic: readonly Traffic[]): Promise<readonly TrafficVerdict[]> {
    const counted = traffic.map(({ facts, ...bytes }) => {
      const client = this.#clients.find(facts);
      return { ...bytes, subject: client.exempt ? undefined : subjectOf(facts, client) };
    });
    const judged = await judgeTraffic(this.#asking.rules, counted, this.#store, this.#observer);
    this.#tellBans(judged.imposed);
    return judged.verdicts;
  }

  #tellBans(imposed: readonly Imposed[]): void {
    for (const { by, key, ms } of imposed) {
      this.#asking.rules.find(({ name }) => name === by)?.heard("banned");
      this.#observer.banned(by, showKey(key), ms);
    }
  }
}

/** A tarpit costs a timer, not a worker; a client that leaves ends it. */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  if (ms > 0) await delay(ms, undefined, { ref: false, ...(signal && { signal }) }).catch(() => {});
}
