const LF = 0x0a;
const CR = 0x0d;
const EMPTY: Buffer = Buffer.alloc(0);

/**
 * Bytes that have arrived and not been taken, cut into lines or exact lengths on demand. What comes out does
 * not depend on how the stream was cut on its way in. Knows no socket; bounds are the caller's arguments.
 */
export class LineBuffer {
  #bytes: Buffer = EMPTY;
  /** How far the search for LF has come, so that one byte at a time stays linear. */
  #searched = 0;

  get length(): number {
    return this.#bytes.length;
  }

  push(chunk: Buffer): void {
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
  }

  /**
   * The next line without its CRLF (a lone LF ends a line too: nothing taken here is ever passed on as it
   * came), "tooLong" when more than `max` bytes stand before its end, or undefined when it has not ended yet.
   */
  takeLine(max: number): Buffer | "tooLong" | undefined {
    const end = this.#bytes.indexOf(LF, this.#searched);
    if (end === -1) {
      this.#searched = this.#bytes.length;
      return this.#searched > max + 1 ? "tooLong" : undefined;
    }
    const length = end > 0 && this.#bytes[end - 1] === CR ? end - 1 : end;
    if (length > max) return "tooLong";
    const line = this.#bytes.subarray(0, length);
    this.#drop(end + 1);
    return line;
  }

  /** Exactly `count` bytes, or undefined when fewer have arrived. */
  takeExact(count: number): Buffer | undefined {
    if (this.#bytes.length < count) return undefined;
    const taken = this.#bytes.subarray(0, count);
    this.#drop(count);
    return taken;
  }

  /** Everything there is; the buffer is empty afterwards. */
  takeAll(): Buffer {
    return this.takeExact(this.#bytes.length) ?? EMPTY;
  }

  #drop(count: number): void {
    this.#bytes = count === this.#bytes.length ? EMPTY : this.#bytes.subarray(count);
    this.#searched = 0;
  }
}
