import { setTimeout as pause } from "node:timers/promises";

/** Long enough for a slow machine; a test that waits this long has failed. */
export const PATIENCE_MS = 10_000;

/** The promise's value, or an error that says what did not happen in time. */
export async function within<T>(
  timeoutMs: number,
  what: string | (() => string),
  promise: Promise<T>,
): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    reject(new Error(`not within ${timeoutMs} ms: ${typeof what === "string" ? what : what()}`));
  }, timeoutMs);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

export interface EventuallyOptions {
  readonly timeoutMs?: number;
  readonly everyMs?: number;
}

/**
 * Asks again and again until the answer is neither `undefined` nor `false`, and gives that answer.
 * For states that announce themselves to nobody: a count in /metrics, a line in another program's log.
 */
export async function eventually<T>(
  what: string | (() => string),
  ask: () => T | Promise<T>,
  { timeoutMs = PATIENCE_MS, everyMs = 20 }: EventuallyOptions = {},
): Promise<Exclude<T, undefined | false>> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer as Exclude<T, undefined | false>;
    if (performance.now() > deadline) {
      throw new Error(`not within ${timeoutMs} ms: ${typeof what === "string" ? what : what()}`);
    }
    await pause(everyMs);
  }
}
