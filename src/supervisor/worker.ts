import { flushCompileCache } from "node:module";
import type { Socket } from "node:net";
import type { Config } from "../config/schema.ts";
import { receive } from "../listen/listener.ts";
import type { CounterStore } from "../policy/store/store.ts";
import type { CommonState } from "../tls/common.ts";
import type { Carrier, Questions } from "./carrier.ts";
import type { FromWorker, Question, ToWorker, WorkerStart } from "./messages.ts";
import { RemoteStore } from "./remote-store.ts";
import { StartError } from "./start-error.ts";

/** How often a worker gives a sign of life, in milliseconds. */
const BEAT = 1_000;
/** So long ends are gathered before the supervisor hears of them, in milliseconds. */
const MOMENT = 20;
/** How long sessions may take to leave when nobody is above them any more, in milliseconds. */
const ORPHAN_DRAIN = 5_000;
/** What ends the supervisor in order, or means something to it, is its business: it tells its workers. */
const NOT_OURS = ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR2"] as const;

/** Where this process and its supervisor speak with each other. */
export interface WorkerLine {
  /** Resolves when the message is on its way; never rejects. */
  send(message: FromWorker): Promise<void>;
  onMessage(hear: (message: ToWorker, socket: Socket | undefined) => void): void;
  /** Called once, when the supervisor is gone. */
  onLost(hear: () => void): void;
}

/** The channel that a process has to the one that spawned it; undefined where nobody did. */
export function workerLine(): WorkerLine | undefined {
  if (!process.send) return undefined;
  return {
    // A supervisor that is gone hears nothing; the channel's end tells us so.
    send: (message) =>
      new Promise((resolve) => {
        if (process.connected) process.send?.(message, undefined, undefined, () => resolve());
        else resolve();
      }),
    onMessage: (hear) =>
      void process.on("message", (message, socket) => hear(message as ToWorker, socket as Socket)),
    onLost: (hear) => void process.once("disconnect", hear),
  };
}

export interface WorkerOptions {
  readonly line: WorkerLine;
  /** Makes the rooms. Throws StartError when it cannot. */
  readonly open: (start: WorkerStart, store: CounterStore) => Promise<Carrier>;
  /** Tickets or certificates have changed. */
  readonly tls: (state: CommonState) => void;
  /** What nobody expected. */
  readonly fault: (error: unknown) => void;
}

/** A worker's whole life: resolves when its last session has ended. 0 after an orderly stop. */
export async function runWorker(options: WorkerOptions): Promise<number> {
  for (const signal of NOT_OURS) process.on(signal, () => {});
  return new Worker(options).done;
}

class Worker {
  readonly #line: WorkerLine;
  readonly #options: WorkerOptions;
  readonly #store: RemoteStore;
  readonly #finished = Promise.withResolvers<number>();
  readonly #opened = Promise.withResolvers<Carrier>();
  #carrier: Carrier | undefined;
  #beat: NodeJS.Timeout | undefined;
  #ended = 0;

  constructor(options: WorkerOptions) {
    const { line } = options;
    this.#options = options;
    this.#line = line;
    this.#store = new RemoteStore((calls) => void line.send({ type: "storeCalls", calls }));
    line.onMessage((message, socket) => this.#hear(message, socket));
    line.onLost(() => void this.#orphaned());
  }

  get done(): Promise<number> {
    return this.#finished.promise;
  }

  #hear(message: ToWorker, socket: Socket | undefined): void {
    switch (message.type) {
      case "start":
        void this.#start(message);
        break;
      case "connection":
        this.#take(message.id, message.listener, socket);
        break;
      case "question":
        void this.#answer(message);
        break;
      case "storeAnswers":
        this.#store.answered(message.answers);
        break;
      case "tls":
        this.#options.tls(message.state);
        break;
      case "stop":
        void this.#stop(message.drainMs, message.quietMs, 0);
        break;
    }
  }

  async #start(start: WorkerStart): Promise<void> {
    try {
      const config = asLoaded(start.config);
      this.#carrier = await this.#options.open({ ...start, config }, this.#store.store);
      this.#opened.resolve(this.#carrier);
      void this.#line.send({ type: "ready" });
      // For whoever has to take this one's place: it may not live to do this as it ends.
      flushCompileCache();
      this.#beat = setInterval(() => void this.#giveSign(), BEAT);
    } catch (error) {
      if (!(error instanceof StartError)) this.#options.fault(error);
      await this.#line.send({
        type: "failed",
        reason: error instanceof Error ? error.message : String(error),
      });
      this.#finished.resolve(1);
    }
  }

  #take(id: number, listener: string, socket: Socket | undefined): void {
    // Before anything else: whoever is told that we have it hands it to nobody after us.
    void this.#line.send({ type: "took", id });
    // A connection that was gone before it came here comes without a socket.
    const carried = socket && this.#carrier?.accept(listener, receive(socket));
    void Promise.resolve(carried).finally(() => this.#end());
  }

  /** The ends of a moment are one message. */
  #end(): void {
    this.#ended += 1;
    if (this.#ended > 1) return;
    setTimeout(() => {
      void this.#line.send({ type: "ended", count: this.#ended });
      this.#ended = 0;
    }, MOMENT);
  }

  async #answer({ id, name, args }: Question): Promise<void> {
    try {
      const carrier = await this.#opened.promise;
      const [first, ...others] = args as readonly unknown[];
      const given = name === "prepare" ? [asLoaded(first as Config)] : [first, ...others];
      const ask = carrier[name] as (...given: readonly unknown[]) => ReturnType<Questions[typeof name]>;
      void this.#line.send({ type: "answer", id, value: await ask.apply(carrier, given) });
    } catch (error) {
      this.#options.fault(error);
      void this.#line.send({
        type: "answer",
        id,
        fault: error instanceof Error ? error.message : String(error),
      });
    }
  }

  async #giveSign(): Promise<void> {
    const counted = (await this.#carrier?.counted()) ?? [];
    await this.#line.send({ type: "beat", counted });
  }

  /** The supervisor died: no new sessions will come, and nobody counts for us any more. */
  async #orphaned(): Promise<void> {
    this.#store.lose();
    await this.#stop(ORPHAN_DRAIN, 0, 1);
  }

  async #stop(drainMs: number, quietMs: number, code: number): Promise<void> {
    await this.#carrier?.stop(drainMs, quietMs).catch(this.#options.fault);
    // The last words: what was counted since the last sign of life.
    await this.#giveSign().catch(() => {});
    clearInterval(this.#beat);
    this.#finished.resolve(code);
  }
}

/** What loading promises of a configuration, and copying loses: frozen, and without a prototype to look names up in. */
function asLoaded<Value>(value: Value): Value {
  if (typeof value !== "object" || value === null) return value;
  for (const member of Object.values(value)) asLoaded(member);
  if (!Array.isArray(value)) Object.setPrototypeOf(value, null);
  return Object.freeze(value);
}
