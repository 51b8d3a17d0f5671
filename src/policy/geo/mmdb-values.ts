/** The types of MaxMind's format that are told apart here; all others are so many bytes. */
const TYPE = {
  extended: 0,
  pointer: 1,
  text: 2,
  uint16: 5,
  uint32: 6,
  map: 7,
  uint64: 9,
  array: 11,
  boolean: 14,
};
const NUMBERS: ReadonlySet<number> = new Set([TYPE.uint16, TYPE.uint32, TYPE.uint64]);

/** More values than stand before any in a real record: a file that was made to keep us busy does not. */
const MOST_STEPS = 2_000;
const LONGEST_TEXT = 1_024;
/** Sizes from 29 on take so many bytes more, and begin with so much. */
const LONG_SIZES = [0, 29, 285, 65_821];
/** Pointers of one, two and three bytes begin with so much; those of four are as they are. */
const POINTERS = [0, 0, 2_048, 526_336];

/** A value's head; `at` is the first byte behind it. */
interface Head {
  readonly type: number;
  readonly size: number;
  readonly at: number;
}

/**
 * The values of a MaxMind DB, such as its records, in bytes that may be anybody's. A value is never built: one text or
 * number in it is looked for, and what stands before it is stepped over, so that nothing that a file says of its
 * sizes costs memory, and nothing goes round in a circle.
 */
export class MmdbValues {
  readonly #bytes: Buffer;
  readonly #base: number;
  readonly #end: number;
  #steps = 0;

  /** Pointers and offsets count from `base`. */
  constructor(bytes: Buffer, base: number, end: number) {
    this.#bytes = bytes;
    this.#base = base;
    this.#end = end;
  }

  /** What stands at this path of the value at an offset; undefined where nothing does. Throws for broken bytes. */
  read(offset: number, path: readonly string[]): string | number | undefined {
    this.#steps = 0;
    let at: number | undefined = this.#base + offset;
    for (const name of path) {
      at = this.#member(at, name);
      if (at === undefined) return undefined;
    }
    return this.#scalar(at);
  }

  #member(at: number, name: string): number | undefined {
    const map = this.#follow(at);
    if (map.type !== TYPE.map) return undefined;
    let next = map.at;
    for (let left = map.size; left > 0; left -= 1) {
      const value = this.#behind(next);
      if (this.#reads(next, name)) return value;
      next = this.#behind(value);
    }
    return undefined;
  }

  /** Whether a text of ASCII stands there. */
  #reads(at: number, name: string): boolean {
    const { type, size, at: first } = this.#follow(at);
    if (type !== TYPE.text || size !== name.length) return false;
    this.#need(first, size);
    return this.#bytes.toString("latin1", first, first + size) === name;
  }

  #scalar(at: number): string | number | undefined {
    const { type, size, at: first } = this.#follow(at);
    if (NUMBERS.has(type)) return this.#uint(first, Math.min(size, 8));
    if (type !== TYPE.text || size > LONGEST_TEXT) return undefined;
    this.#need(first, size);
    return this.#bytes.toString("utf8", first, first + size);
  }

  /** Where the next value begins; a pointer is not followed for that. */
  #behind(at: number): number {
    let next = at;
    for (let left = 1; left > 0; left -= 1) {
      const { type, size, at: content } = this.#head(next);
      next = content;
      if (type === TYPE.map) left += 2 * size;
      else if (type === TYPE.array) left += size;
      else if (type !== TYPE.boolean) next += size;
    }
    return next;
  }

  /** The head of a value, or of the one that it points to; a pointer never leads to another. */
  #follow(at: number): Head {
    const head = this.#head(at);
    if (head.type !== TYPE.pointer) return head;
    const { size, at: first } = head;
    const high = size === 4 ? 0 : (this.#byte(at) & 7) * 256 ** size;
    const target = this.#head(this.#base + (POINTERS[size] ?? 0) + high + this.#uint(first, size));
    if (target.type === TYPE.pointer) throw new Error("a pointer leads to a pointer");
    return target;
  }

  #head(at: number): Head {
    this.#steps += 1;
    if (this.#steps > MOST_STEPS) throw new Error("a record is too long");
    const control = this.#byte(at);
    let next = at + 1;
    let type = control >> 5;
    if (type === TYPE.pointer) return { type, size: ((control >> 3) & 3) + 1, at: next };
    if (type === TYPE.extended) {
      type = 7 + this.#byte(next);
      next += 1;
    }
    const size = control & 31;
    if (size < 29) return { type, size, at: next };
    const more = size - 28;
    return { type, size: (LONG_SIZES[more] ?? 0) + this.#uint(next, more), at: next + more };
  }

  #uint(at: number, length: number): number {
    this.#need(at, length);
    let value = 0;
    for (let place = at; place < at + length; place += 1) value = value * 256 + (this.#bytes[place] ?? 0);
    return value;
  }

  #byte(at: number): number {
    this.#need(at, 1);
    return this.#bytes[at] ?? 0;
  }

  #need(at: number, length: number): void {
    if (at < this.#base || at + length > this.#end) throw new Error("a value ends behind its end");
  }
}
