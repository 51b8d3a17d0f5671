import type { Logger } from "../telemetry/logger.ts";

/** A line of the log about something that every process sees for itself, and that is worth saying once. */
export interface News {
  readonly level: "info" | "warn" | "error";
  readonly fields: Readonly<Record<string, unknown>>;
  readonly message: string;
}

/** So long after a line another process's same line is about the same thing, in milliseconds. */
const ECHO = 10_000;

interface Heard {
  at: number;
  told: number;
  readonly times: Map<number, number>;
}

/** Writes each line as often as the process that saw the most of it, and not once for each. */
export function newsDesk(
  log: Logger,
  now: () => number = () => performance.now(),
): (news: News, from?: number) => void {
  const heard = new Map<string, Heard>();
  return ({ level, fields, message }, from = 0) => {
    for (const [old, { at }] of heard) if (now() - at > ECHO) heard.delete(old);
    const key = JSON.stringify([level, message, fields]);
    const one = heard.get(key) ?? { at: 0, told: 0, times: new Map<number, number>() };
    heard.set(key, one);
    one.at = now();
    const times = (one.times.get(from) ?? 0) + 1;
    one.times.set(from, times);
    if (times <= one.told) return;
    one.told = times;
    log[level](fields, message);
  };
}
