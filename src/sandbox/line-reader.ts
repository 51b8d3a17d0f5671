import { LineBuffer } from "../wire/line-buffer.ts";
import type { Connection } from "./connection.ts";

/** A connection's bytes as lines, for a protocol that has little else. */
export class LineReader {
  readonly #connection: Connection;
  readonly #buffer = new LineBuffer();

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** Nothing has come that nobody has read. */
  get isEmpty(): boolean {
    return this.#buffer.length === 0 && !this.#connection.hasUnread;
  }

  /** The next line without its end; undefined when no more will come. */
  async next(max: number): Promise<Buffer | "tooLong" | undefined> {
    for (;;) {
      const line = this.#buffer.takeLine(max);
      if (line) return line;
      const chunk = await this.#connection.read();
      if (!chunk) return undefined;
      this.#buffer.push(chunk);
    }
  }
}
