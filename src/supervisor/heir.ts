import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import type { Server, Socket } from "node:net";
import type { FromHeir, ToHeir } from "./messages.ts";
import { StartError } from "./start-error.ts";
import type { Spawn } from "./worker-handle.ts";

/** How long a new supervisor may take until it could serve, and then until it does, in milliseconds. */
const UNTIL_READY = 30_000;
const UNTIL_SERVING = 20_000;

/** The admin port among the addresses of listening sockets. */
export const ADMIN = "admin";

/**
 * Starts the program anew and hands it the listening sockets, which stay ours too until the caller closes them; what
 * else is to be handed over is so when it is ready.
 * Resolves to its process id, or to why it does not serve; then it is gone.
 */
export async function startHeir(
  spawn: Spawn,
  servers: ReadonlyMap<string, Server>,
  handOver: () => Promise<void> | undefined,
  signal: AbortSignal,
): Promise<{ readonly pid: number } | { readonly problem: string }> {
  const child = fork(spawn.entry, [...spawn.args], { serialization: "advanced" });
  const heir = new Heir(child);
  const stop = (): void => heir.fail("the gateway stops");
  signal.addEventListener("abort", stop);
  try {
    await heir.says("ready", UNTIL_READY);
    await handOver();
    for (const [address, server] of servers) heir.tell({ type: "listener", address }, server);
    heir.tell({ type: "allListeners" });
    await heir.says("serving", UNTIL_SERVING);
    // It is on its own now.
    child.disconnect();
    child.unref();
    return { pid: child.pid ?? 0 };
  } catch (error) {
    child.kill("SIGKILL");
    return { problem: error instanceof Error ? error.message : String(error) };
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

/** The new supervisor, as the old one sees it. */
class Heir {
  readonly #child: ChildProcess;
  readonly #said = new Set<string>();
  #problem: string | undefined;
  #wake = (): void => {};

  constructor(child: ChildProcess) {
    this.#child = child;
    child.on("message", (message) => {
      const said = message as FromHeir;
      if (said.type === "failed") this.#problem ??= said.reason;
      this.#said.add(said.type);
      this.#wake();
    });
    child.on("error", (error) => this.fail(error.message));
    child.on("close", (code, signal) =>
      this.fail(`the new process ended (${signal ?? `exit code ${code}`})`),
    );
  }

  tell(message: ToHeir, server?: Server): void {
    this.#child.send(message, server, undefined, () => {});
  }

  async says(what: FromHeir["type"], timeoutMs: number): Promise<void> {
    const timer = setTimeout(
      () => this.fail(`the new process was not ${what} in ${timeoutMs / 1000} s`),
      timeoutMs,
    );
    try {
      while (!this.#said.has(what) && this.#problem === undefined) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
      if (this.#problem !== undefined) throw new Error(this.#problem);
    } finally {
      clearTimeout(timer);
    }
  }

  fail(problem: string): void {
    this.#problem ??= problem;
    this.#wake();
  }
}

/** The admin port as it comes: with those who connected before anybody could answer. */
export interface InheritedAdmin {
  readonly server: Server;
  readonly early: readonly Socket[];
}

/** What one that takes over does with its predecessor. */
export interface Predecessor {
  /** Says that we could serve; gives each listening socket to `adopt` as it comes, in the very moment. */
  inherit(adopt: (address: string, server: Server) => void): Promise<InheritedAdmin | undefined>;
  serving(): void | Promise<void>;
  failed(reason: string): Promise<void>;
}

/** The supervisor that started this process to take over; undefined where nobody did. */
export function predecessor(): Predecessor | undefined {
  if (!process.send) return undefined;
  const tell = (message: FromHeir): Promise<void> =>
    new Promise((resolve) => {
      if (process.connected) process.send?.(message, undefined, undefined, () => resolve());
      else resolve();
    });
  return {
    async inherit(adopt) {
      let admin: InheritedAdmin | undefined;
      const all = Promise.withResolvers<void>();
      process.on("message", (message, server) => {
        const said = message as ToHeir;
        if (said.type === "allListeners") return all.resolve();
        if (said.address !== ADMIN) return adopt(said.address, server as Server);
        const early: Socket[] = [];
        (server as Server).on("connection", (socket) => early.push(socket));
        admin = { server: server as Server, early };
      });
      const lost = once(process, "disconnect").then(() => {
        all.reject(new StartError("the gateway that was to hand over is gone"));
      });
      void lost;
      void tell({ type: "ready" });
      await all.promise;
      return admin;
    },
    serving: () => void tell({ type: "serving" }),
    failed: (reason) => tell({ type: "failed", reason }),
  };
}
