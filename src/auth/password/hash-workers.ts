import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { Refused } from "../../refusal.ts";
import type { HashAnswer, HashJob } from "./hash-worker.ts";
import { findScheme, MAX_PASSWORD_BYTES, parseStored, type StoredPassword } from "./stored-password.ts";

export interface HashWorkersOptions {
  /** Threads at work at most; default: one less than the cores, 1 to 4. */
  readonly threads?: number;
  /** Jobs that may wait; default 1000. */
  readonly queueLimit?: number;
  /** A job that runs longer loses its thread; default 10 s. */
  readonly jobTimeoutMs?: number;
  /** A thread without a job for so long ends; default one minute. */
  readonly idleMs?: number;
  /** Another worker file; for tests. */
  readonly worker?: URL;
}

interface Job extends HashJob {
  readonly resolve: (right: boolean) => void;
  readonly reject: (reason: unknown) => void;
}

interface Thread {
  readonly worker: Worker;
  job?: Job | undefined;
  /** While it has a job, the job's time; while it has none, its own. */
  timer?: NodeJS.Timeout | undefined;
}

const HERE = import.meta.url;
const WORKER = new URL(HERE.endsWith(".ts") ? "./hash-worker.ts" : "./hash-worker.js", HERE);

/**
 * Checks passwords in threads of its own: neither on the event loop nor in libuv's pool, whose four threads
 * also serve name lookups and files. Threads start with the first job and end when idle; only a thread at
 * work keeps the process alive.
 */
export class HashWorkers implements AsyncDisposable {
  readonly #threads: number;
  readonly #queueLimit: number;
  readonly #jobTimeoutMs: number;
  readonly #idleMs: number;
  readonly #worker: URL;
  readonly #waiting = new Set<Job>();
  readonly #living = new Set<Thread>();
  /** Told to end, but perhaps still in a hash function, which nothing can interrupt. */
  readonly #ending = new Set<Thread>();
  #closed = false;
  #done = 0;

  constructor(options: HashWorkersOptions = {}) {
    this.#threads = options.threads ?? Math.max(1, Math.min(4, availableParallelism() - 1));
    this.#queueLimit = options.queueLimit ?? 1000;
    this.#jobTimeoutMs = options.jobTimeoutMs ?? 10_000;
    this.#idleMs = options.idleMs ?? 60_000;
    this.#worker = options.worker ?? WORKER;
  }

  /** Threads alive, jobs at work, jobs waiting, and jobs that threads have answered since the start. */
  get stats(): {
    readonly threads: number;
    readonly busy: number;
    readonly waiting: number;
    readonly done: number;
  } {
    const busy = [...this.#living].filter(({ job }) => job).length;
    return { threads: this.#living.size, busy, waiting: this.#waiting.size, done: this.#done };
  }

  /**
   * Whether the password is the stored one. Rejects with Refused("unavailable") when the queue is full, the
   * job overran its time, its thread died or the pool is closed, and with the signal's reason when aborted.
   */
  async verify(password: string, { scheme, stored }: StoredPassword, signal?: AbortSignal): Promise<boolean> {
    signal?.throwIfAborted();
    if (password.length > MAX_PASSWORD_BYTES || Buffer.byteLength(password) > MAX_PASSWORD_BYTES)
      return false;
    if (findScheme(scheme)?.instant) return matchesNow(password, stored);
    if (this.#closed) throw new Refused("unavailable", "password workers are closed");
    if (this.#waiting.size >= this.#queueLimit) {
      throw new Refused("unavailable", `more than ${this.#queueLimit} passwords wait to be checked`);
    }
    return this.#enqueue({ password, stored }, signal);
  }

  /** Refuses what waits or runs, ends all threads and takes no more jobs. */
  async close(): Promise<void> {
    this.#closed = true;
    const closed = new Refused("unavailable", "password workers are closed");
    for (const job of this.#waiting) job.reject(closed);
    this.#waiting.clear();
    for (const thread of this.#living) this.#end(thread, closed);
    await Promise.all([...this.#ending].map(({ worker }) => worker.terminate()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #enqueue(asked: HashJob, signal: AbortSignal | undefined): Promise<boolean> {
    const { promise, resolve, reject } = Promise.withResolvers<boolean>();
    const job: Job = { ...asked, resolve, reject };
    // A job at work cannot be taken back; its thread finishes it for nobody.
    const abort = () => {
      this.#waiting.delete(job);
      reject(signal?.reason);
    };
    signal?.addEventListener("abort", abort, { once: true });
    this.#waiting.add(job);
    this.#dispatch();
    try {
      return await promise;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  #dispatch(): void {
    for (const job of this.#waiting) {
      // The oldest idle thread first, so that those beyond the need grow idle and end.
      const thread = [...this.#living].find((one) => !one.job) ?? this.#start();
      if (!thread) return;
      this.#waiting.delete(job);
      this.#give(thread, job);
    }
  }

  /** A new thread, or undefined when there are enough; those that cannot be stopped may double the number. */
  #start(): Thread | undefined {
    const { size } = this.#living;
    if (this.#closed || size >= this.#threads || size + this.#ending.size >= 2 * this.#threads)
      return undefined;
    const thread: Thread = { worker: new Worker(this.#worker, { name: "postern-hash" }) };
    thread.worker.on("message", (answer: HashAnswer) => this.#finish(thread, answer));
    thread.worker.on("error", () => this.#end(thread, died()));
    thread.worker.on("exit", () => this.#gone(thread));
    this.#living.add(thread);
    return thread;
  }

  #give(thread: Thread, job: Job): void {
    clearTimeout(thread.timer);
    thread.job = job;
    thread.timer = setTimeout(() => this.#overrun(thread), this.#jobTimeoutMs);
    thread.worker.ref();
    thread.worker.postMessage({ password: job.password, stored: job.stored } satisfies HashJob);
  }

  #finish(thread: Thread, answer: HashAnswer): void {
    const { job } = thread;
    if (!job) return;
    this.#done += 1;
    this.#rest(thread);
    if ("right" in answer) job.resolve(answer.right);
    else job.reject(new Refused("unavailable", `password check failed: ${answer.failed}`));
    this.#dispatch();
  }

  #rest(thread: Thread): void {
    clearTimeout(thread.timer);
    thread.job = undefined;
    thread.worker.unref();
    thread.timer = setTimeout(() => this.#end(thread), this.#idleMs);
    thread.timer.unref();
  }

  #overrun(thread: Thread): void {
    this.#end(thread, new Refused("unavailable", `password check took longer than ${this.#jobTimeoutMs} ms`));
    this.#dispatch();
  }

  #end(thread: Thread, reason?: Refused): void {
    clearTimeout(thread.timer);
    thread.job?.reject(reason);
    thread.job = undefined;
    if (!this.#living.delete(thread)) return;
    this.#ending.add(thread);
    thread.worker.unref();
    thread.worker.terminate().catch(() => {});
  }

  #gone(thread: Thread): void {
    this.#end(thread, died());
    this.#ending.delete(thread);
    this.#dispatch();
  }
}

function died(): Refused {
  return new Refused("unavailable", "password worker died");
}

function matchesNow(password: string, stored: string): boolean {
  const parsed = parseStored(stored);
  return !("problem" in parsed) && parsed.matches(password);
}
