const CR = 0x0d;
const LF = 0x0a;
const DOT = 0x2e;
const ONE_CR = Buffer.from("\r");

/** Where in a line the bytes so far have ended. */
type Place = "start" | "dot" | "dot CR" | "inside" | "CR";

/**
 * RFC 5321 4.5.2: content behind DATA without the dots that were put before its lines, up to the line that is a dot
 * and nothing else. Only CR LF ends a line (2.3.8); a CR or LF by itself is content.
 */
export class DotDecoder {
  #place: Place = "start";

  /** Hands content to `take`, and says how many bytes of the chunk were used: all, but where the content ends. */
  push(chunk: Buffer, take: (piece: Buffer) => void): { used: number; ended: boolean } {
    let from = 0;
    let at = 0;
    const handOver = (next: number): void => {
      if (at > from) take(chunk.subarray(from, at));
      from = next;
    };
    for (; at < chunk.length; at++) {
      const byte = chunk[at];
      if (this.#place === "start" && byte === DOT) {
        handOver(at + 1);
        this.#place = "dot";
      } else if (this.#place === "dot" && byte === CR) {
        from = at + 1;
        this.#place = "dot CR";
      } else if (this.#place === "dot CR" && byte === LF) {
        return { used: at + 1, ended: true };
      } else {
        // The CR was held back, as it might have been the end's.
        if (this.#place === "dot CR") take(ONE_CR);
        const afterCr = this.#place === "CR" || this.#place === "dot CR";
        if (byte === CR) this.#place = "CR";
        else this.#place = afterCr && byte === LF ? "start" : "inside";
      }
    }
    handOver(at);
    return { used: at, ended: false };
  }
}
