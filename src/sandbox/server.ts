import { type AddressInfo, createServer } from "node:net";
import { Connection } from "./connection.ts";

/** One client's stay, in whatever protocol. */
export interface Guest {
  /** Defined once the client is signed in. */
  readonly account: unknown;
  /** Until the client leaves, or is shown the door. */
  run(): Promise<void>;
}

export interface SandboxServer {
  readonly port: number;
  sessions(): number;
  close(): Promise<void>;
}

/** RFC 3501 5.4 asks for at least 30 minutes once a client is in, RFC 1939 3 for 10. */
const LOGIN_MS = 2 * 60 * 1000;
const SILENCE_MS = 30 * 60 * 1000;
const MAX_SESSIONS = 10_000;

/** Accepts clients of one protocol. */
export async function startServer(
  { host, port }: { readonly host: string; readonly port: number },
  receive: (connection: Connection) => Guest,
): Promise<SandboxServer> {
  const connections = new Set<Connection>();
  // A client may say its last command and close its side at once; it still gets the answer.
  const server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
    const connection = new Connection(socket);
    connections.add(connection);
    socket.on("close", () => connections.delete(connection));
    socket.setTimeout(SILENCE_MS, () => socket.destroy());
    void serve(connection, receive(connection));
  });
  server.maxConnections = MAX_SESSIONS;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    sessions: () => connections.size,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const connection of connections) connection.destroy();
      }),
  };
}

async function serve(connection: Connection, guest: Guest): Promise<void> {
  const deadline = setTimeout(() => {
    if (!guest.account) connection.destroy();
  }, LOGIN_MS);
  deadline.unref();
  await guest.run();
  clearTimeout(deadline);
}
