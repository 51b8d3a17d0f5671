import { type ChildProcess, fork } from "node:child_process";
import type { Socket } from "node:net";
import { type Snapshot, withLevels } from "../telemetry/snapshot.ts";
import type { Offer } from "../upstream/capabilities.ts";
import type { Questions } from "./carrier.ts";
import type { Hand } from "./hand-over.ts";
import type { FromWorker, Question, ToWorker, WorkerStart } from "./messages.ts";
import type { News } from "./news.ts";
import type { StoreDesk } from "./store-desk.ts";

/** Connections that may be on their way to one worker. */
const WINDOW = 32;
/** A worker that lets a connection wait for so long gets no more before it has taken that one, in milliseconds. */
const SLOW = 250;
/** A worker that is silent for so long is taken for dead, in milliseconds: stopped, or in a loop without end. */
const SILENCE = 5_000;
/** The same for one that reads its program and its files yet, perhaps on a machine that has much else to do. */
const BEGINNING = 30_000;
/** How long after its drain time a worker may still be there, in milliseconds. */
const GRACE = 2_000;

/** How to start a worker's process. */
export interface Spawn {
  /** The program's own file. */
  readonly entry: string;
  readonly args: readonly string[];
  /** A folder for the compiled program, so that each process but the first begins sooner. */
  readonly cache?: string;
}

export interface WorkerEvents {
  /** A connection that is still ours, because the worker never had it. */
  takeBack(listener: string, socket: Socket): void;
  /** It may have room again. */
  room(): void;
  /** A backend answers it, or does not and why. */
  backend(name: string, trouble: string | undefined): void;
  /** It heard what a backend offers. */
  offer(offer: Offer): void;
  /** It saw something that the others may see, too. */
  news(news: News): void;
}

interface OnItsWay {
  readonly listener: string;
  readonly socket: Socket;
  readonly since: number;
}

interface Answer<Name extends keyof Questions> {
  readonly value: Awaited<ReturnType<Questions[Name]>>;
}

/** How a worker came to its end. */
export interface WorkerEnd {
  /** Whether it was told to. */
  readonly told: boolean;
  readonly how: string;
  /** Sessions that it had. */
  readonly sessions: number;
  /** What it counted, as it said last. */
  readonly metrics: Snapshot;
}

/** One worker, seen from above. */
export class WorkerHandle implements Hand {
  readonly startedAt = performance.now();
  readonly ended: Promise<WorkerEnd>;
  readonly #child: ChildProcess;
  readonly #desk: StoreDesk;
  readonly #events: WorkerEvents;
  readonly #maxSessions: number;
  readonly #onItsWay = new Map<number, OnItsWay>();
  readonly #asked = new Map<number, PromiseWithResolvers<{ readonly value: unknown } | undefined>>();
  readonly #begun = Promise.withResolvers<string | undefined>();
  #state: "starting" | "ready" | "stopping" = "starting";
  #sessions = 0;
  #serial = 0;
  #metrics: Snapshot = [];
  #heardAt = performance.now();
  #killed: string | undefined;

  constructor(
    spawn: Spawn,
    {
      start,
      desk,
      maxSessions,
      ...events
    }: WorkerEvents & {
      readonly start: WorkerStart;
      readonly desk: StoreDesk;
      readonly maxSessions: number;
    },
  ) {
    this.#desk = desk;
    this.#events = events;
    this.#maxSessions = maxSessions;
    this.#child = fork(spawn.entry, [...spawn.args], {
      serialization: "advanced",
      ...(spawn.cache && { env: { ...process.env, NODE_COMPILE_CACHE: spawn.cache } }),
    });
    this.#child.on("message", (message) => this.#hear(message as FromWorker));
    this.ended = new Promise((resolve) => {
      // Behind its last message, unlike "exit".
      this.#child.once("close", (code, signal) => resolve(this.#end(code, signal)));
      this.#child.on("error", (error) => {
        // What cannot be sent to a worker that is ending is taken back when it has ended.
        if (this.#child.pid !== undefined) return;
        this.#killed = error.message;
        resolve(this.#end(null, null));
      });
    });
    this.tell({ type: "start", ...start });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get load(): number {
    return this.#sessions + this.#onItsWay.size;
  }

  get ready(): boolean {
    return this.#state === "ready";
  }

  get free(): boolean {
    if (!this.ready || this.load >= this.#maxSessions || this.#onItsWay.size >= WINDOW) return false;
    const [oldest] = this.#onItsWay.values();
    return oldest === undefined || performance.now() - oldest.since < SLOW;
  }

  /** What it said last of its counters. */
  get lastMetrics(): Snapshot {
    return this.#metrics;
  }

  /** Undefined when it is ready, or why it cannot begin. */
  get begun(): Promise<string | undefined> {
    return this.#begun.promise;
  }

  give(listener: string, socket: Socket): void {
    this.#serial += 1;
    const id = this.#serial;
    this.#onItsWay.set(id, { listener, socket, since: performance.now() });
    // Kept open here until the worker has it: should it die before, nobody has lost anything.
    this.#child.send(
      { type: "connection", id, listener } satisfies ToWorker,
      socket,
      { keepOpen: true },
      () => {},
    );
  }

  tell(message: ToWorker): void {
    if (this.#child.connected) this.#child.send(message, () => {});
  }

  /** Asks a question; undefined when there is no answer, or none in time. */
  async ask<Name extends keyof Questions>(
    name: Name,
    args: Parameters<Questions[Name]>,
    timeoutMs: number,
  ): Promise<Answer<Name> | undefined> {
    if (!this.#child.connected) return undefined;
    this.#serial += 1;
    const id = this.#serial;
    const answer = Promise.withResolvers<{ readonly value: unknown } | undefined>();
    this.#asked.set(id, answer);
    const timer = setTimeout(() => answer.resolve(undefined), timeoutMs);
    this.tell({ type: "question", id, name, args } as Question);
    try {
      const answered = (await answer.promise) as Answer<Name> | undefined;
      // What has been shown of its counters must not be forgotten when it dies before its next sign of life.
      if (answered && name === "metrics") this.#metrics = answered.value as Snapshot;
      return answered;
    } finally {
      clearTimeout(timer);
      this.#asked.delete(id);
    }
  }

  /** Ends its sessions in order, and then itself; resolves when it is gone. */
  async stop(drainMs: number, quietMs: number): Promise<void> {
    this.#state = "stopping";
    this.tell({ type: "stop", drainMs, quietMs });
    const late = quietMs + drainMs + GRACE;
    const timer = setTimeout(() => this.kill("it did not end in its drain time"), late);
    await this.ended;
    clearTimeout(timer);
  }

  kill(why: string): void {
    this.#killed ??= why;
    this.#child.kill("SIGKILL");
  }

  /** Whether it has been silent for too long. */
  isSilent(now: number): boolean {
    return now - this.#heardAt > (this.#state === "starting" ? BEGINNING : SILENCE);
  }

  /** We ourselves heard nobody for a while. */
  excuse(now: number): void {
    this.#heardAt = now;
  }

  #hear(message: FromWorker): void {
    this.#heardAt = performance.now();
    switch (message.type) {
      case "ready":
        if (this.#state === "starting") this.#state = "ready";
        this.#begun.resolve(undefined);
        this.#events.room();
        break;
      case "failed":
        this.#begun.resolve(message.reason);
        break;
      case "took":
        this.#took(message.id);
        break;
      case "ended":
        this.#sessions -= message.count;
        this.#events.room();
        break;
      case "answer":
        this.#asked
          .get(message.id)
          ?.resolve(message.fault === undefined ? { value: message.value } : undefined);
        break;
      case "backend":
        this.#events.backend(message.name, message.trouble);
        break;
      case "offer":
        this.#events.offer(message.offer);
        break;
      case "news":
        this.#events.news(message);
        break;
      case "storeCalls":
        void this.#desk.serve(message.calls).then((answers) => {
          if (answers.length > 0) this.tell({ type: "storeAnswers", answers });
        });
        break;
      case "beat":
        this.#metrics = withLevels(message.counted, this.#metrics);
        break;
    }
  }

  #took(id: number): void {
    const taken = this.#onItsWay.get(id);
    this.#onItsWay.delete(id);
    this.#sessions += 1;
    // Closes our copy; the connection is the worker's.
    taken?.socket.destroy();
    this.#events.room();
  }

  #end(code: number | null, signal: NodeJS.Signals | null): WorkerEnd {
    const told = this.#state === "stopping";
    this.#state = "stopping";
    const how = this.#killed ?? (signal ? `killed by ${signal}` : `exit code ${code}`);
    this.#begun.resolve(how);
    for (const { resolve } of this.#asked.values()) resolve(undefined);
    void this.#desk.close();
    for (const { listener, socket } of this.#onItsWay.values()) this.#events.takeBack(listener, socket);
    this.#onItsWay.clear();
    return { told, how, sessions: this.#sessions, metrics: this.#metrics };
  }
}
