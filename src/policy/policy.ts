import type { Metered } from "./byte-meter.ts";
import type { Explanation } from "./explain.ts";
import type { Place, Places } from "./geo/places.ts";
import type { Limit, LimitAnswer } from "./limit.ts";
import type { Facts } from "./limit-key.ts";
import type { PolicyObserver } from "./observer.ts";
import type { Ban, CounterStore } from "./store/store.ts";

export interface PolicyOptions {
  readonly limits: readonly Limit[];
  readonly mode: "enforce" | "observe";
  /** Addresses and networks (CIDR) that are never limited and never banned. */
  readonly exempt: readonly string[];
  readonly ipv6Prefix: number;
  readonly store: CounterStore;
  readonly observer: PolicyObserver;
  /** Says where addresses are, where limits go by that. */
  readonly places?: Places | undefined;
}

/** The engine's asking points. Each rejects with Refused, or resolves to what is to be given back. */
export interface Policy {
  /** May this peer speak at all? Asked before the greeting. */
  connection(facts: Facts, signal?: AbortSignal): Promise<AsyncDisposable>;
  /**
   * May this peer try a password for this name? Asked before anybody looks at it. The fingerprint stands for the
   * password, so that the same wrong one again is no new guess.
   */
  attempt(facts: Facts, signal?: AbortSignal, fingerprint?: string): Promise<Attempt>;
  /** May this user, now known, enter? Asked when his backend is known too. */
  login(facts: Facts, signal?: AbortSignal): Promise<Entrance>;
  /** May this session begin one more message? Undefined where no limit has anything to say. */
  message(facts: Facts): Promise<void> | undefined;
  /** May it name one more recipient? */
  recipient(facts: Facts): Promise<void> | undefined;
  /** Counts a session's bytes from now on, once a second; where it `stops`, a limit ends it or slows it down. */
  watch(session: Metered, stops: boolean): void;
  /** Counts what it has moved so far, now. */
  meter(session: Metered): void;
  /** Where this client is, as far as files for that are configured. */
  place(facts: Pick<Facts, "ip" | "claimed">): Place;
  /** Every limit and ban that these facts meet, and what would happen now. Changes nothing. */
  explain(facts: ExplainedFacts): Promise<Explanation>;
  bans(): Promise<readonly Ban[]>;
  /**
   * Bans by an operator's `ip=203.0.113.5`, `user=alice` and the like; undefined for a key that nobody asks for. Gives
   * the ban that holds then: a longer one stays.
   */
  ban(key: string, ms: number): Promise<Ban | undefined>;
  /** Whether there was one. The limits that count by this key begin anew. */
  unban(key: string): Promise<boolean>;
  /** Seats held now. */
  readonly seats: number;
  /** How often each limit gave each answer. */
  answers(): Iterable<{ limit: string; answer: LimitAnswer; times: number }>;
}

/** What is known of somebody who may not be here. */
export type ExplainedFacts = Partial<Facts>;

/** One try at a password, counted before it is looked at. */
export interface Attempt {
  /** Waits for the answer; only a wrong password stays counted, an outage or a success is given back. */
  settle<T>(answer: Promise<T>): Promise<T>;
}

/** A user's seats. What it counts as a login is given back unless it is completed. */
export interface Entrance extends AsyncDisposable {
  /** Says that the backend has let the user in. */
  completed(): void;
}
