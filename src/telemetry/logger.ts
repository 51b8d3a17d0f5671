import { type DestinationStream, pino } from "pino";
import pretty from "pino-pretty";

export type Logger = ReturnType<typeof createLogger>["log"];

export interface LoggerOptions {
  readonly level: "trace" | "debug" | "info" | "warn" | "error" | "silent";
  readonly format: "json" | "pretty";
}

/** The log on standard output, and how to write out what it still holds. */
export function createLogger(options: LoggerOptions) {
  const file = pino.destination({ dest: 1, sync: false });
  // A reader that is gone (EPIPE, a full disk) costs the line, not the process.
  file.on("error", () => {});
  const stream: DestinationStream =
    options.format === "pretty"
      ? pretty({ destination: file, ignore: "pid,hostname", translateTime: "HH:MM:ss.l", singleLine: true })
      : file;
  const log = pino({ level: options.level, timestamp: pino.stdTimeFunctions.isoTime, base: null }, stream);
  const flush = (): void => {
    try {
      file.flushSync();
    } catch {
      // Not open yet, or closed by its reader: nothing can be written any more.
    }
  };
  return { log, flush };
}
