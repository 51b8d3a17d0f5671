import { createHmac } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { HttpClient, HttpFailure } from "../../io/http-client.ts";
import type { EventKind, PolicyEvent } from "./event.ts";
import { EventQueue } from "./event-queue.ts";

export interface WebhookOptions {
  readonly url: string;
  /** Signs what is sent. */
  readonly secret: string;
  readonly timeoutMs: number;
  /** Authorities in PEM, instead of the system's. */
  readonly ca?: string | undefined;
  readonly kinds: readonly EventKind[];
}

/** Why an event was not delivered. */
export type DropReason = "full" | "old" | "refused" | "stopped";

export interface WebhookObserver {
  /** Once until it is well again; `lost` is what it does not get. */
  failing(reason: string): void;
  well(): void;
  /** What came of one request. */
  asked(outcome: "ok" | "failed" | "refused"): void;
  dropped(reason: DropReason, events: number): void;
}

/** Pauses between tries, in milliseconds; tests have shorter ones. */
export interface WebhookPauses {
  readonly first: number;
  readonly longest: number;
}

const PAUSES: WebhookPauses = { first: 1_000, longest: 60_000 };
const AT_ONCE = 100;
/** At a stop. */
const LAST_MS = 2_000;
const MAX_ANSWER = 64 * 1024;

/**
 * Posts events to somebody's server, in their order and at least once: one request at a time, with all that has come
 * since the last one, tried again with growing pauses. It never makes anybody wait.
 */
export class Webhook implements AsyncDisposable {
  readonly #options: WebhookOptions;
  readonly #url: URL;
  readonly #observer: WebhookObserver;
  readonly #pauses: WebhookPauses;
  readonly #client: HttpClient;
  readonly #queue: EventQueue;
  #sending: Promise<void> | undefined;
  #failing = false;
  /** Ends the pause between two tries. */
  readonly #over = new AbortController();

  constructor(options: WebhookOptions, observer: WebhookObserver, pauses = PAUSES) {
    const { timeoutMs, ca } = options;
    this.#options = options;
    this.#url = new URL(options.url);
    this.#observer = observer;
    this.#pauses = pauses;
    this.#queue = new EventQueue((reason, events) => observer.dropped(reason, events));
    this.#client = new HttpClient({
      timeoutMs,
      connections: 1,
      maxPending: 1,
      maxAnswerBytes: MAX_ANSWER,
      ...(ca !== undefined && { ca }),
    });
  }

  /** Events that wait, with those on their way. */
  get waiting(): number {
    return this.#queue.length;
  }

  tell(event: PolicyEvent): void {
    if (this.#over.signal.aborted || !this.#options.kinds.includes(event.kind)) return;
    this.#queue.add(event);
    this.#sending ??= this.#sendAll();
  }

  /** Ends it, and gives what it has not delivered to the one that takes its place. */
  async handOver(successor: Webhook): Promise<void> {
    this.#over.abort();
    for (const event of this.#queue.takeAll()) successor.tell(event);
    await this.#client[Symbol.asyncDispose]();
  }

  /** Tries a last time, for a moment; what is not delivered then is lost. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort();
    if (this.#queue.length > 0) {
      const last = this.#sending?.then(() => this.#sendRest()) ?? this.#sendRest();
      await Promise.race([last, pause(LAST_MS, undefined, { ref: false })]);
    }
    const lost = this.#queue.takeAll().length;
    if (lost > 0) this.#observer.dropped("stopped", lost);
    await this.#client[Symbol.asyncDispose]();
  }

  async #sendAll(): Promise<void> {
    // What comes in one turn goes in one request.
    await undefined;
    let wait = this.#pauses.first;
    while (this.#queue.length > 0 && !this.#over.signal.aborted) {
      if (await this.#sendSome()) {
        wait = this.#pauses.first;
        continue;
      }
      await pause(wait, undefined, { ref: false, signal: this.#over.signal }).catch(() => {});
      wait = Math.min(wait * 2, this.#pauses.longest);
    }
    this.#sending = undefined;
  }

  async #sendRest(): Promise<void> {
    while (this.#queue.length > 0 && (await this.#sendSome()));
  }

  /** Whether there is nothing to try again: they are delivered, or never will be. */
  async #sendSome(): Promise<boolean> {
    const some = this.#queue.first(AT_ONCE);
    if (some.length === 0) return true;
    const outcome = await this.#post(some.map(({ event }) => event));
    if ("ok" in outcome) this.#heal();
    else this.#fail(outcome.trouble);
    this.#observer.asked("ok" in outcome ? "ok" : outcome.again ? "failed" : "refused");
    if ("again" in outcome && outcome.again) return false;
    const gone = this.#queue.takeOut(some);
    if (!("ok" in outcome) && gone > 0) this.#observer.dropped("refused", gone);
    return true;
  }

  async #post(events: readonly PolicyEvent[]): Promise<{ ok: true } | { trouble: string; again: boolean }> {
    const body = JSON.stringify({ events });
    const timestamp = String(Math.floor(Date.now() / 1000));
    try {
      const { status } = await this.#client.post(this.#url, body, {
        "content-type": "application/json",
        "user-agent": "postern",
        "postern-timestamp": timestamp,
        "postern-signature": `sha256=${sign(this.#options.secret, timestamp, body)}`,
      });
      if (status >= 200 && status < 300) return { ok: true };
      const redirect = status >= 300 && status < 400 ? ", and redirects are not followed" : "";
      const again = status >= 500 || status === 429 || status === 408;
      return { trouble: `it answers ${status}${redirect}`, again };
    } catch (error) {
      const { kind, message } = error instanceof HttpFailure ? error : { kind: "broken", message: "" };
      // One that answers at such length has had them.
      return { trouble: `${kind}: ${message}`, again: kind !== "tooLarge" };
    }
  }

  #fail(trouble: string): void {
    if (!this.#failing) this.#observer.failing(trouble);
    this.#failing = true;
  }

  #heal(): void {
    if (this.#failing) this.#observer.well();
    this.#failing = false;
  }
}

/** As whoever hears it checks it: HMAC-SHA256 of `TIMESTAMP.BODY`, in hexadecimal. */
export function sign(secret: string, timestamp: string, body: string): string {
  return createHmac("sha256", secret).update(`${timestamp}.${body}`).digest("hex");
}
