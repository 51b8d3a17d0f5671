import { type SandboxServer, startServer } from "../server.ts";
import { execute } from "./commands.ts";
import { type SessionOptions, SmtpSession } from "./session.ts";

export interface SmtpServerOptions extends SessionOptions {
  readonly host: string;
  readonly port: number;
}

export function startSmtpServer(options: SmtpServerOptions): Promise<SandboxServer> {
  return startServer(options, (connection) => new SmtpSession(connection, options, execute));
}
