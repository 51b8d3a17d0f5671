import { readBans, writeBans } from "./ban-file.ts";
import { readCounters, writeCounters } from "./counter-file.ts";
import { type Keepable, type KeeperObserver, KeptFile } from "./kept-file.ts";
import type { MemoryStore } from "./memory.ts";

/** All that is kept of one store. */
export class Keeper implements AsyncDisposable {
  readonly #files: readonly KeptFile[];

  /** With what is in the files already. */
  static async open(dataDir: string, things: readonly Keepable[], observer: KeeperObserver): Promise<Keeper> {
    const keeper = new Keeper(things.map((thing) => new KeptFile(dataDir, thing, observer)));
    await keeper.read();
    return keeper;
  }

  private constructor(files: readonly KeptFile[]) {
    this.#files = files;
  }

  /** See KeptFile. */
  read(): Promise<void> {
    return this.#all((file) => file.read());
  }

  flush(): Promise<void> {
    return this.#all((file) => file.flush());
  }

  pause(): Promise<void> {
    return this.#all((file) => file.pause());
  }

  goOn(): void {
    for (const file of this.#files) file.goOn();
  }

  moveTo(dataDir: string): void {
    for (const file of this.#files) file.moveTo(dataDir);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#all((file) => file[Symbol.asyncDispose]());
  }

  async #all(ask: (file: KeptFile) => Promise<void>): Promise<void> {
    await Promise.all(this.#files.map(ask));
  }
}

/** Bans are few, and each one matters. */
export function bansOf(store: MemoryStore): Keepable {
  return {
    ...{ what: "bans", name: "bans.json", everyMs: 2_000 },
    get changes() {
      return store.banChanges;
    },
    async read(path) {
      const kept = await readBans(path);
      if (kept) store.restoreBans(kept);
      return kept !== undefined;
    },
    write: (path) => writeBans(path, store.keepBans()),
  };
}

/** Counters change all the time: a process that is killed forgets what was counted since they were written last. */
export function countersOf(store: MemoryStore): Keepable {
  return {
    ...{ what: "counters", name: "counters.bin", everyMs: 30_000 },
    get changes() {
      return store.counterChanges;
    },
    read: (path) => readCounters(path, store),
    write: (path) => writeCounters(path, store),
  };
}
