/** What the client sent: text as latin1, and between two texts a literal. */
export type Piece = string | Buffer;

export type Frame =
  | { readonly kind: "command"; readonly pieces: readonly Piece[] }
  /** The client waits for our "+" before it sends its literal (RFC 3501 7.5). */
  | { readonly kind: "continue" }
  /** Larger than allowed. Fatal when the rest of it is on its way and would be read as commands. */
  | { readonly kind: "overlong"; readonly text: string; readonly fatal: boolean };

/** Text of one command, all its lines together. RFC 9051 4.3.1 asks for at least 8,192. */
export const MAX_TEXT = 64 * 1024;
const MAX_LITERALS = 200;
const LF = 10;

interface Literal {
  readonly chunks: Buffer[];
  missing: number;
}

/** Cuts a byte stream into commands, without knowing what any of them means. */
export class CommandBuffer {
  /** What all literals of one command may hold; the session raises it after login. */
  literalLimit: number;
  #input: Buffer = Buffer.alloc(0);
  #scanned = 0;
  #pieces: Piece[] = [];
  #textSize = 0;
  #literalSize = 0;
  #literal: Literal | undefined;

  constructor(literalLimit: number) {
    this.literalLimit = literalLimit;
  }

  get isEmpty(): boolean {
    return this.#input.length === 0 && this.#pieces.length === 0;
  }

  push(chunk: Buffer): void {
    this.#input = this.#input.length === 0 ? chunk : Buffer.concat([this.#input, chunk]);
  }

  /** The next thing to act on, or undefined when more bytes are needed. */
  next(): Frame | undefined {
    for (;;) {
      if (this.#literal && !this.#fill(this.#literal)) return undefined;
      const line = this.#takeLine();
      if (line === undefined) return this.#tooMuchText() ? this.#overlong(true) : undefined;
      this.#textSize += line.length;
      if (this.#tooMuchText()) return this.#overlong(true);
      const announced = /\{(\d+)(\+?)\}$/.exec(line);
      if (!announced) return { kind: "command", pieces: this.#finish(line) };
      this.#pieces.push(line.slice(0, announced.index));
      const size = Number(announced[1]);
      const waits = announced[2] === "";
      this.#literalSize += size;
      if (this.#literalSize > this.literalLimit || this.#pieces.length > 2 * MAX_LITERALS) {
        return this.#overlong(!waits);
      }
      this.#literal = { chunks: [], missing: size };
      if (waits) return { kind: "continue" };
    }
  }

  /** A bare line, as IDLE and AUTHENTICATE wait for; literals mean nothing in it. */
  nextLine(): string | "overlong" | undefined {
    const line = this.#takeLine();
    if (line !== undefined) return line.length > MAX_TEXT ? "overlong" : line;
    return this.#input.length > MAX_TEXT ? "overlong" : undefined;
  }

  #tooMuchText(): boolean {
    return this.#textSize + (this.#literal ? 0 : this.#scanned) > MAX_TEXT;
  }

  #takeLine(): string | undefined {
    const end = this.#input.indexOf(LF, this.#scanned);
    if (end < 0) {
      this.#scanned = this.#input.length;
      return undefined;
    }
    const line = this.#input.toString("latin1", 0, end > 0 && this.#input[end - 1] === 13 ? end - 1 : end);
    this.#input = this.#input.subarray(end + 1);
    this.#scanned = 0;
    return line;
  }

  #fill(literal: Literal): boolean {
    const chunk = this.#input.subarray(0, literal.missing);
    if (chunk.length > 0) literal.chunks.push(chunk);
    literal.missing -= chunk.length;
    this.#input = this.#input.subarray(chunk.length);
    if (literal.missing > 0) return false;
    this.#pieces.push(Buffer.concat(literal.chunks));
    this.#literal = undefined;
    return true;
  }

  #finish(lastText: string): Piece[] {
    const pieces = [...this.#pieces, lastText];
    this.#pieces = [];
    this.#textSize = 0;
    this.#literalSize = 0;
    return pieces;
  }

  #overlong(fatal: boolean): Frame {
    const [text = ""] = this.#finish("");
    return { kind: "overlong", text: text.toString(), fatal };
  }
}
