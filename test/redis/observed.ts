import { connectRedis, type RedisConnection } from "../../src/redis/connection.ts";
import type { RedisSettings } from "../../src/redis/settings.ts";

/** A connection, and all that its observer was told. */
export interface Observed extends AsyncDisposable {
  readonly connection: RedisConnection;
  readonly told: string[];
  readonly failures: string[];
}

export async function connect(settings: RedisSettings): Promise<Observed> {
  const told: string[] = [];
  const failures: string[] = [];
  const connection = await connectRedis(settings, {
    up: () => void told.push("up"),
    down: ({ kind }) => void told.push(`down: ${kind}`),
    failed: (_call, { kind }) => void told.push(`failed: ${kind}`),
    settled: (_call, _ms, failure) => {
      if (failure) failures.push(failure.kind);
    },
    evicts: (policy) => void told.push(`evicts: ${policy}`),
  });
  return { connection, told, failures, [Symbol.asyncDispose]: () => connection[Symbol.asyncDispose]() };
}
