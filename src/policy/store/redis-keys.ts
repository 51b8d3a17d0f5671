import { createHash } from "node:crypto";
import type { Bucket, Sentence, Visitor } from "./store.ts";

/** Longer names stand as their digest: a client chooses some of them. */
const LONGEST = 200;

/** The keys of one question, each once, and their places among them as Lua counts. */
export class RedisKeys {
  readonly all: string[] = [];
  readonly #places = new Map<string, number>();
  readonly #prefix: string;

  constructor(prefix: string) {
    this.#prefix = prefix;
  }

  /** A window's, or a row of seats. */
  counter({ key, windowMs }: Pick<Bucket, "key"> & { readonly windowMs?: number | undefined }): number {
    return this.#place(windowMs === undefined ? "seats" : "count", key);
  }

  decoy(key: string): number {
    return this.#place("decoy", key);
  }

  /** The different ones of a counter. */
  different(key: string): number {
    return this.#place("different", key);
  }

  ban(key: string): number {
    return this.#place("ban", key);
  }

  /** All bans that hold. */
  list(): number {
    return this.#place("bans", "");
  }

  sentence({ key, by, ms, upToMs = ms, sparesKnown = false }: Sentence, most: number): object {
    return { at: this.ban(key), list: this.list(), key, by, ms, upTo: upToMs, spares: sparesKnown, most };
  }

  visitor(visitor: Visitor | undefined): object | undefined {
    if (!visitor) return undefined;
    const { user, network, fingerprint: print } = visitor;
    const networks = this.#place("networks", user);
    if (print === undefined) return { networks, network };
    return {
      networks,
      network,
      print,
      wrong: this.#place("wrong", user),
      strangers: this.#place("strangers", user),
      repeats: this.#place("repeats", network),
    };
  }

  /** What is short stands as it is behind `=`, what is not as its digest behind `#`: no two names are one key. */
  #place(kind: string, name: string): number {
    const short = Buffer.byteLength(name) <= LONGEST;
    const told = short ? `=${name}` : `#${createHash("sha256").update(name).digest("base64url")}`;
    const key = `${this.#prefix}${kind}${told}`;
    const place = this.#places.get(key) ?? this.all.push(key);
    this.#places.set(key, place);
    return place;
  }
}
