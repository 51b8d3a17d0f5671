import { createServer, type Socket } from "node:net";
import { PolicyAttributeReader, type PolicyAttributes } from "../../src/wire/policy-attributes.ts";

/** What is answered: behind `action=`, or whatever a test does with the connection. */
export type Act = string | ((socket: Socket, asked: PolicyAttributes) => void);

/** A Postfix policy server of scripted answers, and a witness of what it was asked. */
export interface PolicyServer extends AsyncDisposable {
  readonly port: number;
  /** As the configuration names it. */
  readonly server: string;
  readonly asked: PolicyAttributes[];
  /** Connections so far, and those that are open now. */
  readonly connections: number;
  readonly open: number;
  /** The most that were open at once. */
  readonly mostOpen: number;
  say(act: Act): void;
  /** Closes every connection, and goes on listening. */
  hangUp(): void;
}

export async function startPolicyServer(first: Act = "DUNNO", at?: string): Promise<PolicyServer> {
  const asked: PolicyAttributes[] = [];
  const sockets = new Set<Socket>();
  let act = first;
  let connections = 0;
  let mostOpen = 0;
  const server = createServer((socket) => {
    const reader = new PolicyAttributeReader();
    sockets.add(socket);
    connections += 1;
    mostOpen = Math.max(mostOpen, sockets.size);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => {});
    socket.on("data", (chunk: Buffer) => {
      reader.push(chunk);
      for (let one = reader.take(); one !== undefined; one = reader.take()) {
        if (typeof one === "string") throw new Error(`not a request: ${one}`);
        asked.push(one);
        if (typeof act === "string") socket.write(`action=${act}\n\n`);
        else act(socket, one);
      }
    });
  });
  await new Promise<void>((resolve) => {
    if (at === undefined) server.listen(0, "127.0.0.1", resolve);
    else server.listen(at, resolve);
  });
  const address = server.address();
  const port = typeof address === "object" && address ? address.port : 0;
  return {
    port,
    server: at === undefined ? `127.0.0.1:${port}` : `unix:${at}`,
    asked,
    get connections() {
      return connections;
    },
    get mostOpen() {
      return mostOpen;
    },
    get open() {
      return sockets.size;
    },
    say(next) {
      act = next;
    },
    hangUp() {
      for (const socket of sockets) socket.destroy();
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
