const LF = 0x0a;
const CR = 0x0d;
const EMPTY: Buffer = Buffer.alloc(0);

/**
 * Bytes that have arrived and not been taken, cut into lines or exact lengths on demand. What comes out does
 * not depend on how the stream was cut on its way in. Knows no socket; bounds are the caller's arguments.
 */
export class LineBuffer {
  /** Room for the bytes; what has been given out of it is never written again. */
  #room: Buffer = EMPTY;
  #start = 0;
  #end = 0;
  /** How far behind `start` the search for LF has come, so that one byte at a time stays linear. */
  #searched = 0;

  get length(): number {
    return this.#end - this.#start;
  }

  /** Everything there is, without taking it. */
  get waiting(): Buffer {
    return this.#room.subarray(this.#start, this.#end);
  }

  push(chunk: Buffer): void {
    if (this.length === 0) {
      this.#hold(chunk, chunk.length);
      return;
    }
    if (this.#room.length - this.#end < chunk.length) this.#grow(chunk.length);
    this.#end += chunk.copy(this.#room, this.#end);
  }

  /**
   * The next line without its CRLF (a lone LF ends a line too: nothing taken here is ever passed on as it
   * came), "tooLong" when more than `max` bytes stand before its end, or undefined when it has not ended yet.
   */
  takeLine(max: number): Buffer | "tooLong" | undefined {
    const bytes = this.#room.subarray(this.#start, this.#end);
    const end = bytes.indexOf(LF, this.#searched);
    if (end === -1) {
      this.#searched = bytes.length;
      return this.#searched > max + 1 ? "tooLong" : undefined;
    }
    const length = end > 0 && bytes[end - 1] === CR ? end - 1 : end;
    if (length > max) return "tooLong";
    this.#drop(end + 1);
    return bytes.subarray(0, length);
  }

  /** Exactly `count` bytes, or undefined when fewer have arrived. */
  takeExact(count: number): Buffer | undefined {
    if (this.length < count) return undefined;
    const taken = this.#room.subarray(this.#start, this.#start + count);
    this.#drop(count);
    return taken;
  }

  /** Everything there is; the buffer is empty afterwards. */
  takeAll(): Buffer {
    return this.takeExact(this.length) ?? EMPTY;
  }

  #drop(count: number): void {
    this.#searched = 0;
    this.#start += count;
    if (this.length === 0) this.#hold(EMPTY, 0);
  }

  /** Doubles, so that each byte is copied a bounded number of times whatever the chunks. */
  #grow(by: number): void {
    const bytes = this.#room.subarray(this.#start, this.#end);
    const room = Buffer.allocUnsafeSlow(2 * (bytes.length + by));
    bytes.copy(room);
    this.#hold(room, bytes.length);
  }

  #hold(room: Buffer, end: number): void {
    this.#room = room;
    this.#start = 0;
    this.#end = end;
  }
}
