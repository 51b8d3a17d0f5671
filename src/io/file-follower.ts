import { FileWatch, type FileWatchOptions } from "./file-watch.ts";

export interface FollowerEvents {
  /** What the files hold now is in use: it is another than before, or good again after a problem. */
  onTaken(): void;
  /** What they hold now cannot be used, and what was in use stays. Told once for each such problem. */
  onProblem(problem: string): void;
}

export interface FollowerOptions extends FileWatchOptions {
  /** How long a problem may last before it counts: files that go together are written one by one. Default 2 s. */
  readonly graceMs?: number;
}

const GRACE_MS = 2_000;

/**
 * Follows files that are read together, such as a certificate and its key. `read` gives what they hold as text or
 * throws what is wrong in an operator's words; `take` puts it to use, or throws and changes nothing.
 */
export class FileFollower implements Disposable {
  readonly #read: () => Promise<string>;
  readonly #take: (text: string) => void;
  readonly #events: FollowerEvents;
  readonly #graceMs: number;
  readonly #watches: readonly FileWatch[];
  #taken: string;
  /** What has been told. */
  #problem: string | undefined;
  #grace: NodeJS.Timeout | undefined;
  #looking = Promise.resolve();
  #closed = false;

  /** `taken` is what is in use now. */
  constructor(
    paths: readonly string[],
    taken: string,
    { read, take, ...events }: FollowerEvents & { read: () => Promise<string>; take: (text: string) => void },
    { graceMs = GRACE_MS, ...watching }: FollowerOptions = {},
  ) {
    this.#taken = taken;
    this.#read = read;
    this.#take = take;
    this.#events = events;
    this.#graceMs = graceMs;
    this.#watches = paths.map((path) => new FileWatch(path, () => void this.look(), watching));
  }

  /** Looks now. Never rejects. */
  look(): Promise<void> {
    this.#looking = this.#looking.then(() => this.#look(false)).catch(() => {});
    return this.#looking;
  }

  async #look(late: boolean): Promise<void> {
    if (this.#closed) return;
    const problem = await this.#try();
    if (this.#closed) return;
    if (problem === undefined) {
      clearTimeout(this.#grace);
      this.#grace = undefined;
    } else if (late) this.#tell(problem);
    else if (problem !== this.#problem) {
      this.#grace ??= setTimeout(() => {
        this.#grace = undefined;
        this.#looking = this.#looking.then(() => this.#look(true)).catch(() => {});
      }, this.#graceMs).unref();
    }
  }

  /** Reads, and takes what is new; the problem, if there is one. */
  async #try(): Promise<string | undefined> {
    try {
      const text = await this.#read();
      if (this.#closed || (text === this.#taken && this.#problem === undefined)) return undefined;
      if (text !== this.#taken) this.#take(text);
      this.#taken = text;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
    this.#problem = undefined;
    this.#events.onTaken();
    return undefined;
  }

  #tell(problem: string): void {
    if (problem === this.#problem) return;
    this.#problem = problem;
    this.#events.onProblem(problem);
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    clearTimeout(this.#grace);
    for (const watch of this.#watches) watch.close();
  }
}
