import type { Socket } from "node:net";
import { imap } from "../../src/protocols/imap/index.ts";
import { type Frontend, Session } from "../../src/session/session.ts";

const PEER = { address: "192.0.2.1", port: 40_000, local: { address: "192.0.2.25", port: 143 } };

/** A frontend of an IMAP listener that offers what there is; TLS is the test's own. */
export function frontend(more: Partial<Frontend> = {}): Frontend {
  return {
    listener: "imap-143",
    hostname: "door.example.org",
    protocol: imap,
    implicitTls: false,
    requireTls: false,
    mechanisms: ["PLAIN", "LOGIN"],
    handshakeTimeoutMs: 5_000,
    loginTimeoutMs: 10_000,
    idleTimeoutMs: 1_800_000,
    tls: undefined,
    backendCapabilities: () => ["IMAP4REV1", "IDLE", "LITERAL+"],
    verifiesApop: () => false,
    eachBackendsCapabilities: () => [],
    content: {
      earlyTalkers: "refuse",
      greetDelay: 0,
      maxMessageSize: 50_000_000,
      maxRecipients: 100,
      bareNewlines: "reject",
      senders: "off",
      maySendAs: () => true,
    },
    ...more,
  };
}

/** The real session on any connection. */
export function sessionOn(socket: Socket, more: Partial<Frontend> = {}): Session {
  return new Session(socket, PEER, frontend(more));
}
