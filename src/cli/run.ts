import { once } from "node:events";
import { StartError, startPostern } from "../app.ts";
import { loadConfig } from "../config/load.ts";
import { formatProblem } from "../config/problem.ts";
import { BindError } from "../listen/listener.ts";
import { serviceManager } from "../supervisor/notify.ts";
import { createLogger } from "../telemetry/logger.ts";

/** `postern run`: serves until SIGTERM or SIGINT. 0 after an orderly stop, 1 when it could not start. */
export async function run(file: string): Promise<number> {
  const loaded = loadConfig(file);
  if (!loaded.ok) {
    for (const problem of loaded.problems) console.error(formatProblem(problem));
    console.error(`postern: not started; ${file} has problems`);
    return 1;
  }
  const { config } = loaded;
  const { log, flush } = createLogger(config.logging);
  // The last net: a fault that escaped its session is told, and the other sessions go on.
  process.on("uncaughtException", (error) => log.error({ err: error }, "a fault of the gateway"));
  for (const warning of loaded.warnings) log.warn({ problem: formatProblem(warning) }, "configuration");
  // Heard from here on: as process 1 of a container a signal that nobody waits for would be lost.
  const stop = stopSignal();
  try {
    await using manager = serviceManager(process.env, (problem) => log.warn({ problem }, "service manager"));
    const postern = await startPostern(config, log);
    for (const { name, address, port } of postern.listeners)
      log.info({ listener: name, address, port }, "listening");
    log.info({ adminPort: postern.adminPort, backends: Object.keys(config.backends) }, "ready");
    const listening = postern.listeners.map(({ name }) => name).join(", ");
    void manager.ready(`serving on ${listening}`);
    const signal = await stop;
    log.info({ signal }, "stopping");
    void manager.stopping(config.timeouts.drain);
    await postern.close();
    log.info("stopped");
    return 0;
  } catch (error) {
    if (!(error instanceof StartError || error instanceof BindError)) throw error;
    console.error(`${error.message}\npostern: not started`);
    return 1;
  } finally {
    flush();
  }
}

/** The first of the signals that ask for an orderly stop; a second one ends the process at once. */
export async function stopSignal(): Promise<string> {
  const signals = ["SIGTERM", "SIGINT"] as const;
  const signal = await Promise.race(signals.map((name) => once(process, name).then(() => name)));
  for (const name of signals) process.once(name, () => process.exit(130));
  return signal;
}
