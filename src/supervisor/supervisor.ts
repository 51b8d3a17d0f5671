import type { Socket } from "node:net";
import type { Outcome } from "../admin/control.ts";
import type { PolicyControl } from "../admin/policy-control.ts";
import { type Admin, startAdmin } from "../admin/server.ts";
import { difference } from "../config/difference.ts";
import type { LoadResult } from "../config/load.ts";
import { formatProblem } from "../config/problem.ts";
import type { Config } from "../config/schema.ts";
import { BindError, type Bound } from "../listen/listener.ts";
import type { Logger } from "../telemetry/logger.ts";
import { exposeSum, METRICS_TYPE } from "../telemetry/snapshot.ts";
import { createSupervisorMetrics, type SupervisorMetrics } from "../telemetry/supervisor-metrics.ts";
import type { SessionFilter } from "./carrier.ts";
import type { Crew } from "./crew.ts";
import type { HandOverOptions } from "./hand-over.ts";
import { ADMIN, type InheritedAdmin, type Predecessor, startHeir } from "./heir.ts";
import { descriptorLimit, maxSessions, maxWaiting } from "./limits.ts";
import { type Change, Listeners } from "./listeners.ts";
import { both, POLICY_PORT, PolicySocket, placesOf } from "./policy-places.ts";
import type { PolicyPort } from "./policy-port.ts";
import { dropRoot } from "./privileges.ts";
import { StartError } from "./start-error.ts";
import { type GivenSocket, takeGivenSockets } from "./systemd-sockets.ts";
import type { Spawn } from "./worker-handle.ts";

/** What a crew is told of its surroundings. */
export interface CrewOptions extends Omit<HandOverOptions, "hands"> {
  readonly maxSessions: number;
  readonly metrics: SupervisorMetrics;
}

export interface SupervisorOptions {
  /** Makes those who carry sessions. Throws StartError when they cannot. */
  readonly openCrew: (options: CrewOptions) => Promise<Crew>;
  /** Whether they are other processes than this one. */
  readonly apart: boolean;
  /** Reads the configuration anew, for a reload. */
  readonly load?: (() => LoadResult) | undefined;
  /** What operators see of limits and bans; undefined until there is something to see. */
  readonly policy: () => PolicyControl | undefined;
  /** How many events of the policy wait to be told. */
  readonly events: () => number;
  /** Where Postfix asks about them; undefined until there is a crew. */
  readonly policyPort: () => PolicyPort | undefined;
  /** Hears of each new configuration. */
  readonly reloaded: (config: Config) => Promise<void> | undefined;
  /** Lets go of what only one gateway can have, for an upgrade, and takes it again when that came to nothing. */
  readonly standBack: () => Promise<void> | undefined;
  /** Leaves the rest to the one that takes over, in the last moment before it has clients; and that one takes it. */
  readonly handOver: () => Promise<void> | undefined;
  readonly inherit: () => Promise<void> | undefined;
  readonly goOn: () => Promise<void> | undefined;
  /** How to start the program anew, for an upgrade. */
  readonly successor?: Spawn | undefined;
  /** The gateway that we take over from. */
  readonly predecessor?: Predecessor | undefined;
}

/**
 * Holds what must not end while the gateway runs: the listening sockets, the admin port and the crew. It reads no
 * byte of mail.
 */
export class Supervisor {
  readonly #log: Logger;
  readonly #options: SupervisorOptions;
  readonly #metrics: SupervisorMetrics;
  readonly #listeners: Listeners;
  readonly #policySocket: PolicySocket;
  #config: Config;
  #crew: Crew | undefined;
  /** Connections that came before there was anybody to carry them. */
  readonly #early: { readonly name: string; readonly socket: Socket }[] = [];
  #admin: Admin | undefined;
  #stopping: Promise<void> | undefined;
  #changing: Promise<unknown> = Promise.resolve();
  /** Aborted when it begins to stop. */
  readonly #over = new AbortController();
  readonly #replaced = Promise.withResolvers<void>();

  /**
   * Binds every listener or none, then opens the crew. Throws StartError or BindError when something that the
   * configuration names cannot be had; then nothing is left running.
   */
  static async start(config: Config, log: Logger, options: SupervisorOptions): Promise<Supervisor> {
    const supervisor = new Supervisor(config, log, options);
    try {
      await supervisor.#start();
      return supervisor;
    } catch (error) {
      await supervisor.#giveUp();
      throw error;
    }
  }

  private constructor(config: Config, log: Logger, options: SupervisorOptions) {
    this.#config = config;
    this.#log = log;
    this.#options = options;
    this.#metrics = createSupervisorMetrics(
      {
        workers: () => this.#crew?.size ?? 0,
        waiting: () => this.#crew?.waiting ?? 0,
        events: options.events,
        limitAnswers: () => options.policyPort()?.answers() ?? [],
      },
      !options.apart,
    );
    this.#listeners = new Listeners({
      take: (name, socket) => this.#accept(name, socket),
      untouched: options.apart,
    });
    this.#policySocket = new PolicySocket((socket) => this.#accept(POLICY_PORT, socket));
  }

  get listeners(): readonly Bound[] {
    return this.#listeners.bound;
  }

  get adminPort(): number {
    return this.#admin?.port ?? 0;
  }

  get #isOver(): boolean {
    return this.#over.signal.aborted;
  }

  /** Resolves when another process has taken over. */
  get replaced(): Promise<void> {
    return this.#replaced.promise;
  }

  /** Lets sessions end, with their protocol's goodbye and within the drain time; then ends everything else. */
  stop(): Promise<void> {
    return this.#end(0);
  }

  /** The same, after sessions have been left alone for as long: nobody has to be gone soon. */
  leave(): Promise<void> {
    return this.#end(this.#config.timeouts.drain);
  }

  /** Has the program that is installed now take over; then nothing is left for this one but its sessions. */
  upgrade(): Promise<Outcome> {
    return this.#afterwards(() => this.#upgrade());
  }

  /** Takes the configuration as it is now, whole or not at all; those inside keep what they had. */
  reload(): Promise<Outcome> {
    return this.#afterwards(() => this.#reload());
  }

  /** Ends the crew without a word. */
  kill(): void {
    this.#crew?.kill();
  }

  async #start(): Promise<void> {
    const { predecessor } = this.#options;
    // Who takes over is ready before it asks for the ports; others have their ports first, or do not start.
    if (!predecessor) {
      await takeGivenSockets(process.env, this.#config.listeners, (given) => this.#take(given));
      await this.#bind(this.#config, false);
      this.#admin = await this.#openAdmin(undefined);
    }
    dropRoot(this.#config, this.#log);
    this.#crew = await this.#openCrew();
    for (const { name, socket } of this.#early.splice(0)) this.#accept(name, socket);
    if (predecessor) await this.#takeOver(predecessor);
  }

  #accept(name: string, socket: Socket): void {
    if (!this.#crew) this.#early.push({ name, socket });
    else if (name === POLICY_PORT) this.#options.policyPort()?.take(socket);
    else this.#crew.take(name, socket);
  }

  async #bind(config: Config, replaces: boolean): Promise<void> {
    (await this.#change(config, replaces)).commit();
  }

  /** Everything new listens already, and nothing has changed yet. Throws BindError. */
  async #change(config: Config, replaces: boolean): Promise<Change> {
    const socket = await this.#policySocket.change(config, replaces);
    try {
      return both(socket, await this.#listeners.change(placesOf(config)));
    } catch (error) {
      socket.undo();
      throw error;
    }
  }

  #take({ listener, server, address }: GivenSocket): void {
    if (listener) this.#listeners.adoptFor(listener, server);
    else {
      server.close();
      this.#log.warn({ address }, "the service manager gave us a socket that no listener wants");
    }
  }

  async #takeOver(predecessor: Predecessor): Promise<void> {
    const admin = await predecessor.inherit((address, server) => this.#listeners.adopt(address, server));
    await this.#options.inherit();
    await this.#bind(this.#config, true);
    this.#admin = await this.#openAdmin(admin);
    await predecessor.serving();
  }

  #openCrew(): Promise<Crew> {
    const descriptors = descriptorLimit();
    return this.#options.openCrew({
      metrics: this.#metrics,
      maxSessions: maxSessions(descriptors),
      maxWaiting: maxWaiting(descriptors, !this.#options.apart),
      patienceMs: () => this.#config.timeouts.login,
      observer: {
        full: (waiting) => {
          if (waiting) this.#log.warn("no process has room for more sessions; new connections wait");
          else this.#log.info("there is room for new sessions again");
        },
        dropped: () => this.#metrics.dropped.inc(),
      },
    });
  }

  async #openAdmin(inherited: InheritedAdmin | undefined): Promise<Admin> {
    const { host, port } = this.#config.admin;
    try {
      return await startAdmin({
        host,
        port,
        token: () => this.#config.admin.token,
        ...(inherited && { inherited }),
        metrics: { contentType: METRICS_TYPE, expose: () => this.#expose() },
        notReady: () => this.#notReady(),
        control: {
          sessions: async (filter, limit) =>
            (await this.#crew?.list(filter, limit)) ?? { total: 0, rows: [] },
          kick: (filter) => this.#kick(filter),
          reload: () => this.reload(),
          upgrade: () => this.upgrade(),
          policy: () => this.#options.policy(),
        },
      });
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new StartError(`admin: cannot listen on ${host}, port ${port}: ${reason}`);
    }
  }

  #notReady(): string | undefined {
    if (this.#isOver) return "stopping";
    return this.#crew?.ready ? undefined : "no worker is ready";
  }

  async #expose(): Promise<string> {
    const own = await this.#metrics.snapshot();
    const crew = (await this.#crew?.metrics()) ?? [];
    // What cannot be summed is told of this process: of its own metrics, or of the crew's where that is one.
    return exposeSum(this.#options.apart ? [own, ...crew] : [...crew, own]);
  }

  async #kick(filter: SessionFilter): Promise<number> {
    const count = (await this.#crew?.kick(filter)) ?? 0;
    this.#log.warn({ filter, count }, "sessions ended by the operator");
    return count;
  }

  /** One change at a time. */
  #afterwards(change: () => Promise<Outcome>): Promise<Outcome> {
    const changed = this.#changing.then(change);
    this.#changing = changed.catch(() => {});
    return changed;
  }

  async #upgrade(): Promise<Outcome> {
    const { successor, standBack, handOver, goOn } = this.#options;
    if (!successor || this.#isOver) return { ok: false, problems: ["this gateway cannot be upgraded now"] };
    const servers = new Map(this.#listeners.servers);
    if (this.#admin) servers.set(ADMIN, this.#admin.server);
    await standBack();
    const heir = await startHeir(successor, servers, handOver, this.#over.signal);
    if ("problem" in heir) {
      this.#log.error({ problem: heir.problem }, "not upgraded; this process goes on");
      if (!this.#isOver) await Promise.all([goOn(), this.#restorePolicySocket()]);
      return { ok: false, problems: [heir.problem] };
    }
    this.#log.info(
      { pid: heir.pid },
      "upgraded: another process serves now, and this one lets its sessions end",
    );
    this.#admin?.release();
    this.#replaced.resolve();
    return { ok: true, done: [`process ${heir.pid} serves now`] };
  }

  async #restorePolicySocket(): Promise<void> {
    await this.#policySocket.restore(this.#config).catch((error: Error) => {
      this.#log.error({ problem: error.message }, "Postfix cannot ask any more");
    });
  }

  async #reload(): Promise<Outcome> {
    const { load } = this.#options;
    if (!load || this.#isOver) return this.#notReloaded(["this gateway cannot reload now"]);
    const loaded = load();
    if (!loaded.ok) return this.#notReloaded(loaded.problems.map(formatProblem));
    for (const warning of loaded.warnings)
      this.#log.warn({ problem: formatProblem(warning) }, "configuration");
    const problems = await this.#swap(loaded.config);
    return problems.length > 0 ? this.#notReloaded(problems) : this.#reloaded(loaded.config);
  }

  /** Everything new is there before anything old goes; returns why it cannot be. */
  async #swap(config: Config): Promise<readonly string[]> {
    const crew = this.#crew as Crew;
    let change: Change;
    try {
      change = await this.#change(config, false);
    } catch (error) {
      if (error instanceof BindError) return [error.message];
      throw error;
    }
    const problems = await crew.prepare(config);
    if (problems.length > 0) {
      change.undo();
      await crew.abandon();
      return problems;
    }
    await crew.commit(config);
    change.commit();
    await this.#options.reloaded(config);
    return [];
  }

  #reloaded(config: Config): Outcome {
    const { changes, needsRestart } = difference(this.#config, config);
    this.#config = config;
    this.#log.level = config.logging.level;
    this.#metrics.reloads.inc({ outcome: "ok" });
    const done = [...changes, ...needsRestart.map((key) => `${key} needs a restart`)];
    this.#log.info(`reloaded: ${done.join(", ") || "nothing has changed"}`);
    return { ok: true, done };
  }

  #notReloaded(problems: readonly string[]): Outcome {
    this.#metrics.reloads.inc({ outcome: "failed" });
    for (const problem of problems) this.#log.error({ problem }, "not reloaded; everything stays as it was");
    return { ok: false, problems };
  }

  #end(quietMs: number): Promise<void> {
    this.#over.abort();
    // Listeners first, so that nobody comes in while those inside are asked to leave.
    this.#listeners.close();
    this.#policySocket.close();
    this.#options.policyPort()?.leave();
    const stopped = this.#crew?.stop(this.#config.timeouts.drain, quietMs) ?? Promise.resolve();
    this.#stopping ??= stopped.then(() => this.#admin?.close());
    return this.#stopping;
  }

  /** A start that fails may have clients already, and no port is free before they are gone. */
  async #giveUp(): Promise<void> {
    this.#listeners.close();
    this.#policySocket.close();
    this.#options.policyPort()?.leave();
    for (const { socket } of this.#early) socket.destroy();
    await this.#crew?.stop(0, 0);
    await this.#admin?.close();
  }
}
