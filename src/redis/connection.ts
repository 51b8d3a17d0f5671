import type { Cluster, Redis } from "ioredis";
import { isNoScript, StoreFailure, toFailure } from "./failure.ts";
import { type Script, script } from "./script.ts";
import {
  type ClientPlan,
  DEFAULT_PREFIX,
  DEFAULT_TIMEOUT,
  planClient,
  type RedisSettings,
} from "./settings.ts";

/** More askings than this under way at once: the next one is answered without Redis. */
const MAX_UNDER_WAY = 10_000;
/** How often we look whether it is back, and how long a start waits for it. In milliseconds. */
const PROBE_MS = 500;
const START_MS = 1_000;
/** A connection that says nothing for so long is given up, and another one is tried. */
const SILENCE_MS = 3_000;

export interface RedisObserver {
  /** It answers, and takes what we write. Told once a change. */
  up(): void;
  down(failure: StoreFailure): void;
  /** One call has failed that says nothing of the next ones. */
  failed(call: string, failure: StoreFailure): void;
  /** Every call that was sent, or would have been. */
  settled(call: string, ms: number, failure: StoreFailure | undefined): void;
  /** Told when it first answers: whether it may throw away keys of ours before their time. */
  evicts(policy: string): void;
}

/**
 * One connection to Redis or Valkey, for short questions: each is answered within its time or fails with
 * StoreFailure. While it is known not to work, every call fails at once, and nothing is queued.
 */
export interface RedisConnection extends AsyncDisposable {
  readonly up: boolean;
  /** Before every key. In braces: a Cluster keeps all of ours in one slot, so that one script sees them all. */
  readonly prefix: string;
  run(script: Script, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown>;
}

/** Never waits long for a server that is away: it is taken up when it comes. Throws when the settings cannot be used. */
export async function connectRedis(
  settings: RedisSettings,
  observer: RedisObserver,
): Promise<RedisConnection> {
  const connection = new Connection(await openClient(await planClient(settings)), settings, observer);
  await connection.start();
  return connection;
}

/** Imported here, and only when asked for: a gateway without Redis does not pay for the library. */
async function openClient(plan: ClientPlan): Promise<Redis | Cluster> {
  const { Cluster, Redis } = await import("ioredis");
  if (plan.kind === "one") return new Redis({ ...plan.options, lazyConnect: true });
  const { retryStrategy, enableOfflineQueue: _, ...redisOptions } = plan.options;
  return new Cluster([...plan.nodes], {
    lazyConnect: true,
    enableOfflineQueue: false,
    redisOptions,
    clusterRetryStrategy: (times) => retryStrategy?.(times) ?? null,
  });
}

/** Asks for a write: a server that only reads, or is full, is of no use to us. */
const PROBE = script("probe", "redis.call('SET', KEYS[1], '1', 'PX', 5000) return 1");

class Connection implements RedisConnection {
  readonly prefix: string;
  readonly #client: Redis | Cluster;
  readonly #observer: RedisObserver;
  readonly #timeoutMs: number;
  #up = false;
  #told: "up" | "down" | undefined;
  #reason = new StoreFailure("down", "not connected yet");
  #underWay = 0;
  #probing = false;
  /** When the client was last known to be heard, or to begin anew. */
  #heardAt = performance.now();
  #timer: NodeJS.Timeout | undefined;
  #closed = false;
  #lookedAtEviction = false;
  #first = Promise.withResolvers<void>();

  constructor(client: Redis | Cluster, settings: RedisSettings, observer: RedisObserver) {
    this.#client = client;
    this.#observer = observer;
    this.#timeoutMs = settings.timeout ?? DEFAULT_TIMEOUT;
    this.prefix = `{${settings.prefix ?? DEFAULT_PREFIX}}:`;
  }

  get up(): boolean {
    return this.#up;
  }

  async start(): Promise<void> {
    this.#client.on("error", (error) => this.#noticed(error));
    this.#client.on("ready", () => void this.#probe());
    this.#client.on("close", () => {
      if (this.#up) this.#goDown(new StoreFailure("lost", "the connection has closed"));
    });
    this.#connect();
    this.#timer = setInterval(() => void this.#look(), PROBE_MS).unref();
    const late = setTimeout(() => this.#first.resolve(), START_MS);
    await this.#first.promise;
    clearTimeout(late);
    if (!this.#up) this.#goDown(this.#reason);
  }

  async run(script: Script, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown> {
    if (!this.#up) return this.#refuse(script.name, new StoreFailure("down", this.#reason.message));
    if (this.#underWay >= MAX_UNDER_WAY)
      return this.#refuse(script.name, new StoreFailure("busy", "too many questions are under way"));
    return this.#ask(script, keys, args);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#up = false;
    clearInterval(this.#timer);
    this.#client.disconnect();
  }

  #refuse(call: string, failure: StoreFailure): never {
    this.#observer.settled(call, 0, failure);
    throw failure;
  }

  async #ask(script: Script, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown> {
    const began = performance.now();
    try {
      const reply = await within(this.#timeoutMs, this.#send(script, keys, args));
      this.#observer.settled(script.name, performance.now() - began, undefined);
      return reply;
    } catch (error) {
      const failure = toFailure(error);
      this.#observer.settled(script.name, performance.now() - began, failure);
      if (failure.isOfOneCall) this.#observer.failed(script.name, failure);
      else this.#goDown(failure);
      throw failure;
    }
  }

  /** Counted until the reply is here, late or not: ioredis gives each reply to the command it belongs to. */
  async #send(script: Script, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown> {
    this.#underWay += 1;
    try {
      const reply = await this.#client
        .evalsha(script.sha, keys.length, ...keys, ...args)
        .catch((error: unknown) => {
          // A server that has started anew knows no scripts.
          if (!isNoScript(error)) throw error;
          return this.#client.eval(script.lua, keys.length, ...keys, ...args);
        });
      this.#heardAt = performance.now();
      return reply;
    } finally {
      this.#underWay -= 1;
    }
  }

  #connect(): void {
    this.#client.connect().catch((error: unknown) => this.#noticed(error));
  }

  #noticed(error: unknown): void {
    this.#reason = toFailure(error);
  }

  async #look(): Promise<void> {
    if (this.#up || this.#closed) return;
    if (this.#client.status !== "ready") {
      this.#heardAt = performance.now();
      // Told of a fail-over while it asks a Sentinel who is master, ioredis gives up for good.
      if (this.#client.status === "end") this.#connect();
      return;
    }
    // One who cannot write may have been the master once: who is it now?
    if (performance.now() - this.#heardAt > SILENCE_MS || this.#reason.kind === "readonly") this.#begin();
    else await this.#probe();
  }

  #begin(): void {
    this.#heardAt = performance.now();
    this.#client.disconnect(true);
  }

  async #probe(): Promise<void> {
    if (this.#up || this.#closed || this.#probing) return;
    this.#probing = true;
    try {
      await within(this.#timeoutMs, this.#send(PROBE, [`${this.prefix}probe`], []));
      this.#goUp();
    } catch (error) {
      this.#noticed(error);
    } finally {
      this.#probing = false;
    }
  }

  #goUp(): void {
    if (this.#closed) return;
    this.#up = true;
    this.#first.resolve();
    if (this.#told !== "up") this.#observer.up();
    this.#told = "up";
    if (this.#lookedAtEviction) return;
    this.#lookedAtEviction = true;
    void this.#lookAtEviction();
  }

  #goDown(failure: StoreFailure): void {
    if (this.#closed) return;
    this.#up = false;
    this.#reason = failure;
    if (this.#told === "down") return;
    this.#told = "down";
    this.#observer.down(failure);
  }

  async #lookAtEviction(): Promise<void> {
    const info = String(await this.#client.info("memory").catch(() => ""));
    const value = (name: string): string => new RegExp(`^${name}:(\\S+)`, "m").exec(info)?.[1] ?? "";
    const policy = value("maxmemory_policy");
    // Every key of ours has an end, so that volatile-* takes them too, and before anybody's else.
    if (Number(value("maxmemory")) > 0 && policy !== "noeviction") this.#observer.evicts(policy);
  }
}

/**
 * The promise's value, or a failure when it takes longer. A process that was itself too busy to read looks once
 * more at what has come before it blames the server.
 */
function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      setImmediate(() => reject(new StoreFailure("timeout", `no answer within ${ms} ms`)));
    }, ms);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
