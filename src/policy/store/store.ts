/** One counter: so many in a time, or, without `windowMs`, so many seats at once. Plain data, for it may travel. */
export interface Bucket {
  readonly key: string;
  readonly points: number;
  readonly windowMs?: number;
  /** A soft bucket is counted beyond its points too, and refuses nothing. */
  readonly soft: boolean;
  /** Points to take at once; 0 only looks whether one is left. Default 1. */
  readonly cost?: number;
  /**
   * A name's bucket for guesses from wherever they come: it is passed over for a network that the name is known
   * to use, and nothing stays counted in it for a name that is nobody's.
   */
  readonly ofName?: boolean;
  /** Counts how many different ones there are in the window: what has been counted in it passes, full or not. */
  readonly distinct?: string;
  /** What is imposed when it is full. */
  readonly ban?: Sentence;
}

/** Whom to ban, and for how long. */
export interface Sentence {
  readonly key: string;
  /** Which limit asks for it. */
  readonly by: string;
  readonly ms: number;
  /** Each repeat doubles the time, up to this; a repeat is one that comes before so much has passed since. */
  readonly upToMs?: number;
  /** Whether networks that the name is known to use are let through. */
  readonly sparesKnown?: boolean;
}

/** The name at the door and where it knocks, for what is remembered of both. */
export interface Visitor {
  readonly user: string;
  readonly network: string;
  /** Stands for the password, and tells nothing of it. */
  readonly fingerprint?: string;
}

/** All that one asking point wants to know: one round trip. */
export interface Question {
  /** Keys whose ban says no. */
  readonly bans: readonly string[];
  readonly buckets: readonly Bucket[];
  readonly visitor?: Visitor;
  /** What is taken stays undecided until it is settled, and until then nobody is banned for it. */
  readonly guess?: boolean;
}

/** How full a bucket is, with what was taken just now. */
export interface Count {
  readonly taken: number;
  /** Milliseconds until it begins anew; undefined for seats. */
  readonly leftMs: number | undefined;
  /** Whether it had no point left. */
  readonly over: boolean;
}

/** What was taken, to be given back or settled. */
export interface Receipt {
  readonly bucket: Bucket;
  /** Which window of the bucket it was taken from: a later one owes nothing. */
  readonly window: number;
  readonly guess: boolean;
}

export interface Ban {
  readonly key: string;
  readonly by: string;
  readonly leftMs: number;
  /** How often in a row, the first one included. */
  readonly times: number;
}

/** A ban as it is kept while nobody counts: also one that is over, as long as the next would be a repeat of it. */
export interface KeptBan extends Ban {
  readonly forgetInMs: number;
  readonly sparesKnown: boolean;
}

/** A ban that an asking led to. */
export interface Imposed {
  readonly key: string;
  readonly by: string;
  readonly ms: number;
  /** How often in a row, the first one included. */
  readonly times: number;
}

export interface Taken {
  /** Whether a hard bucket was full: then nothing was taken from any. */
  readonly refused: boolean;
  /** One for each bucket of the question. */
  readonly counts: readonly Count[];
  readonly receipts: readonly Receipt[];
  readonly imposed: readonly Imposed[];
}

/**
 * Each look at a password costs a hash, a repeated one's too. So many are free for one network: more than an office of
 * devices that missed a new password makes, and few enough to carry.
 */
export const REPEATS = { points: 120, windowMs: 60_000 };

const DAY = 86_400_000;
/**
 * How long something is remembered, in milliseconds. Passwords are wrong ones: a device that was not told the new one
 * tries the old one for days.
 */
export const REMEMBERED_MS = { networks: 30 * DAY, passwords: DAY };

/** What came of a guess. "unknownName": wrong, and the name is nobody's; "undecided": nobody knows. */
export type Outcome = "right" | "wrong" | "unknownName" | "undecided";

/** A bucket, for whoever asks why. */
export interface Look extends Count {
  /** How long its ban would be if it were imposed now; undefined where it has none. */
  readonly banMs?: number | undefined;
}

/** What stands where, for whoever asks why. */
export interface Standing {
  readonly bans: readonly Ban[];
  /** One for each bucket of the question. */
  readonly counts: readonly Look[];
  /** Whether the visitor's network is one that the name is known to use. */
  readonly known: boolean;
}

/**
 * Where counters, seats, bans and what is remembered of names live. Each call is one round trip and atomic: two
 * askings at the same time never both get the last point. Calls take effect in the order in which they are made,
 * so that what is given back need not be waited for, and none of them rejects.
 */
export interface CounterStore {
  /** The longest ban, or else the points of every bucket, or none when a hard one is full. */
  take(question: Question): Promise<{ readonly ban: Ban } | Taken>;
  /** Gives back what is not needed any more. */
  giveBack(receipts: readonly Receipt[]): Promise<void>;
  /** Ends a guess: gives its points back, or keeps them and bans where a bucket is full of kept ones. */
  settle(receipts: readonly Receipt[], outcome: Outcome, visitor?: Visitor): Promise<readonly Imposed[]>;
  /** What `take` would find. Changes nothing. */
  look(question: Question): Promise<Standing>;
  /** All bans that hold now. */
  bans(): Promise<readonly Ban[]>;
  /** The time that it comes to, or undefined when a longer ban stands already. */
  ban(sentence: Sentence): Promise<Imposed | undefined>;
  /** Lifts a ban, forgets that it ever was, and empties the counters of these keys; whether there was one. */
  unban(key: string, counters: readonly string[]): Promise<boolean>;
}
