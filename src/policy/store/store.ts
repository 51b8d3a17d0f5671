/** One counter: so many in a time, or, without `windowMs`, so many seats at once. */
export interface Bucket {
  readonly key: string;
  readonly points: number;
  readonly windowMs?: number;
  /** A soft bucket is counted beyond its points too, and refuses nothing. */
  readonly soft: boolean;
}

/** What was taken, to be given back or kept. */
export interface Receipt<B extends Bucket = Bucket> {
  readonly bucket: B;
  /** Which window of the bucket it was taken from: a later one owes nothing. */
  readonly window: number;
}

export interface Taken<B extends Bucket = Bucket> {
  /** One for each bucket, or none at all when one of them was full. */
  readonly receipts: readonly Receipt<B>[];
  /** The buckets beyond their points. */
  readonly over: readonly B[];
  /** Milliseconds until the last of the full buckets begins anew; undefined when that is not known. */
  readonly retryAfterMs: number | undefined;
}

export interface Ban {
  readonly key: string;
  readonly leftMs: number;
}

/**
 * Where counters, seats and bans live. Each call is one round trip and atomic: two askings at the same time
 * never both get the last point.
 */
export interface CounterStore {
  /** The longest ban among `bans`, or else one point from every bucket, or from none when a hard one is full. */
  take<B extends Bucket>(bans: readonly string[], buckets: readonly B[]): Promise<Ban | Taken<B>>;
  /** Gives points back. */
  giveBack(receipts: readonly Receipt[]): Promise<void>;
  /** Keeps points for good; returns the buckets in which nothing is left and nothing is still undecided. */
  keep<B extends Bucket>(receipts: readonly Receipt<B>[]): Promise<readonly B[]>;
  ban(key: string, ms: number): Promise<void>;
}
