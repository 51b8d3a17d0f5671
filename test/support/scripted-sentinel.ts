import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";

const bulk = (text: string): string => `$${text.length}\r\n${text}\r\n`;
const CHANNEL = "+switch-master";

/** A Sentinel of one master, whose answers can be held back to meet its news half-way. */
export interface ScriptedSentinel extends AsyncDisposable {
  readonly port: number;
  /** The next question for the master waits for what this gives; resolves when it is asked. */
  hold(answer: Promise<void>): Promise<void>;
  /** Tells whoever listens that there is another master; resolves when they have gone for it. */
  announce(): Promise<void>;
}

export async function startScriptedSentinel(masterPort: number): Promise<ScriptedSentinel> {
  const sockets = new Set<Socket>();
  const listeners = new Set<Socket>();
  let held: { readonly answer: Promise<void>; readonly asked: () => void } | undefined;
  const answer = async (socket: Socket, words: readonly string[]): Promise<string> => {
    const [verb = "", what = ""] = words.map((word) => word.toLowerCase());
    if (verb === "hello") return `%1\r\n${bulk("server")}${bulk("redis")}`;
    if (verb === "subscribe") {
      listeners.add(socket);
      return `>3\r\n${bulk("subscribe")}${bulk(CHANNEL)}:1\r\n`;
    }
    if (verb !== "sentinel") return "+OK\r\n";
    if (what !== "get-master-addr-by-name") return "*0\r\n";
    const waits = held;
    held = undefined;
    waits?.asked();
    await waits?.answer;
    return `*2\r\n${bulk("127.0.0.1")}${bulk(String(masterPort))}`;
  };
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
    let text = "";
    let turn = Promise.resolve();
    socket.on("data", (chunk) => {
      text += chunk.toString();
      for (let command = first(text); command; command = first(text)) {
        text = text.slice(command.length);
        const { words } = command;
        turn = turn.then(async () => void socket.write(await answer(socket, words)));
      }
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    hold(until) {
      const { promise, resolve } = Promise.withResolvers<void>();
      held = { answer: until, asked: resolve };
      return promise;
    },
    async announce() {
      const gone = [...listeners].map((socket) => socket.destroyed || once(socket, "close"));
      for (const socket of listeners) socket.write(`>3\r\n${bulk("message")}${bulk(CHANNEL)}${bulk("mail")}`);
      await Promise.all(gone);
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

/** The first whole command of what a client has sent, an array of bulk strings. */
function first(text: string): { readonly words: string[]; readonly length: number } | undefined {
  const head = /^\*(\d+)\r\n/.exec(text);
  if (!head) return undefined;
  const words: string[] = [];
  let at = head[0].length;
  for (let left = Number(head[1]); left > 0; left -= 1) {
    const size = /^\$(\d+)\r\n/.exec(text.slice(at));
    if (!size) return undefined;
    at += size[0].length + Number(size[1]) + 2;
    if (at > text.length) return undefined;
    words.push(text.slice(at - 2 - Number(size[1]), at - 2));
  }
  return { words, length: at };
}
