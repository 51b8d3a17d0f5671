import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";

/** One command's reply as it goes over the wire, at once or later. Replies keep the order of their commands. */
export type FakeReply = (command: readonly string[]) => string | Promise<string>;

export interface FakeRedis extends AsyncDisposable {
  readonly url: string;
}

const INFO = "redis_version:7.0.15\r\nloading:0\r\n";

export function bulk(text: string): string {
  return `$${Buffer.byteLength(text)}\r\n${text}\r\n`;
}

/** Speaks as much of Redis as its clients need before they ask for a script; what scripts answer, the test says. */
export async function startFakeRedis(reply: FakeReply): Promise<FakeRedis> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
    let text = "";
    let before: Promise<unknown> = Promise.resolve();
    socket.on("data", (bytes) => {
      text += bytes.toString("latin1");
      for (;;) {
        const [command, rest] = parse(text);
        if (!command) break;
        text = rest;
        const answer = Promise.resolve(answerTo(command, reply));
        before = before.then(async () => socket.write(await answer));
      }
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `redis://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

function answerTo(command: readonly string[], reply: FakeReply): string | Promise<string> {
  const name = command[0]?.toLowerCase();
  if (name === "info") return bulk(INFO);
  return name === "eval" || name === "evalsha" ? reply(command) : "+OK\r\n";
}

/** The first command of a text, if it is whole, and what comes behind it. */
function parse(text: string): [string[] | undefined, string] {
  const head = /^\*(\d+)\r\n/.exec(text);
  if (!head) return [undefined, text];
  const command: string[] = [];
  let at = head[0].length;
  for (let left = Number(head[1]); left > 0; left -= 1) {
    const length = /^\$(\d+)\r\n/.exec(text.slice(at, at + 20));
    if (!length) return [undefined, text];
    const start = at + length[0].length;
    at = start + Number(length[1]) + 2;
    if (text.length < at) return [undefined, text];
    command.push(text.slice(start, at - 2));
  }
  return [command, text.slice(at)];
}
