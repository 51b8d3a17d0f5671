import { type FSWatcher, type Stats, watch } from "node:fs";
import { stat } from "node:fs/promises";
import { dirname } from "node:path";

export interface FileWatchOptions {
  /** How long a file must hold still before its change counts; default 100 ms. */
  readonly settleMs?: number;
  /** How often it is looked at where the system tells nothing; default 5 s. */
  readonly pollMs?: number;
}

/**
 * Calls `onChange` when the file was written, replaced or taken away, once it holds still. The folder is
 * watched, not the file: editors rename a new file over the old one, and Kubernetes turns a symlink beside
 * it. What that misses (a symlink to elsewhere, a network file system, no inotify left) the poll sees.
 * Never keeps the process alive; never throws.
 */
export class FileWatch implements Disposable {
  readonly #path: string;
  readonly #onChange: () => void;
  readonly #settleMs: number;
  readonly #poll: NodeJS.Timeout;
  #folder: FSWatcher | undefined;
  #pending: NodeJS.Timeout | undefined;
  /** The file's looks when `onChange` was last called, and when it was last looked at. */
  #reported: string | undefined;
  #seen: string | undefined;
  #closed = false;

  constructor(path: string, onChange: () => void, { settleMs = 100, pollMs = 5_000 }: FileWatchOptions = {}) {
    this.#path = path;
    this.#onChange = onChange;
    this.#settleMs = settleMs;
    this.#folder = this.#watchFolder();
    this.#poll = setInterval(() => this.#soon(), pollMs).unref();
    // What it looks like now is not known to be what the caller has read: the first look always reports.
    this.#soon();
  }

  close(): void {
    this.#closed = true;
    this.#folder?.close();
    clearInterval(this.#poll);
    clearTimeout(this.#pending);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #watchFolder(): FSWatcher | undefined {
    try {
      const folder = watch(dirname(this.#path), { persistent: false }, () => this.#soon());
      folder.on("error", () => folder.close());
      return folder;
    } catch {
      return undefined;
    }
  }

  #soon(): void {
    if (this.#closed) return;
    this.#pending ??= setTimeout(() => void this.#look(), this.#settleMs).unref();
  }

  async #look(): Promise<void> {
    // Cleared first: what happens while we look calls for another look.
    this.#pending = undefined;
    const looks = await looksOf(this.#path);
    if (this.#closed || looks === this.#reported) return;
    if (looks !== this.#seen) {
      this.#seen = looks;
      return this.#soon();
    }
    this.#reported = looks;
    this.#onChange();
  }
}

/** Differs whenever the file behind the path may differ; symlinks are followed. */
async function looksOf(path: string): Promise<string> {
  try {
    const { dev, ino, size, mtimeMs, ctimeMs }: Stats = await stat(path);
    return [dev, ino, size, mtimeMs, ctimeMs].join(" ");
  } catch {
    return "missing";
  }
}
