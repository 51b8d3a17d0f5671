import type { Connection } from "../connection.ts";
import { DotDecoder } from "./dot-decoder.ts";

const LF = 0x0a;
const CR = 0x0d;
const NOTHING = Buffer.alloc(0);

/** A connection's bytes as lines, and between them as content. */
export class Input {
  readonly #connection: Connection;
  /** What has come and was not taken. */
  #rest: Buffer = NOTHING;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** Nothing has come that nobody has read. */
  get isEmpty(): boolean {
    return this.#rest.length === 0 && !this.#connection.hasUnread;
  }

  /** The next line without its end, which may be a lone LF; undefined when no more will come. */
  async line(max: number): Promise<Buffer | "tooLong" | undefined> {
    for (;;) {
      const end = this.#rest.indexOf(LF);
      const text = end > 0 && this.#rest[end - 1] === CR ? end - 1 : end;
      if (text > max || (end < 0 && this.#rest.length > max + 1)) return "tooLong";
      if (end >= 0) return this.#take(end + 1).subarray(0, text);
      if (!(await this.#fill())) return undefined;
    }
  }

  /** Content behind DATA, without its dots and its end; false when the client left in the middle. */
  async dotted(take: (piece: Buffer) => void): Promise<boolean> {
    const decoder = new DotDecoder();
    for (;;) {
      if (this.#rest.length === 0 && !(await this.#fill())) return false;
      const { used, ended } = decoder.push(this.#rest, take);
      this.#take(used);
      if (ended) return true;
    }
  }

  /** So many bytes as they come; false when the client left in the middle. */
  async counted(size: number, take: (piece: Buffer) => void): Promise<boolean> {
    for (let left = size; left > 0; ) {
      if (this.#rest.length === 0 && !(await this.#fill())) return false;
      const piece = this.#take(Math.min(left, this.#rest.length));
      take(piece);
      left -= piece.length;
    }
    return true;
  }

  #take(count: number): Buffer {
    const taken = this.#rest.subarray(0, count);
    this.#rest = this.#rest.subarray(count);
    return taken;
  }

  async #fill(): Promise<boolean> {
    const chunk = await this.#connection.read();
    if (chunk) this.#rest = this.#rest.length > 0 ? Buffer.concat([this.#rest, chunk]) : chunk;
    return chunk !== undefined;
  }
}
