import { randomUUID } from "node:crypto";
import type { RedisConnection } from "./connection.ts";
import { script } from "./script.ts";

const ACQUIRE = script(
  "lease-acquire",
  "return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) and 1 or 0",
);
const RENEW = script(
  "lease-renew",
  "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end return redis.call('PEXPIRE', KEYS[1], ARGV[2])",
);
/** Only what is still ours: somebody else may have it by now. */
const RELEASE = script(
  "lease-release",
  "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end return redis.call('DEL', KEYS[1])",
);
/** Renewed while it is held, so it need not last as long as the work: after a crash others wait this long at most. */
const LONGEST_MS = 60_000;

/** Gives out what only one of all replicas may do at a time. */
export class Leases {
  readonly #redis: RedisConnection;

  constructor(redis: RedisConnection) {
    this.#redis = redis;
  }

  /** Undefined while another one has it. Rejects when the store cannot say. */
  async acquire(name: string, ttlMs: number): Promise<AsyncDisposable | undefined> {
    const keys = [`${this.#redis.prefix}lease:${name}`];
    const token = randomUUID();
    const lastsMs = Math.min(ttlMs, LONGEST_MS);
    if (!(await this.#redis.run(ACQUIRE, keys, [token, lastsMs]))) return undefined;
    const renew = (): void => {
      // What fails once is tried twice more before the lease is over.
      this.#redis.run(RENEW, keys, [token, lastsMs]).catch(() => {});
    };
    const timer = setInterval(renew, lastsMs / 3).unref();
    return {
      [Symbol.asyncDispose]: async () => {
        clearInterval(timer);
        await this.#redis.run(RELEASE, keys, [token]).catch(() => {});
      },
    };
  }
}
