import { openCarrier } from "../app.ts";
import { runWorker, workerLine } from "../supervisor/worker.ts";
import { createLogger } from "../telemetry/logger.ts";

/** `postern worker`: what the gateway starts to carry sessions; nothing for people. */
export async function worker(): Promise<number> {
  const line = workerLine();
  if (!line) {
    console.error("postern worker: only the gateway itself starts this");
    return 2;
  }
  let logger: ReturnType<typeof createLogger> | undefined;
  const fault = (error: unknown): void => logger?.log.error({ err: error }, "a fault of the gateway");
  process.on("uncaughtException", fault);
  const code = await runWorker({
    line,
    fault,
    open(start, store) {
      logger = createLogger(start.config.logging);
      return openCarrier(start.config, logger.log, { store, secret: start.secret });
    },
  });
  logger?.flush();
  // The channel and what is left of the last sessions would hold the process; all that had to be said is said.
  process.exit(code);
}
