import { readFile } from "node:fs/promises";
import type { ConnectionOptions } from "node:tls";
import type { RedisOptions } from "ioredis";

/** Where Redis or Valkey is, as an operator says it: by `url`, by `sentinels` and `name`, or as a Cluster by `nodes`. */
export interface RedisSettings {
  readonly url?: string | undefined;
  readonly sentinels?: readonly string[] | undefined;
  readonly name?: string | undefined;
  readonly nodes?: readonly string[] | undefined;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  readonly sentinelPassword?: string | undefined;
  readonly db?: number | undefined;
  readonly tls?: RedisTls | undefined;
  /** Before every key. */
  readonly prefix?: string | undefined;
  /** How long one command may take, in milliseconds. */
  readonly timeout?: number | undefined;
}

export interface RedisTls {
  /** Files, PEM. */
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  readonly serverName?: string | undefined;
  readonly insecure?: boolean | undefined;
}

export const DEFAULT_PREFIX = "postern";
export const DEFAULT_TIMEOUT = 100;
const PORT = 6379;
const SENTINEL_PORT = 26_379;
const CONNECT_MS = 2_000;
/** What is no asking of ours: the greeting and the state of a server that we reach anew. */
const HANDSHAKE_MS = 3_000;
const LONGEST_PAUSE = 5_000;

export interface Place {
  readonly host: string;
  readonly port: number;
}

type ClientOptions = Omit<RedisOptions, "replyMapping">;

/** What ioredis is to be opened with. */
export type ClientPlan =
  | { readonly kind: "one"; readonly options: ClientOptions }
  | { readonly kind: "cluster"; readonly nodes: readonly Place[]; readonly options: ClientOptions };

/** Reads the files of `tls`, so it throws when one is not there. */
export async function planClient(settings: RedisSettings): Promise<ClientPlan> {
  const url = settings.url === undefined ? {} : readUrl(settings.url);
  const tls = settings.tls !== undefined || url.tls ? await readTls(settings.tls ?? {}) : undefined;
  const username = settings.username ?? url.username;
  const password = settings.password ?? url.password;
  const common: ClientOptions = {
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
    ...(tls && { tls }),
    connectTimeout: CONNECT_MS,
    commandTimeout: HANDSHAKE_MS,
    maxLoadingRetryTime: 1_000,
    keepAlive: 10_000,
    connectionName: "postern",
    // Nothing waits for a server that is away, and nothing is said twice: whoever asked has been answered long ago.
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    retryStrategy: pauseBefore,
  };
  if (settings.nodes) {
    return { kind: "cluster", nodes: settings.nodes.map((text) => readPlace(text, PORT)), options: common };
  }
  const db = settings.db ?? url.db ?? 0;
  if (settings.sentinels) {
    const sentinels = settings.sentinels.map((text) => readPlace(text, SENTINEL_PORT));
    const { sentinelPassword, name } = settings;
    const extra = {
      ...(name !== undefined && { name }),
      ...(sentinelPassword !== undefined && { sentinelPassword }),
      ...(tls && { sentinelTLS: tls, enableTLSForSentinelMode: true }),
    };
    return {
      kind: "one",
      options: {
        ...common,
        ...extra,
        db,
        sentinels,
        sentinelRetryStrategy: pauseBefore,
        failoverDetector: true,
      },
    };
  }
  return { kind: "one", options: { ...common, db, host: url.host ?? "127.0.0.1", port: url.port ?? PORT } };
}

/** Doubled each time, and spread, so that replicas do not come back all at once. */
export function pauseBefore(times: number): number {
  const longest = Math.min(50 * 2 ** Math.min(times, 10), LONGEST_PAUSE);
  return Math.round(longest * (0.5 + Math.random() / 2));
}

interface FromUrl extends Partial<Place> {
  readonly username?: string;
  readonly password?: string;
  readonly db?: number;
  readonly tls?: boolean;
}

function readUrl(text: string): FromUrl {
  const { protocol, hostname, port, username, password, pathname } = new URL(text);
  return {
    host: bare(hostname),
    port: Number(port || PORT),
    tls: protocol === "rediss:",
    ...(username !== "" && { username: decodeURIComponent(username) }),
    ...(password !== "" && { password: decodeURIComponent(password) }),
    ...(pathname.length > 1 && { db: Number(pathname.slice(1)) }),
  };
}

function readPlace(text: string, otherwise: number): Place {
  const { hostname, port } = new URL(`redis://${text}`);
  return { host: bare(hostname), port: Number(port || otherwise) };
}

function bare(hostname: string): string {
  return hostname.replace(/^\[(.*)\]$/, "$1");
}

async function readTls({ ca, cert, key, serverName, insecure }: RedisTls): Promise<ConnectionOptions> {
  return {
    ...(ca !== undefined && { ca: await readFile(ca) }),
    ...(cert !== undefined && { cert: await readFile(cert) }),
    ...(key !== undefined && { key: await readFile(key) }),
    ...(serverName !== undefined && { servername: serverName }),
    ...(insecure && { rejectUnauthorized: false }),
  };
}
