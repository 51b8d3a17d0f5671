import { once } from "node:events";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { type Postern, type Processes, StartError, startPostern } from "../app.ts";
import { loadConfig } from "../config/load.ts";
import { formatProblem } from "../config/problem.ts";
import type { Config } from "../config/schema.ts";
import { BindError } from "../listen/listener.ts";
import { type Predecessor, predecessor } from "../supervisor/heir.ts";
import { type ServiceManager, serviceManager } from "../supervisor/notify.ts";
import { createLogger } from "../telemetry/logger.ts";

/**
 * `postern run`: serves until SIGTERM or SIGINT, or until another process has taken over. 0 after an orderly
 * stop, 1 when it could not start. `takeOver`: from the gateway that started this process.
 */
export async function run(file: string, takeOver = false): Promise<number> {
  const before = takeOver ? predecessor() : undefined;
  const loaded = loadConfig(file);
  if (!loaded.ok) {
    const problems = loaded.problems.map(formatProblem).join("\n");
    return notStarted(`${problems}\npostern: not started; ${file} has problems`, before);
  }
  const { config } = loaded;
  const { log, flush } = createLogger(config.logging);
  // The last net: a fault that escaped its session is told, and the other sessions go on.
  process.on("uncaughtException", (error) => log.error({ err: error }, "a fault of the gateway"));
  for (const warning of loaded.warnings) log.warn({ problem: formatProblem(warning) }, "configuration");
  let running: Postern | undefined;
  // Heard from here on: as process 1 of a container a signal that nobody waits for would be lost.
  const stop = stopSignal(() => running?.kill());
  try {
    await using manager = serviceManager(surroundings(takeOver), (problem) =>
      log.warn({ problem }, "service manager"),
    );
    // Before it runs there is nothing to reload or to replace, and nothing to die of.
    process.on("SIGHUP", () => void (running && reload(running, manager)));
    process.on("SIGUSR2", () => void running?.upgrade());
    const postern = await startPostern(config, log, {
      processes: processes(config),
      load: () => loadConfig(file),
      successor: { entry: program(), args: ["run", "--config", file, "--take-over"] },
      // Named as the service before the other one ends, or its end would be taken for the service's.
      predecessor: before && {
        ...before,
        serving: () => manager.tookOver().then(() => before.serving()),
      },
    });
    running = postern;
    for (const { name, address, port } of postern.listeners)
      log.info({ listener: name, address, port }, "listening");
    log.info({ adminPort: postern.adminPort, backends: Object.keys(config.backends) }, "ready");
    void manager.ready(serving(postern));
    const stopped = stop.then((signal) => {
      log.info({ signal }, "stopping");
      void manager.stopping(config.timeouts.drain);
      return postern.close();
    });
    const left = postern.replaced.then(async () => {
      // The service goes on, in another process: what is left here is nothing that it is told of.
      await manager[Symbol.asyncDispose]();
      await postern.leave();
    });
    await Promise.race([stopped, left]);
    log.info("stopped");
    return 0;
  } catch (error) {
    if (!(error instanceof StartError || error instanceof BindError)) throw error;
    return notStarted(`${error.message}\npostern: not started`, before);
  } finally {
    flush();
  }
}

/** The environment; what the service manager meant for the process before us is meant for us now. */
function surroundings(takeOver: boolean): NodeJS.ProcessEnv {
  const { WATCHDOG_PID, ...others } = process.env;
  return takeOver || WATCHDOG_PID === undefined ? others : { ...others, WATCHDOG_PID };
}

async function reload(postern: Postern, manager: ServiceManager): Promise<void> {
  await manager.reloading();
  await postern.reload();
  await manager.ready(serving(postern));
}

function serving({ listeners }: Postern): string {
  return `serving on ${listeners.map(({ name }) => name).join(", ")}`;
}

async function notStarted(why: string, before: Predecessor | undefined): Promise<number> {
  console.error(why);
  await before?.failed(why);
  return 1;
}

/** The program's own file. */
function program(): string {
  return process.argv[1] ?? "";
}

/** How many processes carry sessions, and how each is started. */
function processes({ workers, dataDir }: Config): Processes | undefined {
  const count = workers === "auto" ? availableParallelism() : workers;
  if (count === 0) return undefined;
  return { count, spawn: { entry: program(), args: ["worker"], cache: join(dataDir, "compiled") } };
}

/** The first of the signals that ask for an orderly stop; a second one ends the process at once. */
export async function stopSignal(kill: () => void = () => {}): Promise<string> {
  const signals = ["SIGTERM", "SIGINT"] as const;
  const signal = await Promise.race(signals.map((name) => once(process, name).then(() => name)));
  const atOnce = (): never => {
    kill();
    process.exit(1);
  };
  for (const name of signals) process.once(name, atOnce);
  return signal;
}
