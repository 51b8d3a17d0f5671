import type { RedisConnection } from "./connection.ts";
import { Leases } from "./lease.ts";
import { sealWith } from "./seal.ts";
import { SharedSecret } from "./shared-secret.ts";
import { SharedValues } from "./shared-value.ts";

/** A renewed certificate is put there again and again by whoever has it, so this is only for those that nobody has. */
const CERTIFICATE_MS = 7 * 24 * 3_600_000;
/** An order is over by then. */
const TOKEN_MS = 3_600_000;

/** A text that all replicas see. */
export interface SharedText {
  read(): Promise<string | undefined>;
  write(text: string): Promise<void>;
}

/** What replicas share beside counters; made from the secret that they have in common. */
export interface Sharing {
  readonly leases: Leases;
  /** The secret behind TLS tickets, from now on. */
  tickets(adopt: (secret: Uint8Array) => void): Promise<Disposable>;
  certificate(name: string): SharedText;
  /** Answers to an ACME authority that knocks at any replica. */
  readonly answers: {
    show(token: string, answer: string): Promise<AsyncDisposable>;
    find(token: string): Promise<string | undefined>;
  };
}

export function openSharing(
  redis: RedisConnection,
  clusterSecret: string,
  foreign: (name: string) => void,
): Sharing {
  const values = new SharedValues(redis, sealWith(clusterSecret), foreign);
  return {
    leases: new Leases(redis),
    tickets: (adopt) => SharedSecret.open({ values, name: "tickets", adopt }),
    certificate: (name) => ({
      read: async () => (await values.read(`certificate:${name}`))?.toString(),
      write: (text) => values.write(`certificate:${name}`, Buffer.from(text), CERTIFICATE_MS),
    }),
    answers: {
      async show(token, answer) {
        const name = `answer:${token}`;
        await values.write(name, Buffer.from(answer), TOKEN_MS);
        return { [Symbol.asyncDispose]: () => values.forget(name).catch(() => {}) };
      },
      find: async (token) => (await values.read(`answer:${token}`).catch(() => undefined))?.toString(),
    },
  };
}
