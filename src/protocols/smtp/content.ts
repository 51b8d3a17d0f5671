const CR = 0x0d;
const LF = 0x0a;
const DOT = 0x2e;
const CRLF = Buffer.from("\r\n");
const DOT_CRLF = Buffer.from(".\r\n");
const ONE_DOT = Buffer.from(".");
const NOTHING: readonly Buffer[] = [];

/** What one chunk came to. */
export interface Framed {
  /** To be written to the backend, in order. */
  readonly pieces: readonly Buffer[];
  /** Bytes of the chunk that belong to the content; fewer than all only where the content ends. */
  readonly used: number;
  readonly ended: boolean;
}

// Where the bytes so far have left us in the lines of RFC 5321 2.3.8; a CR waits for its LF, so it is no place.
const LINE_START = 0;
const INSIDE = 1;
const AFTER_DOT = 2;
/** Behind a line end that we made: at the start of a line for the backend, but not for the client. */
const AFTER_MADE_END = 3;
type Place = typeof LINE_START | typeof INSIDE | typeof AFTER_DOT | typeof AFTER_MADE_END;

/**
 * Content behind DATA, byte by byte, until its one true end, CR LF dot CR LF. What comes out is canonical: lines end
 * in CRLF, a dot at their start is doubled, and no CR or LF stands alone. A lone one either becomes a CRLF
 * ("normalise") or spoils the message ("reject"), and then nothing more of it comes out, not even its end.
 */
export class DataFramer {
  /** Whether a bare CR or LF was met. */
  bare = false;
  /** Bytes of the message so far as RFC 1870 5 counts them: without its end and the dots that are taken off again. */
  size = 0;
  readonly #reject: boolean;
  #place: Place = LINE_START;
  #heldCr = false;

  constructor(bareNewlines: "reject" | "normalise") {
    this.#reject = bareNewlines === "reject";
  }

  push(arrived: Buffer): Framed {
    const chunk = this.#heldCr ? Buffer.concat([CRLF.subarray(0, 1), arrived]) : arrived;
    const held = this.#heldCr ? 1 : 0;
    this.#heldCr = false;
    const pieces: Buffer[] = [];
    let text = "";
    let from = 0;
    let at = 0;
    let place = this.#place;
    let ended = false;
    while (at < chunk.length) {
      if (place === INSIDE) {
        text ||= chunk.toString("latin1");
        const next = nextSpecial(text, at);
        place = placeBehind(chunk, at, next);
        at = next;
        if (at === chunk.length) break;
      }
      const byte = chunk[at];
      if (byte === CR && at + 1 === chunk.length) {
        this.#heldCr = true;
        break;
      }
      if (byte === CR && chunk[at + 1] === LF) {
        at += 2;
        ended = place === AFTER_DOT;
        if (ended) {
          this.size -= DOT_CRLF.length;
          break;
        }
        place = LINE_START;
      } else if (byte === CR || byte === LF) {
        this.bare = true;
        // A dot alone before it would end the message, now that we make a line end of it.
        pieces.push(chunk.subarray(from, at), place === AFTER_DOT ? DOT_CRLF : CRLF);
        at += 1;
        from = at;
        place = AFTER_MADE_END;
      } else {
        if (byte === DOT && place === AFTER_MADE_END) {
          pieces.push(chunk.subarray(from, at), ONE_DOT);
          from = at;
        }
        if (place === AFTER_DOT) this.size -= 1;
        place = byte === DOT && place === LINE_START ? AFTER_DOT : INSIDE;
        at += 1;
      }
    }
    this.#place = place;
    // The held CR of the chunk before is in `at`, and this chunk's is not.
    this.size += at;
    pieces.push(chunk.subarray(from, at));
    return {
      pieces: this.#reject && this.bare ? NOTHING : pieces,
      used: at + (this.#heldCr ? 1 : 0) - held,
      ended,
    };
  }
}

/** A CR or LF by itself, or a dot at the start of a line: all that needs a closer look. */
const SPECIAL = /\r(?!\n)|(?<!\r)\n|\r\n\./g;

/** The next place from `at`, inside a line, that needs a closer look, or the end. Nothing else in V8 is as fast. */
function nextSpecial(text: string, at: number): number {
  SPECIAL.lastIndex = at;
  return SPECIAL.exec(text)?.index ?? text.length;
}

/** Where bytes without anything special leave us, that began inside a line. */
function placeBehind(chunk: Buffer, from: number, to: number): Place {
  return to - from >= 2 && chunk[to - 1] === LF ? LINE_START : INSIDE;
}

/**
 * Content behind BDAT (RFC 3030), which has no end mark and no dots: only whether its line ends are whole. A CR at the
 * end of a chunk may have its LF in the next one, but not behind the last.
 */
export class ChunkChecker {
  /** Bytes of content so far. */
  size = 0;
  #openCr = false;

  /** Whether the bytes so far can be passed on; `last` when none follow. */
  check(bytes: Buffer, last: boolean): boolean {
    this.size += bytes.length;
    let openCr = this.#openCr;
    for (let at = 0; at < bytes.length; at += 1) {
      const byte = bytes[at];
      if (openCr !== (byte === LF)) return false;
      openCr = byte === CR;
    }
    this.#openCr = openCr;
    return !(last && openCr);
  }
}
