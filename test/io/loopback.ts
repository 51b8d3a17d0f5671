import { once } from "node:events";
import { connect, createServer, type Server, Socket } from "node:net";
import { type Duplex, duplexPair } from "node:stream";
import { PATIENCE_MS, within } from "../support/waiting.ts";

/** Two ends of one TCP connection. */
export interface SocketPair extends Disposable {
  /** The accepted end, made as the gateway's listeners make theirs. */
  readonly near: Socket;
  /** The end that the test plays. */
  readonly far: Socket;
}

/** A TCP connection over loopback, both ends in our hands. */
export async function socketPair(): Promise<SocketPair> {
  const server: Server = createServer({ allowHalfOpen: true, noDelay: true });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const accepted = once(server, "connection");
  const { port } = server.address() as { port: number };
  const far = connect({ port, host: "127.0.0.1", allowHalfOpen: true, noDelay: true });
  // What a peer does to the connection is the other end's subject.
  far.on("error", () => {});
  const [[near]] = await within(
    PATIENCE_MS,
    "a connection over loopback",
    Promise.all([accepted, once(far, "connect")]),
  );
  server.close();
  return {
    near,
    far,
    [Symbol.dispose]() {
      near.destroy();
      far.destroy();
    },
  };
}

/** Two ends in memory: nothing but our own buffers stands between them, so a write blocks when we say so. */
export function pipePair(highWaterMark = 64 * 1024): { near: Socket; far: Duplex } {
  const [near, far] = duplexPair({ highWaterMark });
  far.on("error", () => {});
  let bytesRead = 0;
  const push = near.push.bind(near);
  near.push = (chunk: Buffer | null) => {
    bytesRead += chunk?.length ?? 0;
    return push(chunk);
  };
  Object.defineProperties(near, {
    bytesRead: { get: () => bytesRead },
    destroySoon: { value: Socket.prototype.destroySoon },
  });
  return { near: near as Socket, far };
}

/** Lets everything happen that is due: several turns of the event loop. */
export async function settle(turns = 5): Promise<void> {
  for (let turn = 0; turn < turns; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** Everything that an end hears until the other one ends, as latin1. */
export function listenTo(end: Duplex): {
  heard(): string;
  until(text: string): Promise<void>;
  ended: Promise<void>;
} {
  let heard = "";
  let wake = (): void => {};
  const ended = new Promise<void>((resolve) => {
    end.once("end", resolve);
    end.once("close", resolve);
  });
  end.on("data", (chunk: Buffer) => {
    heard += chunk.toString("latin1");
    wake();
  });
  const arrived = async (text: string): Promise<void> => {
    while (!heard.includes(text)) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
  return {
    heard: () => heard,
    until: (text) =>
      within(PATIENCE_MS, () => `${JSON.stringify(text)} in ${JSON.stringify(heard)}`, arrived(text)),
    ended: within(PATIENCE_MS, () => `the end, after ${JSON.stringify(heard)}`, ended),
  };
}
