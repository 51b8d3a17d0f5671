import { createSecureContext } from "node:tls";
import type { Account } from "./account.ts";
import { startImapServer } from "./imap/server.ts";
import { type AccountOptions, MailStore, type MasterUser } from "./mail-store.ts";
import { startPop3Server } from "./pop3/server.ts";
import { startSmtpServer } from "./smtp/server.ts";

export interface SandboxOptions {
  /** Who greets, so that a person sees which backend answered. */
  readonly name: string;
  readonly host?: string;
  /** 0 or nothing for a free one. */
  readonly imapPort?: number;
  readonly pop3Port?: number;
  readonly submissionPort?: number;
  /** Where other servers deliver. */
  readonly smtpPort?: number;
  /** The first one also reads what is sent to <postmaster>. */
  readonly accounts: readonly AccountOptions[];
  /** PEM. With it STARTTLS and STLS are offered. */
  readonly tls?: { readonly cert: string; readonly key: string };
  readonly masterUser?: MasterUser;
  /** Where users may send to that are not here: accounts of other sandboxes, by address. */
  readonly accountElsewhere?: (address: string) => Account | undefined;
  /** Hears of errors that are ours, not a client's. */
  readonly onFault?: (error: unknown) => void;
}

/** A small mail backend in memory. */
export interface Sandbox {
  readonly store: MailStore;
  readonly imapPort: number;
  readonly pop3Port: number;
  readonly submissionPort: number;
  readonly smtpPort: number;
  /** How many clients are connected now. */
  sessions(): number;
  close(): Promise<void>;
}

export async function startSandbox(options: SandboxOptions): Promise<Sandbox> {
  const store = new MailStore(options.accounts, options.masterUser);
  const common = {
    store,
    name: options.name,
    host: options.host ?? "127.0.0.1",
    onFault: options.onFault ?? (() => {}),
    secureContext: options.tls && createSecureContext(options.tls),
  };
  const imap = await startImapServer({ ...common, port: options.imapPort ?? 0 });
  const pop3 = await startPop3Server({ ...common, port: options.pop3Port ?? 0 });
  const mail = {
    ...common,
    postmaster: options.accounts[0]?.name,
    accountElsewhere: options.accountElsewhere ?? (() => undefined),
  };
  const submission = await startSmtpServer({
    ...mail,
    role: "submission",
    port: options.submissionPort ?? 0,
  });
  const smtp = await startSmtpServer({ ...mail, role: "MX", port: options.smtpPort ?? 0 });
  const servers = [imap, pop3, submission, smtp];
  return {
    store,
    imapPort: imap.port,
    pop3Port: pop3.port,
    submissionPort: submission.port,
    smtpPort: smtp.port,
    sessions: () => servers.reduce((sum, server) => sum + server.sessions(), 0),
    async close() {
      await Promise.all(servers.map((server) => server.close()));
    },
  };
}
