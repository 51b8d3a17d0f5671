import type { Socket } from "node:net";
import { type SecureContext, TLSSocket } from "node:tls";
import { readClientHello } from "../wire/client-hello.ts";
import type { CertificateStore } from "./certificate-store.ts";

/** What a listener's TLS is to be. */
export interface ListenerTls {
  /** The listener's name. */
  readonly listener: string;
  readonly implicit: boolean;
  /** RFC 7301 names that a client may ask for. */
  readonly alpn: readonly string[];
}

/** Our side of the handshake at one listener. */
export interface ServerTls {
  /** Whether these first bytes of the client say all that must be known before TLS begins. */
  enough(first: Buffer): boolean;
  /** Begins TLS as the server; a failed handshake shows as an error of the socket. */
  wrap(raw: Socket, first: Buffer): { socket: TLSSocket; secured: Promise<void> };
}

/** RFC 8737 4. */
const ACME_TLS = "acme-tls/1";

/** Why a handshake did not end in a session, where it is not OpenSSL that says so. */
export class HandshakeEnd extends Error {
  override readonly name = "HandshakeEnd";
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/**
 * The certificate is chosen before OpenSSL sees a byte, from the hello that it then reads itself. Its own way, a
 * callback for the server name, comes too late: a resumed session never asks it, so that a ticket of one host would
 * be good at another (the class of CVE-2025-23419), and tickets are made with the keys of the context that began.
 */
export function serverTls(store: CertificateStore, { listener, implicit, alpn }: ListenerTls): ServerTls {
  const looks = (): boolean => store.choosing || (implicit && store.challenged);
  return {
    enough: (first) => !looks() || readClientHello(first) !== "more",
    wrap(raw, first) {
      const hello = looks() ? readClientHello(first) : "none";
      const asked = typeof hello === "string" ? undefined : hello;
      // RFC 8737 3: exactly this protocol. RFC 8314 has no listener of STARTTLS at which a CA would ask.
      if (implicit && asked?.alpn.length === 1 && asked.alpn[0] === ACME_TLS) {
        const challenge = store.challengeFor(asked.serverName ?? "");
        if (challenge) return answer(raw, challenge);
      }
      const context = store.contextFor(listener, asked?.serverName);
      if (!context) throw new HandshakeEnd("NO_CERTIFICATE", "there is no certificate yet");
      const socket = begin(raw, context, alpn);
      return { socket, secured: new Promise((resolve) => socket.once("secure", resolve)) };
    },
  };
}

function begin(raw: Socket, secureContext: SecureContext, alpn: readonly string[]): TLSSocket {
  // RFC 7301 3.2: who asks for other protocols is refused, against ALPACA; who asks for none is welcome.
  const socket = new TLSSocket(raw, { isServer: true, secureContext, ALPNProtocols: [...alpn] });
  // Node reports a broken record after the handshake of a server-side socket only here.
  socket.on("_tlsError", () => socket.destroy());
  return socket;
}

/** RFC 8737 3: the handshake is the whole answer, and nothing may be said after it. */
function answer(raw: Socket, context: SecureContext): { socket: TLSSocket; secured: Promise<void> } {
  const socket = begin(raw, context, [ACME_TLS]);
  const secured = new Promise<void>((_resolve, reject) => {
    const over = new HandshakeEnd("ACME_CHALLENGE", "a certification authority has seen its answer");
    socket.once("secure", () => socket.end(() => reject(over)));
  });
  return { socket, secured };
}
