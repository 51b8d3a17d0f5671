import { join } from "node:path";

/** Something of a store that would end with its process, and the file that it is kept in. */
export interface Keepable {
  /** As the log calls it. */
  readonly what: string;
  /** The file's name. */
  readonly name: string;
  /** How often it is looked whether there are changes. */
  readonly everyMs: number;
  /** Another number whenever it is not what it was before; 0 while there is nothing. */
  readonly changes: number;
  /** Takes what is in the file for the store's; false where there is none. Throws when it is broken. */
  read(path: string): Promise<boolean>;
  write(path: string): Promise<void>;
}

export interface KeeperObserver {
  /** Once until it is well again. */
  notWritten(what: string, path: string, reason: string): void;
  written(what: string, path: string): void;
  ignored(what: string, path: string, reason: string): void;
}

/** A twentieth of the time goes into writing, and no more. */
const RARER = 20;

/** Keeps one thing in its file, so that it outlives the process. */
export class KeptFile implements AsyncDisposable {
  readonly #thing: Keepable;
  readonly #observer: KeeperObserver;
  readonly #timer: NodeJS.Timeout;
  #path: string;
  /** Of the changes in the store, the last one that is in the file. */
  #kept = 0;
  #writing: Promise<void> = Promise.resolve();
  #busy = false;
  #notBefore = 0;
  #paused = false;
  #failing = false;

  constructor(dataDir: string, thing: Keepable, observer: KeeperObserver) {
    this.#path = join(dataDir, thing.name);
    this.#thing = thing;
    this.#observer = observer;
    this.#timer = setInterval(() => this.#tick(), thing.everyMs).unref();
  }

  /** Takes what is in the file for the store's; where it is broken or not there, all stays as it is. */
  async read(): Promise<void> {
    try {
      if (await this.#thing.read(this.#path)) this.#kept = this.#thing.changes;
    } catch (error) {
      this.#observer.ignored(this.#thing.what, this.#path, sayWhy(error));
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
    const path = join(dataDir, this.#thing.name);
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
    const { what, changes } = this.#thing;
    if (this.#paused || changes === this.#kept) return;
    const began = performance.now();
    this.#busy = true;
    try {
      await this.#thing.write(this.#path);
      this.#kept = changes;
      if (this.#failing) this.#observer.written(what, this.#path);
      this.#failing = false;
    } catch (error) {
      if (!this.#failing) this.#observer.notWritten(what, this.#path, sayWhy(error));
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
