import { type SandboxServer, startServer } from "../server.ts";
import { execute } from "./execute.ts";
import { ImapSession, type SessionOptions } from "./session.ts";

export interface ImapServerOptions extends SessionOptions {
  readonly host: string;
  readonly port: number;
}

export function startImapServer(options: ImapServerOptions): Promise<SandboxServer> {
  return startServer(options, (connection) => new ImapSession(connection, options, execute));
}
