const NOTHING = Buffer.alloc(0);

/** A message as it grows, in one piece: what comes byte by byte weighs no more than what comes at once. */
export class Content {
  readonly #max: number;
  #room: Buffer = NOTHING;
  #size = 0;

  constructor(max: number) {
    this.#max = max;
  }

  /** Once it is, nothing of it is kept. */
  get isTooLarge(): boolean {
    return this.#size > this.#max;
  }

  get bytes(): Buffer {
    return this.#room.subarray(0, this.#size);
  }

  push(piece: Buffer): void {
    const size = this.#size + piece.length;
    if (size > this.#max) this.#room = NOTHING;
    else {
      if (size > this.#room.length) this.#grow(size);
      piece.copy(this.#room, this.#size);
    }
    this.#size = size;
  }

  /** Doubles, so that each byte is copied a bounded number of times. */
  #grow(size: number): void {
    const room = Buffer.allocUnsafeSlow(Math.min(2 * size, this.#max));
    this.bytes.copy(room);
    this.#room = room;
  }
}
