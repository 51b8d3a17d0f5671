import { join } from "node:path";
import { readBans, writeBans } from "./ban-file.ts";
import type { KeptBan } from "./store.ts";

/** A store whose bans end with its process, unless they are kept. */
export interface KeepsBans {
  /** Another number whenever they are not those of before. */
  readonly banChanges: number;
  keepBans(): readonly KeptBan[];
  restoreBans(kept: readonly KeptBan[]): void;
}

export interface BanKeeperObserver {
  /** Once until it is well again. */
  notWritten(path: string, reason: string): void;
  written(path: string): void;
  ignored(path: string, reason: string): void;
}

const EVERY = 2_000;
/** A twentieth of the time goes into writing, and no more. */
const RARER = 20;

/** Keeps a store's bans in a file, so that they outlive the process. */
export class BanKeeper implements AsyncDisposable {
  readonly #store: KeepsBans;
  readonly #observer: BanKeeperObserver;
  readonly #timer: NodeJS.Timeout;
  #path: string;
  /** Of the changes in the store, the last one that is in the file. */
  #kept: number;
  #writing: Promise<void> = Promise.resolve();
  #busy = false;
  #notBefore = 0;
  #paused = false;
  #failing = false;

  /** With the bans that are in the file already. */
  static async open(dataDir: string, store: KeepsBans, observer: BanKeeperObserver): Promise<BanKeeper> {
    const keeper = new BanKeeper(dataDir, store, observer);
    await keeper.read();
    return keeper;
  }

  private constructor(dataDir: string, store: KeepsBans, observer: BanKeeperObserver) {
    this.#path = join(dataDir, "bans.json");
    this.#store = store;
    this.#observer = observer;
    this.#kept = store.banChanges;
    this.#timer = setInterval(() => this.#tick(), EVERY).unref();
  }

  /** Takes the bans of the file for the store's; where it is broken or not there, those stay as they are. */
  async read(): Promise<void> {
    try {
      const kept = await readBans(this.#path);
      if (kept) this.#store.restoreBans(kept);
    } catch (error) {
      this.#observer.ignored(this.#path, sayWhy(error));
    }
  }

  /** What has changed is in the file when this resolves, if it can be. */
  flush(): Promise<void> {
    this.#writing = this.#writing.then(() => this.#write());
    return this.#writing;
  }

  /** The same, and from then on the file is another's. */
  async pause(): Promise<void> {
    await this.flush();
    this.#paused = true;
  }

  goOn(): void {
    this.#paused = false;
  }

  /** Another folder from now on. */
  moveTo(dataDir: string): void {
    const path = join(dataDir, "bans.json");
    if (path === this.#path) return;
    this.#path = path;
    this.#kept = -1;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    await this.flush();
  }

  #tick(): void {
    if (!this.#busy && performance.now() >= this.#notBefore) void this.flush();
  }

  async #write(): Promise<void> {
    const { banChanges } = this.#store;
    if (this.#paused || banChanges === this.#kept) return;
    const began = performance.now();
    this.#busy = true;
    try {
      await writeBans(this.#path, this.#store.keepBans());
      this.#kept = banChanges;
      if (this.#failing) this.#observer.written(this.#path);
      this.#failing = false;
    } catch (error) {
      if (!this.#failing) this.#observer.notWritten(this.#path, sayWhy(error));
      this.#failing = true;
    }
    this.#busy = false;
    const now = performance.now();
    this.#notBefore = now + RARER * (now - began);
  }
}

function sayWhy(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
