import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import type { Config } from "../config/schema.ts";
import { EVENT_KINDS, type PolicyEvent } from "../policy/events/event.ts";
import { EventLog, type FileObserver } from "../policy/events/event-log.ts";
import { NftFile, type NftFileOptions } from "../policy/events/nft-file.ts";
import { Teller } from "../policy/events/teller.ts";
import { Webhook, type WebhookObserver, type WebhookOptions } from "../policy/events/webhook.ts";
import { showKey } from "../policy/limit-key.ts";
import { OPERATOR } from "../policy/refusals.ts";
import type { CounterStore } from "../policy/store/store.ts";
import { WatchedStore } from "../policy/store/watched.ts";
import { Top } from "../policy/top/top.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { SupervisorMetrics } from "../telemetry/supervisor-metrics.ts";
import { printable } from "../wire/printable.ts";

type EventsConfig = Config["policy"]["events"];

/** Tells others what the policy does, and knows who does most: all of it is seen at the one store of this gateway. */
export class Events implements AsyncDisposable {
  /** The store to ask, instead of the one that was given. */
  readonly store: CounterStore;
  readonly top = new Top();
  readonly #bans: NftFileOptions["bans"];
  readonly #log: Logger;
  readonly #metrics: SupervisorMetrics;
  readonly #teller = new Teller((event) => this.#tell(event));
  #told: EventsConfig = {};
  #exempt: readonly string[] = [];
  #shared = false;
  #paused: boolean;
  #webhook: Webhook | undefined;
  #webhookOptions: WebhookOptions | undefined;
  #file: EventLog | undefined;
  #nftables: NftFile | undefined;
  readonly #leaving = new Set<Promise<void>>();

  /**
   * Throws when something that the configuration names cannot be read. `paused`: another gateway still writes the file
   * for nftables, until `goOn`.
   */
  constructor(
    config: Config,
    { store, bans }: { readonly store: CounterStore; readonly bans: NftFileOptions["bans"] },
    log: Logger,
    metrics: SupervisorMetrics,
    paused: boolean,
  ) {
    this.#paused = paused;
    this.#bans = bans;
    this.#log = log;
    this.#metrics = metrics;
    this.store = new WatchedStore(
      store,
      [this.top, this.#teller, { lifted: () => metrics.unbans.inc() }],
      (err) => log.error({ err }, "a fault of the gateway: an event was not told"),
    );
    for (const kind of EVENT_KINDS) metrics.events.inc({ kind }, 0);
    this.#take(config);
  }

  /** Events that the webhook has not taken yet. */
  get waiting(): number {
    return this.#webhook?.waiting ?? 0;
  }

  /** Takes another configuration; what stays in it keeps what it has to tell. */
  change(config: Config): void {
    try {
      this.#take(config);
    } catch (error) {
      this.#log.error(
        { err: error },
        "events go where they went before: the new configuration cannot be used",
      );
    }
  }

  /** Another gateway writes the file for nftables from now on. */
  async pause(): Promise<void> {
    this.#paused = true;
    await this.#nftables?.pause();
  }

  goOn(): void {
    this.#paused = false;
    this.#nftables?.goOn();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const all = [this.#webhook, this.#file, this.#nftables].map((one) => one?.[Symbol.asyncDispose]());
    await Promise.all([...all, ...this.#leaving]);
  }

  #take({ hostname, policy }: Config): void {
    const { events, exempt, limits, store } = policy;
    this.#takeWebhook(events.webhook);
    this.#shared = store !== "memory";
    if (events.file !== this.#told.file) {
      if (this.#file) this.#wait(this.#file[Symbol.asyncDispose]());
      this.#file =
        events.file === undefined ? undefined : new EventLog(events.file, this.#watchFile("events"));
    }
    this.#exempt = exempt;
    if (events.nftables === this.#told.nftables) this.#nftables?.anew();
    else {
      if (this.#nftables) this.#wait(this.#nftables[Symbol.asyncDispose]());
      this.#nftables = this.#openNftables(events.nftables);
    }
    this.#told = events;
    this.#teller.change(hostname, policy);
    this.top.change(limits);
  }

  #takeWebhook(webhook: EventsConfig["webhook"]): void {
    const options = webhook && webhookOptions(webhook);
    if (isDeepStrictEqual(options, this.#webhookOptions)) return;
    const before = this.#webhook;
    this.#webhook = options && new Webhook(options, this.#watchWebhook());
    this.#webhookOptions = options;
    if (before && this.#webhook) this.#wait(before.handOver(this.#webhook));
    else if (before) this.#wait(before[Symbol.asyncDispose]());
  }

  #openNftables(path: string | undefined): NftFile | undefined {
    if (path === undefined) return undefined;
    const options = { path, exempt: () => this.#exempt, bans: this.#bans };
    const state = { shared: this.#shared, paused: this.#paused };
    return new NftFile({ ...options, ...state }, this.#watchFile("banned addresses"));
  }

  /** What was taken out of use may still have something to say. */
  #wait(end: Promise<void>): void {
    this.#leaving.add(end);
    void end.finally(() => this.#leaving.delete(end));
  }

  #tell(event: PolicyEvent): void {
    this.#metrics.events.inc({ kind: event.kind });
    if (event.kind === "ban" && event.by === OPERATOR) this.#metrics.bans.inc({ limit: OPERATOR });
    if (event.kind === "suspected") this.#warn(event);
    this.#webhook?.tell(event);
    this.#file?.tell(event);
    this.#nftables?.tell(event);
  }

  #warn({ whom, limit, count, taken, points }: Extract<PolicyEvent, { kind: "limit" | "suspected" }>): void {
    const key = showKey(
      Object.entries(whom)
        .map(([part, value]) => `${part}=${value}`)
        .join(" "),
    );
    this.#log.warn({ limit, count, key: printable(key), taken, points }, "suspected");
  }

  #watchWebhook(): WebhookObserver {
    return {
      failing: (reason) => this.#log.error({ reason }, "the webhook does not take events"),
      well: () => this.#log.info("the webhook takes events again"),
      asked: (outcome) => this.#metrics.webhookRequests.inc({ outcome }),
      dropped: (reason, events) => this.#metrics.eventsDropped.inc({ to: "webhook", reason }, events),
    };
  }

  #watchFile(what: string): FileObserver {
    return {
      notWritten: (path, reason) =>
        this.#log.error({ path, reason }, `the file of ${what} cannot be written`),
      written: (path) => this.#log.info({ path }, `the file of ${what} is written again`),
      dropped: (lines) => this.#metrics.eventsDropped.inc({ to: "file", reason: "notWritten" }, lines),
    };
  }
}

function webhookOptions({ ca, timeout, ...webhook }: NonNullable<EventsConfig["webhook"]>): WebhookOptions {
  const { url, secret, kinds } = webhook;
  return {
    url,
    secret,
    kinds,
    timeoutMs: timeout,
    ...(ca !== undefined && { ca: readFileSync(ca, "utf8") }),
  };
}
