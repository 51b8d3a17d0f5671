import { type SandboxServer, startServer } from "../server.ts";
import { execute } from "./commands.ts";
import { Pop3Session, type SessionOptions } from "./session.ts";

export interface Pop3ServerOptions extends SessionOptions {
  readonly host: string;
  readonly port: number;
}

export function startPop3Server(options: Pop3ServerOptions): Promise<SandboxServer> {
  return startServer(options, (connection) => new Pop3Session(connection, options, execute));
}
