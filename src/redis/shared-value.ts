import type { RedisConnection } from "./connection.ts";
import { type Script, script } from "./script.ts";
import type { Seal } from "./seal.ts";

const READ = script("shared-read", "return redis.call('GET', KEYS[1])");
const WRITE = script("shared-write", "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) return ARGV[1]");
const READ_OR_WRITE = script(
  "shared-read-or-write",
  "local v = redis.call('GET', KEYS[1]) if v then return v end redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) return ARGV[1]",
);
const FORGET = script("shared-forget", "return redis.call('DEL', KEYS[1])");

/** Values that all replicas of one `clusterSecret` share, shut in on their way and in their place. */
export class SharedValues {
  readonly #redis: RedisConnection;
  readonly #seal: Seal;
  readonly #foreign: (name: string) => void;

  /** `foreign` hears of a value that this secret does not open. */
  constructor(redis: RedisConnection, seal: Seal, foreign: (name: string) => void) {
    this.#redis = redis;
    this.#seal = seal;
    this.#foreign = foreign;
  }

  async read(name: string): Promise<Buffer | undefined> {
    return this.#run(READ, name, []);
  }

  async write(name: string, value: Uint8Array, ms: number): Promise<void> {
    await this.#run(WRITE, name, [this.#seal.shut(name, value), ms]);
  }

  /** The value that is there, or else this one, which all others find from now on. */
  async readOrWrite(name: string, value: Uint8Array, ms: number): Promise<Buffer | undefined> {
    return this.#run(READ_OR_WRITE, name, [this.#seal.shut(name, value), ms]);
  }

  async forget(name: string): Promise<void> {
    await this.#redis.run(FORGET, [this.#key(name)], []);
  }

  async #run(script: Script, name: string, args: readonly (string | number)[]): Promise<Buffer | undefined> {
    const sealed = await this.#redis.run(script, [this.#key(name)], args);
    if (typeof sealed !== "string") return undefined;
    const value = this.#seal.open(name, sealed);
    if (!value) this.#foreign(name);
    return value;
  }

  #key(name: string): string {
    return `${this.#redis.prefix}shared:${name}`;
  }
}
