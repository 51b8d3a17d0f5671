import { createServer, type Socket } from "node:net";

/**
 * An IMAP backend that costs next to nothing: everybody may sign in, `FETCH n` streams n bytes from one buffer,
 * `APPEND n` swallows n bytes. Everything else it answers with OK. Prints its port.
 */

const BLOCK = Buffer.alloc(64 * 1024, "x");
const BEFORE = "IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE LITERAL+ AUTH=PLAIN";
const AFTER = `${BEFORE} SORT THREAD=REFERENCES MULTIAPPEND UNSELECT CHILDREN NAMESPACE UIDPLUS CONDSTORE QRESYNC ESEARCH MOVE`;

const server = createServer({ noDelay: true }, (socket) => {
  socket.write(`* OK [CAPABILITY ${BEFORE}] ready\r\n`);
  socket.on("error", () => socket.destroy());
  const session = new BackendSession(socket);
  socket.on("data", (chunk) => session.take(chunk));
});

class BackendSession {
  readonly #socket: Socket;
  #line = "";
  /** What is still to be swallowed, and the tag to answer then. */
  #sinking = 0;
  #tag = "";
  /** A command with a literal is open; what comes next belongs to it. */
  #open = false;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  take(chunk: Buffer): void {
    let rest = chunk;
    while (rest.length > 0) rest = this.#sinking > 0 ? this.#sink(rest) : this.#readLine(rest);
  }

  #sink(chunk: Buffer): Buffer {
    const rest = chunk.subarray(this.#sinking);
    this.#sinking -= chunk.length - rest.length;
    if (this.#sinking === 0) this.#ok("done");
    return rest;
  }

  #readLine(chunk: Buffer): Buffer {
    const end = chunk.indexOf("\n");
    this.#line += chunk.subarray(0, end === -1 ? chunk.length : end).toString("latin1");
    if (end === -1) return chunk.subarray(chunk.length);
    const line = this.#line.trimEnd();
    this.#line = "";
    this.#obey(line);
    return chunk.subarray(end + 1);
  }

  #obey(line: string): void {
    const [tag = "", name = "", size = "0"] = line.split(" ");
    if (!this.#open) this.#tag = tag;
    this.#open = line.endsWith("}") && !line.endsWith("+}");
    if (this.#open) this.#socket.write("+ go\r\n");
    else if (this.#tag !== tag) this.#ok(`[CAPABILITY ${AFTER}] in`);
    else this.#answer(name.toUpperCase(), Number(size));
  }

  #answer(name: string, size: number): void {
    switch (name) {
      case "LOGIN":
      case "AUTHENTICATE":
        this.#ok(`[CAPABILITY ${AFTER}] in`);
        break;
      case "CAPABILITY":
        this.#socket.write(`* CAPABILITY ${BEFORE}\r\n`);
        this.#ok("done");
        break;
      case "FETCH":
        this.#stream(size);
        break;
      case "APPEND":
        this.#sinking = size;
        break;
      default:
        this.#ok("done");
    }
  }

  #ok(text: string): void {
    this.#socket.write(`${this.#tag} OK ${text}\r\n`);
  }

  #stream(size: number): void {
    let left = size;
    const more = (): void => {
      while (left > 0) {
        const block = BLOCK.subarray(0, left);
        left -= block.length;
        if (!this.#socket.write(block)) return void this.#socket.once("drain", more);
      }
      this.#ok("done");
    };
    more();
  }
}

server.listen(0, "127.0.0.1", 4096, () => {
  const address = server.address();
  if (address && typeof address === "object") console.log(`port ${address.port}`);
});
