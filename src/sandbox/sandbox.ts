import { createSecureContext } from "node:tls";
import { startImapServer } from "./imap/server.ts";
import { type AccountOptions, MailStore, type MasterUser } from "./mail-store.ts";

export interface SandboxOptions {
  /** Who greets, so that a person sees which backend answered. */
  readonly name: string;
  readonly host?: string;
  /** 0 or nothing for a free one. */
  readonly imapPort?: number;
  readonly accounts: readonly AccountOptions[];
  /** PEM. With it STARTTLS is offered. */
  readonly tls?: { readonly cert: string; readonly key: string };
  readonly masterUser?: MasterUser;
  /** Hears of errors that are ours, not a client's. */
  readonly onFault?: (error: unknown) => void;
}

/** A small mail backend in memory. */
export interface Sandbox {
  readonly store: MailStore;
  readonly imapPort: number;
  /** How many clients are connected now. */
  sessions(): number;
  close(): Promise<void>;
}

export async function startSandbox(options: SandboxOptions): Promise<Sandbox> {
  const store = new MailStore(options.accounts, options.masterUser);
  const imap = await startImapServer({
    store,
    name: options.name,
    host: options.host ?? "127.0.0.1",
    port: options.imapPort ?? 0,
    onFault: options.onFault ?? (() => {}),
    secureContext: options.tls && createSecureContext(options.tls),
  });
  return { store, imapPort: imap.port, sessions: () => imap.sessions(), close: () => imap.close() };
}
