import { appendFile, constants } from "node:fs/promises";
import type { PolicyEvent } from "./event.ts";
import { eventLine } from "./event-line.ts";

/** Hears how it goes with a file. */
export interface FileObserver {
  /** Once until it is well again. */
  notWritten(path: string, reason: string): void;
  written(path: string): void;
  /** So many lines are lost. */
  dropped(lines: number): void;
}

/** Never waits for somebody who reads, as a pipe would have it. */
const FLAG = constants.O_APPEND | constants.O_CREAT | constants.O_WRONLY | constants.O_NONBLOCK;
/** Lines that wait while the disk is slow; one more is lost. */
const MAX_WAITING = 10_000;

/**
 * Events as lines of a file, for fail2ban and the like. The file is opened anew for each write, so that one that was
 * rotated away, or was deleted, is not written to any more. Nobody waits for it.
 */
export class EventLog implements AsyncDisposable {
  readonly #path: string;
  readonly #observer: FileObserver;
  #lines: string[] = [];
  #writing: Promise<void> | undefined;
  #failing = false;

  constructor(path: string, observer: FileObserver) {
    this.#path = path;
    this.#observer = observer;
  }

  tell(event: PolicyEvent): void {
    if (this.#lines.length >= MAX_WAITING) this.#observer.dropped(1);
    else this.#lines.push(eventLine(event));
    this.#writing ??= this.#writeAll();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writing;
  }

  async #writeAll(): Promise<void> {
    // What comes in one turn is one write.
    await undefined;
    while (this.#lines.length > 0) {
      await this.#write(this.#lines.splice(0));
    }
    this.#writing = undefined;
  }

  async #write(lines: readonly string[]): Promise<void> {
    try {
      // A disk that was full may have taken half a line: nothing is to go on behind it.
      await appendFile(this.#path, (this.#failing ? "\n" : "") + lines.join(""), {
        flag: FLAG,
        mode: 0o640,
      });
      if (this.#failing) this.#observer.written(this.#path);
      this.#failing = false;
    } catch (error) {
      if (!this.#failing) this.#observer.notWritten(this.#path, error instanceof Error ? error.message : "");
      this.#failing = true;
      this.#observer.dropped(lines.length);
    }
  }
}
