import type { Socket } from "node:net";
import type { Config } from "../config/schema.ts";
import type { CounterStore } from "../policy/store/store.ts";
import type { Logger } from "../telemetry/logger.ts";
import { retain, type Snapshot } from "../telemetry/snapshot.ts";
import type { SupervisorMetrics } from "../telemetry/supervisor-metrics.ts";
import type { CommonTls } from "../tls/common.ts";
import type { Offers } from "../upstream/capabilities.ts";
import type { Listing, SessionFilter } from "./carrier.ts";
import type { Crew } from "./crew.ts";
import { HandOver, type HandOverOptions } from "./hand-over.ts";
import type { WorkerStart } from "./messages.ts";
import type { News } from "./news.ts";
import { StartError } from "./start-error.ts";
import { StoreDesk } from "./store-desk.ts";
import { type Spawn, type WorkerEnd, WorkerHandle } from "./worker-handle.ts";

export interface WorkersOptions
  extends Omit<HandOverOptions, "hands">,
    Pick<WorkerStart, "secret" | "hashThreads"> {
  readonly count: number;
  readonly spawn: Spawn;
  readonly config: Config;
  readonly store: CounterStore;
  readonly tls: CommonTls;
  readonly offers: Offers;
  readonly log: Logger;
  readonly metrics: SupervisorMetrics;
  readonly maxSessions: number;
  /** Hears what each worker says of the backends. */
  readonly backend: (name: string, trouble: string | undefined) => void;
  readonly news: (news: News, from: number) => void;
}

/** How long an answer for the operator may take, in milliseconds. */
const ANSWER = 1_000;
/** How long a worker may take to read all that a new configuration names, in milliseconds. */
const PREPARE = 30_000;
/** How often the workers' signs of life are looked at, in milliseconds. */
const LOOK = 1_000;

/** Deaths within this time make the next worker wait longer, in milliseconds. */
const MEMORY = 60_000;
/** So many are replaced at once. */
const AT_ONCE = 4;
const FIRST_DELAY = 250;
const LONGEST_DELAY = 10_000;

/** The worker processes: always as many as configured, whatever becomes of one. */
export class Workers implements Crew {
  readonly #options: WorkersOptions;
  readonly #handOver: HandOver;
  readonly #workers = new Set<WorkerHandle>();
  /** What the workers that are gone have counted. */
  #retained: Snapshot = [];
  readonly #watch: NodeJS.Timeout;
  #config: Config;
  #serial = 0;
  #deaths: number[] = [];
  #lookedAt = performance.now();
  #stopping = false;
  #prepared: ReadonlySet<WorkerHandle> = new Set();
  #burials: Promise<void> = Promise.resolve();

  /** Throws StartError when not every worker can begin; then none is left. */
  static async start(options: WorkersOptions): Promise<Workers> {
    const workers = new Workers(options);
    const begun = await Promise.all(Array.from({ length: options.count }, () => workers.#spawn().begun));
    const why = begun.find((reason) => reason !== undefined);
    if (why === undefined) return workers;
    workers.kill();
    await Promise.all([...workers.#workers].map(({ ended }) => ended));
    throw new StartError(why);
  }

  private constructor(options: WorkersOptions) {
    this.#options = options;
    this.#config = options.config;
    this.#handOver = new HandOver({ ...options, hands: () => this.#workers });
    options.tls.onChange((state) => {
      for (const worker of this.#workers) worker.tell({ type: "tls", state });
    });
    this.#watch = setInterval(() => this.#look(), LOOK);
  }

  get ready(): boolean {
    return this.#ready.length > 0;
  }

  get size(): number {
    return this.#ready.length;
  }

  get waiting(): number {
    return this.#handOver.waiting;
  }

  take(listener: string, socket: Socket): void {
    this.#handOver.take(listener, socket);
  }

  async prepare(config: Config): Promise<readonly string[]> {
    const asked = [...this.#workers];
    const answers = await Promise.all(asked.map((worker) => worker.ask("prepare", [config], PREPARE)));
    this.#prepared = new Set(asked);
    const problems = answers.map((answer) => (answer ? answer.value : "a worker did not answer"));
    return [...new Set(problems.filter((problem) => problem !== undefined))];
  }

  async commit(config: Config): Promise<void> {
    this.#config = config;
    await Promise.all(
      [...this.#workers].map(async (worker) => {
        // One that began in between has the old configuration.
        if (!this.#prepared.has(worker)) await worker.ask("prepare", [config], PREPARE);
        await worker.ask("commit", [], ANSWER);
      }),
    );
  }

  async abandon(): Promise<void> {
    await Promise.all([...this.#workers].map((worker) => worker.ask("abandon", [], ANSWER)));
  }

  async metrics(): Promise<readonly Snapshot[]> {
    const retained = this.#retained;
    const living = await Promise.all(
      [...this.#workers].map(
        async (worker) => (await worker.ask("metrics", [], ANSWER))?.value ?? worker.lastMetrics,
      ),
    );
    return [...living, retained];
  }

  async list(filter: SessionFilter, limit: number): Promise<Listing> {
    const answers = await Promise.all(
      [...this.#workers].map((worker) => worker.ask("list", [filter, limit], ANSWER)),
    );
    const lists = answers.flatMap((answer) => answer?.value ?? []);
    return {
      total: lists.reduce((sum, { total }) => sum + total, 0),
      rows: lists.flatMap(({ rows }) => rows).slice(0, limit),
    };
  }

  async kick(filter: SessionFilter): Promise<number> {
    const answers = await Promise.all(
      [...this.#workers].map((worker) => worker.ask("kick", [filter], ANSWER)),
    );
    return answers.reduce((sum, answer) => sum + (answer?.value ?? 0), 0);
  }

  async stop(drainMs: number, quietMs: number): Promise<void> {
    this.#stopping = true;
    this.#handOver.close();
    await Promise.all([...this.#workers].map((worker) => worker.stop(drainMs, quietMs)));
    clearInterval(this.#watch);
  }

  kill(): void {
    this.#stopping = true;
    clearInterval(this.#watch);
    this.#handOver.close();
    for (const worker of this.#workers) worker.kill("the gateway ends at once");
  }

  get #ready(): readonly WorkerHandle[] {
    return [...this.#workers].filter(({ ready }) => ready);
  }

  #spawn(): WorkerHandle {
    const { spawn, store, maxSessions, secret, hashThreads, tls, offers, backend, news } = this.#options;
    this.#serial += 1;
    const number = this.#serial;
    const worker = new WorkerHandle(spawn, {
      start: { worker: number, config: this.#config, secret, hashThreads, tls: tls.state, known: offers.all },
      desk: new StoreDesk(store),
      maxSessions,
      takeBack: (listener, socket) => this.#takeBack(listener, socket),
      room: () => this.#handOver.look(),
      backend,
      offer: (offer) => void offers.learn(offer),
      news: (one) => news(one, number),
    });
    this.#workers.add(worker);
    void worker.ended.then((end) => {
      this.#burials = this.#burials.then(() => this.#bury(worker, number, end));
    });
    return worker;
  }

  #takeBack(listener: string, socket: Socket): void {
    if (this.#stopping) socket.destroy();
    else this.#handOver.takeBack(listener, socket);
  }

  async #bury(worker: WorkerHandle, number: number, end: WorkerEnd): Promise<void> {
    const retained = await retain(this.#retained, end.metrics);
    // In one moment: no count is missing and none is there twice, whoever looks.
    this.#retained = retained;
    this.#workers.delete(worker);
    if (end.told || this.#stopping) return;
    const { log, metrics } = this.#options;
    metrics.workerDeaths.inc();
    const delayMs = this.#delay();
    const { how, sessions } = end;
    log.error(
      { worker: number, pid: worker.pid, how, sessions, delayMs },
      "a worker is gone; another takes its place",
    );
    setTimeout(() => this.#replace(), delayMs);
  }

  #replace(): void {
    if (this.#stopping) return;
    const worker = this.#spawn();
    void worker.begun.then((why) => {
      if (why === undefined) this.#options.log.info({ pid: worker.pid }, "a new worker is ready");
      else if (!this.#stopping) this.#options.log.error({ reason: why }, "a new worker could not begin");
    });
  }

  /** None for a few deaths, then longer and longer while they go on. */
  #delay(): number {
    const now = performance.now();
    this.#deaths = [...this.#deaths.filter((at) => now - at < MEMORY), now];
    const more = this.#deaths.length - AT_ONCE * this.#options.count;
    return more <= 0 ? 0 : Math.min(FIRST_DELAY * 2 ** (more - 1), LONGEST_DELAY);
  }

  #look(): void {
    const now = performance.now();
    // Had we been stopped ourselves, all would seem silent.
    const late = now - this.#lookedAt > 2 * LOOK;
    this.#lookedAt = now;
    for (const worker of this.#workers) {
      if (late) worker.excuse(now);
      else if (worker.isSilent(now)) worker.kill("it gave no sign of life");
    }
    this.#handOver.look();
  }
}
