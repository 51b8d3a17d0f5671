import { createServer, type Socket } from "node:net";

/**
 * An SMTP backend that costs next to nothing: everybody may sign in, every message is taken and forgotten. Prints
 * its port.
 */

const END = Buffer.from("\r\n.\r\n");
const OFFERS = ["backend.test", "PIPELINING", "SIZE 1000000000", "8BITMIME", "AUTH PLAIN"];
const HELLO = OFFERS.map((line, at) => `250${at === OFFERS.length - 1 ? " " : "-"}${line}\r\n`).join("");
const REPLIES: Readonly<Record<string, string>> = {
  EHLO: HELLO,
  AUTH: "235 2.7.0 in\r\n",
  DATA: "354 go\r\n",
  QUIT: "221 2.0.0 bye\r\n",
};

class BackendSession {
  readonly #socket: Socket;
  #line = "";
  /** The last bytes of content while it goes on. */
  #tail: Buffer | undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  take(chunk: Buffer): void {
    let rest = chunk;
    while (rest.length > 0) rest = this.#tail ? this.#swallow(rest, this.#tail) : this.#readLine(rest);
  }

  #swallow(chunk: Buffer, before: Buffer): Buffer {
    const edge = Buffer.concat([before, chunk.subarray(0, END.length - 1)]);
    const atEdge = edge.indexOf(END);
    const end = atEdge === -1 ? chunk.indexOf(END) : atEdge - before.length;
    this.#tail = end === -1 ? Buffer.from(chunk.subarray(-(END.length - 1))) : undefined;
    if (end === -1) return chunk.subarray(chunk.length);
    this.#socket.write("250 2.0.0 taken\r\n");
    return chunk.subarray(end + END.length);
  }

  #readLine(chunk: Buffer): Buffer {
    const end = chunk.indexOf("\n");
    this.#line += chunk.subarray(0, end === -1 ? chunk.length : end).toString("latin1");
    if (end === -1) return chunk.subarray(chunk.length);
    const verb = this.#line.slice(0, 4).toUpperCase();
    this.#line = "";
    this.#socket.write(REPLIES[verb] ?? "250 2.0.0 ok\r\n");
    if (verb === "DATA") this.#tail = Buffer.from("\r\n");
    return chunk.subarray(end + 1);
  }
}

const server = createServer({ noDelay: true }, (socket) => {
  socket.write("220 backend.test ESMTP\r\n");
  socket.on("error", () => socket.destroy());
  const session = new BackendSession(socket);
  socket.on("data", (chunk) => session.take(chunk));
});

server.listen(0, "127.0.0.1", 4096, () => {
  const address = server.address();
  if (address && typeof address === "object") console.log(`port ${address.port}`);
});
