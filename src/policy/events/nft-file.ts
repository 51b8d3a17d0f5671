import { replaceFile } from "../../io/whole-file.ts";
import type { Ban } from "../store/store.ts";
import type { PolicyEvent } from "./event.ts";
import type { FileObserver } from "./event-log.ts";
import { nftRules, nftState } from "./nft-rules.ts";

export interface NftFileOptions {
  readonly path: string;
  /** Those whom no ban concerns. */
  readonly exempt: () => readonly string[];
  /** All bans that hold, those of other gateways too; rejects when nobody knows, and then the file stays as it is. */
  readonly bans: () => Promise<readonly Ban[]>;
  /** Whether others impose bans in the same store, which no event tells of. */
  readonly shared: boolean;
  /** Until `goOn` it is another's. */
  readonly paused?: boolean;
}

/** A twentieth of the time goes into it, and no more. */
const RARER = 20;
/** At most so often, in milliseconds; and how often it is looked what others have banned, or whether the disk is well. */
const EVERY = 1_000;
const LOOK_EVERY = 10_000;

/** The banned addresses as a file for nftables, written anew when they have changed. */
export class NftFile implements AsyncDisposable {
  readonly #options: NftFileOptions;
  readonly #observer: Pick<FileObserver, "notWritten" | "written">;
  readonly #look: NodeJS.Timeout;
  #timer: NodeJS.Timeout | undefined;
  #working: Promise<void> = Promise.resolve();
  #notBefore = 0;
  /** What is in the file. */
  #state: number | undefined;
  #failing = false;
  #paused: boolean;

  constructor(options: NftFileOptions, observer: Pick<FileObserver, "notWritten" | "written">) {
    this.#options = options;
    this.#paused = options.paused ?? false;
    this.#observer = observer;
    this.#look = setInterval(() => {
      if (options.shared || this.#failing) this.#soon();
    }, LOOK_EVERY).unref();
    this.#soon();
  }

  tell({ kind }: PolicyEvent): void {
    if (kind === "ban" || kind === "unban") this.#soon();
  }

  /** Another process writes it now, or ours does again. */
  pause(): Promise<void> {
    this.#paused = true;
    return this.#working;
  }

  goOn(): void {
    this.#paused = false;
    this.anew();
  }

  /** Writes it, whatever is in it. */
  anew(): void {
    this.#state = undefined;
    this.#soon();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#look);
    const due = this.#timer !== undefined;
    clearTimeout(this.#timer);
    if (due) this.#work();
    await this.#working;
  }

  #soon(): void {
    const wait = Math.max(0, this.#notBefore - performance.now());
    this.#timer ??= setTimeout(() => this.#work(), wait).unref();
  }

  #work(): void {
    this.#timer = undefined;
    this.#notBefore = performance.now() + EVERY;
    this.#working = this.#working.then(() => this.#write());
  }

  async #write(): Promise<void> {
    if (this.#paused) return;
    const began = performance.now();
    const { path, exempt, bans } = this.#options;
    const all = await bans().catch(() => undefined);
    if (!all || this.#paused) return;
    try {
      const state = nftState(all, Date.now());
      if (state === this.#state) return;
      await replaceFile(path, nftRules(all, exempt()));
      this.#state = state;
      if (this.#failing) this.#observer.written(path);
      this.#failing = false;
    } catch (error) {
      if (!this.#failing) this.#observer.notWritten(path, error instanceof Error ? error.message : "");
      this.#failing = true;
    }
    this.#notBefore = Math.max(this.#notBefore, began + RARER * (performance.now() - began));
  }
}
