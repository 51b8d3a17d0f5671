import { createHash } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { setImmediate } from "node:timers/promises";
import { FileFollower, type FollowerOptions } from "../../io/file-follower.ts";
import { GeoDatabase, type GeoKind } from "./database.ts";
import { type GeoPaths, kindsOf, type Places, placesOf } from "./places.ts";

/** Larger than any database of cities. */
const MAX_BYTES = 1024 * 1024 * 1024;
const PIECE = 1024 * 1024;

export interface GeoObserver {
  taken(path: string, type: string, builtAt: Date): void;
  /** The file is broken now, and what it held before stays in use. */
  broken(path: string, reason: string): void;
}

/**
 * The databases that are in use in this process, each in memory once, however many configurations use it, and followed
 * until none does.
 */
export class GeoFiles {
  readonly #observer: GeoObserver;
  readonly #options: FollowerOptions;
  readonly #open = new Map<string, FollowedDatabase>();

  constructor(observer: GeoObserver, options: FollowerOptions = {}) {
    this.#observer = observer;
    this.#options = options;
  }

  /** Rejects, in an operator's words, when a file cannot be used. What is taken is given back with `rooms`. */
  async places(paths: GeoPaths, rooms: DisposableStack | AsyncDisposableStack): Promise<Places | undefined> {
    const kinds = kindsOf(paths);
    if (kinds.length === 0) return undefined;
    const taken: { [Kind in GeoKind]?: FollowedDatabase } = {};
    for (const kind of kinds) {
      const database = await this.#take(kind, paths[kind] ?? "");
      rooms.defer(() => database.release());
      taken[kind] = database;
    }
    return placesOf(taken);
  }

  async #take(kind: GeoKind, path: string): Promise<FollowedDatabase> {
    const key = `${kind} ${path}`;
    const read = this.#open.has(key) ? undefined : await readDatabase(path, kind);
    // Somebody else may have been faster.
    const shared = this.#open.get(key);
    if (shared) return shared.share();
    if (!read) return this.#take(kind, path);
    const close = () => this.#open.delete(key);
    const database = new FollowedDatabase(path, kind, read, { ...this.#observer, close }, this.#options);
    this.#open.set(key, database);
    return database;
  }
}

interface Read {
  readonly database: GeoDatabase;
  /** Another for any other file. */
  readonly digest: string;
}

/** A database, and whatever takes its place. */
class FollowedDatabase {
  /** How often another took its place. */
  edition = 0;
  #current: GeoDatabase;
  #users = 1;
  readonly #follower: FileFollower;
  readonly #close: () => void;

  constructor(
    path: string,
    kind: GeoKind,
    { database, digest }: Read,
    { taken, broken, close }: GeoObserver & { close(): void },
    options: FollowerOptions,
  ) {
    this.#current = database;
    this.#close = close;
    let inUse = digest;
    let next: GeoDatabase | undefined;
    this.#follower = new FileFollower(
      [path],
      digest,
      {
        // The whole file is read and looked at before the old one is let go.
        read: async () => {
          const bytes = await readBytes(path);
          const found = await digestOf(bytes);
          next = found === inUse ? undefined : new GeoDatabase(bytes, kind);
          return found;
        },
        take: (found) => {
          this.#current = next ?? this.#current;
          next = undefined;
          inUse = found;
          this.edition += 1;
        },
        onTaken: () => taken(path, this.#current.type, this.#current.builtAt),
        onProblem: (reason) => broken(path, reason),
      },
      options,
    );
  }

  find(address: string): string {
    return this.#current.find(address);
  }

  share(): this {
    this.#users += 1;
    return this;
  }

  release(): void {
    this.#users -= 1;
    if (this.#users > 0) return;
    this.#follower[Symbol.dispose]();
    this.#close();
  }
}

/** The same once, for whoever asks rarely. */
export async function readPlaces(paths: GeoPaths): Promise<Places | undefined> {
  const kinds = kindsOf(paths);
  const read = await Promise.all(kinds.map((kind) => readDatabase(paths[kind] ?? "", kind)));
  const sources = kinds.map((kind, at) => [kind, read[at]?.database] as const);
  const found = sources.map(([kind, one]) => [kind, { edition: 0, find: (ip: string) => one?.find(ip) }]);
  return kinds.length === 0 ? undefined : placesOf(Object.fromEntries(found));
}

async function readDatabase(path: string, kind: GeoKind): Promise<Read> {
  try {
    const bytes = await readBytes(path);
    return { database: new GeoDatabase(bytes, kind), digest: await digestOf(bytes) };
  } catch (error) {
    throw new Error(`policy.geo.${kind}: ${path}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** Piece by piece: sessions run meanwhile. */
async function digestOf(bytes: Buffer): Promise<string> {
  const hash = createHash("sha256");
  for (let at = 0; at < bytes.length; at += PIECE) {
    hash.update(bytes.subarray(at, at + PIECE));
    await setImmediate();
  }
  return hash.digest("base64");
}

/** Off the event loop: the disk may be slow while sessions run. */
async function readBytes(path: string): Promise<Buffer> {
  const facts = await stat(path).catch((error: NodeJS.ErrnoException) => {
    throw new Error(`cannot be read: ${error.code}`);
  });
  // A pipe would hold one of libuv's threads for ever.
  if (!facts.isFile()) throw new Error("is not a regular file");
  if (facts.size > MAX_BYTES) throw new Error(`is larger than ${MAX_BYTES} bytes`);
  return readFile(path);
}
