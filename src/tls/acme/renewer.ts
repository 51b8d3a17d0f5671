import { setTimeout as pause } from "node:timers/promises";
import { FileWatch } from "../../io/file-watch.ts";
import type { KeyPair } from "../key-pair.ts";
import type { AcmeCertificate } from "./certificate.ts";
import type { AcmeFolder, FailedTry } from "./folder.ts";
import { OrderFailed } from "./order.ts";
import { dueAt, LEAST_PAUSE, pauseAfter, type RenewalWish } from "./schedule.ts";

/** One order may take so long, and a lease lasts as long. In milliseconds. */
const ORDER_MS = 60 * 60_000;
/** Another one has the lease: look again then. */
const LEASE_PAUSE = 60_000;
/** Timers are no longer than this, so that a clock that is set, or a machine that slept, is noticed. */
const LONGEST_WAIT = 60 * 60_000;

/** Makes sure that only one of several gateways orders; gives nothing while another one does. */
export interface Lease {
  acquire(name: string, ttlMs: number): Promise<AsyncDisposable | undefined>;
}

/** What happens, told once each time. */
export interface AcmeObserver {
  /** A certificate is in use; none when it is a temporary one of our own, until the first one comes. */
  inUse(certificate: AcmeCertificate | undefined): void;
  /** The file that another process wrote, or that was there at the start, cannot be used; the old one stays. */
  brokenFile(error: Error): void;
  /** An order has ended, badly with an error. `news` is false while the reason is the one of last time. */
  ordered(failure: { reason: string; nextTry: number; news: boolean } | undefined): void;
}

export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  wait(ms: number, signal: AbortSignal): Promise<void>;
}

export interface AcmeOptions {
  readonly wish: RenewalWish;
  readonly folder: AcmeFolder;
  /** Takes the certificate that clients shall see from now on. */
  readonly use: (pair: KeyPair) => void;
  readonly order: (accountKey: string, signal: AbortSignal) => Promise<AcmeCertificate>;
  /** Shows clients something until there is a certificate; absent when there are others. */
  readonly showTemporary?: (() => Promise<void>) | undefined;
  readonly observer: AcmeObserver;
  readonly lease?: Lease | undefined;
  /** Brings the newest certificate that any gateway has into the folder, and ours to the others. */
  readonly exchange?: { sync(): Promise<void> } | undefined;
  readonly clock?: Clock;
  readonly luck?: () => number;
}

const REAL_CLOCK: Clock = {
  now: Date.now,
  wait: (ms, signal) => pause(ms, undefined, { signal, ref: false }),
};

/** ACME at work. Ends with what it has under way when disposed of. */
export interface Acme extends AsyncDisposable {
  /** From now on certificates are ordered: the listeners can answer the authority. */
  renew(): void;
}

/**
 * Uses the certificate that is in the folder, and takes up what others put there; with `renew`, orders one when there
 * is none or when its time comes. Returns when clients can be served. Throws when the folder cannot be had.
 */
export async function startAcme(options: AcmeOptions): Promise<Acme> {
  const renewer = new Renewer(options);
  await renewer.start();
  return renewer;
}

class Renewer implements Acme {
  readonly #options: AcmeOptions;
  readonly #clock: Clock;
  readonly #luck: () => number;
  readonly #stopped = new AbortController();
  #watch: FileWatch | undefined;
  #certificate: AcmeCertificate | undefined;
  /** Drawn once for each certificate, or its date would move each time we look. */
  #renewAt = 0;
  #failures = 0;
  #notBefore = 0;
  #lastReason: string | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor(options: AcmeOptions) {
    this.#options = options;
    this.#clock = options.clock ?? REAL_CLOCK;
    this.#luck = options.luck ?? Math.random;
  }

  async start(): Promise<void> {
    const { folder, showTemporary, observer } = this.#options;
    await folder.open();
    // Without the others, too, we begin with what we have.
    await this.#options.exchange?.sync().catch(() => {});
    await this.#takeUp();
    if (!this.#certificate && showTemporary) {
      await showTemporary();
      observer.inUse(undefined);
    }
    const failure = await folder.readFailure();
    if (failure) this.#notBefore = startAfter(failure, this.#clock.now());
    this.#watch = new FileWatch(folder.certificatePath, () => void this.#takeUp());
  }

  renew(): void {
    this.#running = this.#run();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped.abort();
    this.#watch?.close();
    await this.#running;
  }

  /** Uses what is in the folder now, when it is good and another one than before. */
  async #takeUp(): Promise<void> {
    const { folder, observer } = this.#options;
    try {
      const found = await folder.readCertificate();
      if (!found || found.cert === this.#certificate?.cert || this.#stopped.signal.aborted) return;
      this.#adopt(found);
    } catch (error) {
      observer.brokenFile(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #adopt(certificate: AcmeCertificate): void {
    const { use, observer, wish } = this.#options;
    use(certificate);
    this.#certificate = certificate;
    this.#renewAt = dueAt(certificate, wish, this.#luck());
    observer.inUse(certificate);
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopped;
    while (!signal.aborted) {
      const wait = Math.max(this.#renewAt, this.#notBefore) - this.#clock.now();
      if (wait <= 0) await this.#tryOnce();
      else await this.#clock.wait(Math.min(wait, LONGEST_WAIT), signal).catch(() => {});
    }
  }

  async #tryOnce(): Promise<void> {
    const { folder } = this.#options;
    try {
      if (!(await this.#orderUnderLease())) this.#notBefore = this.#clock.now() + LEASE_PAUSE;
    } catch (error) {
      // A stop is no failure, and the next start may try at once.
      if (this.#stopped.signal.aborted) await folder.writeFailure(undefined).catch(() => {});
      else await this.#failed(error);
    }
  }

  /** False when another one has the lease. */
  async #orderUnderLease(): Promise<boolean> {
    const { lease, folder } = this.#options;
    const name = `acme:${folder.name}`;
    await using held = lease && (await lease.acquire(name, ORDER_MS));
    if (lease && !held) return false;
    // Whoever had the lease before may have renewed already.
    await this.#options.exchange?.sync();
    await this.#takeUp();
    if (this.#renewAt <= this.#clock.now()) await this.#order();
    return true;
  }

  async #order(): Promise<void> {
    const { folder, order, observer } = this.#options;
    const signal = AbortSignal.any([this.#stopped.signal, AbortSignal.timeout(ORDER_MS)]);
    const now = this.#clock.now();
    // Before anything is asked for: what cannot be kept is not ordered, and a crash from here on is remembered.
    await folder.writeFailure({ at: now, reason: "the gateway ended during the order", notBefore: now });
    const fresh = await order(await folder.accountKey(), signal);
    // In this order, so that what cannot be used never takes the place of a good file.
    this.#adopt(fresh);
    await folder.writeCertificate(fresh);
    // While we hold the lease; when it fails, the next look puts it out.
    await this.#options.exchange?.sync().catch(() => {});
    if (this.#renewAt <= now)
      throw new Error("the new certificate is due at once; is this machine's clock right?");
    await folder.writeFailure(undefined);
    this.#failures = 0;
    this.#lastReason = undefined;
    observer.ordered(undefined);
  }

  async #failed(error: unknown): Promise<void> {
    const reason = error instanceof Error ? error.message : String(error);
    const asked = error instanceof OrderFailed ? error.retryAfterMs : undefined;
    const now = this.#clock.now();
    this.#failures += 1;
    this.#notBefore = now + pauseAfter(this.#failures, this.#luck(), asked);
    const news = reason !== this.#lastReason;
    this.#lastReason = reason;
    this.#options.observer.ordered({ reason, nextTry: this.#notBefore, news });
    const failure: FailedTry = { at: now, reason, notBefore: asked === undefined ? now : this.#notBefore };
    // A full disk costs the note, not the next try.
    await this.#options.folder.writeFailure(failure).catch(() => {});
  }
}

/** A restart asks for a new try, but a gateway that starts again and again must not hammer the authority. */
function startAfter({ at, notBefore }: FailedTry, now: number): number {
  // A note from the future is from a clock that was wrong.
  return at > now ? 0 : Math.max(at + LEAST_PAUSE, notBefore);
}
