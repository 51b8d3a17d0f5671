import type { Server } from "node:net";
import { type Admin, startAdmin } from "../admin/server.ts";
import type { Config } from "../config/schema.ts";
import type { Bound } from "../listen/listener.ts";
import type { Logger } from "../telemetry/logger.ts";
import { exposeSum, METRICS_TYPE } from "../telemetry/snapshot.ts";
import { createSupervisorMetrics, type SupervisorMetrics } from "../telemetry/supervisor-metrics.ts";
import type { Crew } from "./crew.ts";
import type { HandOverOptions } from "./hand-over.ts";
import { descriptorLimit, maxSessions, maxWaiting } from "./limits.ts";
import { type Inherited, Listeners } from "./listeners.ts";
import { StartError } from "./start-error.ts";

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
  /** What a gateway that goes away leaves to us, once we are ready to take it. */
  readonly inheritance?: () => Promise<Inheritance>;
}

export interface Inheritance {
  readonly listeners: Inherited;
  readonly admin?: Server;
}

/** The address of the admin port among listening sockets that are handed on. */
export const ADMIN = "admin";

/**
 * Holds what must not end while the gateway runs: the listening sockets, the admin port and the crew. It reads no
 * byte of mail.
 */
export class Supervisor {
  readonly #log: Logger;
  readonly #options: SupervisorOptions;
  readonly #metrics: SupervisorMetrics;
  readonly #listeners: Listeners;
  #config: Config;
  #crew: Crew | undefined;
  #admin: Admin | undefined;
  #stopping: Promise<void> | undefined;

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
      { workers: () => this.#crew?.size ?? 0, waiting: () => this.#crew?.waiting ?? 0 },
      !options.apart,
    );
    this.#listeners = new Listeners({
      take: (listener, socket) => (this.#crew ? this.#crew.take(listener, socket) : socket.destroy()),
      untouched: options.apart,
    });
  }

  get listeners(): readonly Bound[] {
    return this.#listeners.bound;
  }

  get adminPort(): number {
    return this.#admin?.port ?? 0;
  }

  /** Lets sessions end, with their protocol's goodbye and within the drain time; then ends everything else. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  /** Ends the crew without a word. */
  kill(): void {
    this.#crew?.kill();
  }

  async #start(): Promise<void> {
    const { inheritance } = this.#options;
    // Who takes over is ready before it asks for the ports; others have their ports first, or do not start.
    const early = inheritance ? undefined : await this.#listeners.change(this.#config.listeners);
    this.#crew = await this.#openCrew().catch((error) => {
      early?.undo();
      throw error;
    });
    const given = await inheritance?.();
    const change = early ?? (await this.#listeners.change(this.#config.listeners, given?.listeners));
    change.commit();
    this.#admin = await this.#openAdmin(given?.admin);
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

  async #openAdmin(inherited: Server | undefined): Promise<Admin> {
    const { host, port, token } = this.#config.admin;
    try {
      return await startAdmin({
        host,
        port,
        ...(token !== undefined && { token }),
        ...(inherited && { inherited }),
        metrics: { contentType: METRICS_TYPE, expose: () => this.#expose() },
        notReady: () => this.#notReady(),
      });
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new StartError(`admin: cannot listen on ${host}, port ${port}: ${reason}`);
    }
  }

  #notReady(): string | undefined {
    if (this.#stopping !== undefined) return "stopping";
    return this.#crew?.ready ? undefined : "no worker is ready";
  }

  async #expose(): Promise<string> {
    const own = await this.#metrics.snapshot();
    const crew = (await this.#crew?.metrics()) ?? [];
    // What cannot be summed is told of this process: of its own metrics, or of the crew's where that is one.
    return exposeSum(this.#options.apart ? [own, ...crew] : [...crew, own]);
  }

  async #stop(): Promise<void> {
    // Listeners first, so that nobody comes in while those inside are asked to leave.
    this.#listeners.close();
    await this.#crew?.stop(this.#config.timeouts.drain);
    await this.#admin?.close();
  }

  /** A start that fails may have clients already, and no port is free before they are gone. */
  async #giveUp(): Promise<void> {
    this.#listeners.close();
    await this.#crew?.stop(0);
    await this.#admin?.close();
  }
}
