import { type AddressInfo, createServer, type Socket } from "node:net";
import { Connection } from "../connection.ts";
import { execute } from "./execute.ts";
import { ImapSession, type SessionOptions } from "./session.ts";

export interface ImapServerOptions extends SessionOptions {
  readonly host: string;
  readonly port: number;
}

export interface ImapServer {
  readonly port: number;
  sessions(): number;
  close(): Promise<void>;
}

/** RFC 3501 5.4 asks for at least 30 minutes once a client is in. */
const LOGIN_MS = 2 * 60 * 1000;
const SILENCE_MS = 30 * 60 * 1000;
const MAX_SESSIONS = 10_000;

export async function startImapServer(options: ImapServerOptions): Promise<ImapServer> {
  const connections = new Set<Connection>();
  // A client may say its last command and close its side at once; it still gets the answer.
  const server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
    const connection = new Connection(socket);
    connections.add(connection);
    socket.on("close", () => connections.delete(connection));
    socket.setTimeout(SILENCE_MS, () => socket.destroy());
    void serve(socket, connection, options);
  });
  server.maxConnections = MAX_SESSIONS;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port, options.host, resolve);
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

async function serve(socket: Socket, connection: Connection, options: ImapServerOptions): Promise<void> {
  const session = new ImapSession(connection, options, execute);
  const deadline = setTimeout(() => {
    if (!session.account) socket.destroy();
  }, LOGIN_MS);
  deadline.unref();
  await session.run();
  clearTimeout(deadline);
}
