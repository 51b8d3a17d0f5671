import type { Socket } from "node:net";
import { type SecureContext, TLSSocket, type TLSSocketOptions } from "node:tls";
import type { Begun, ClientFacts } from "../io/channel.ts";
import { readClientHello } from "../wire/client-hello.ts";
import type { CertificateStore } from "./certificate-store.ts";
import { type ClientName, clientFacts } from "./client-certificate.ts";

/** What a listener's TLS is to be. */
export interface ListenerTls {
  /** The listener's name. */
  readonly listener: string;
  readonly implicit: boolean;
  /** RFC 7301 names that a client may ask for. */
  readonly alpn: readonly string[];
  /** Whether clients are asked for a certificate; without it they are not. */
  readonly clients?: {
    readonly certificate: "optional" | "required";
    readonly name: ClientName;
  };
}

/** Our side of the handshake at one listener. */
export interface ServerTls {
  /** Whether these first bytes of the client say all that must be known before TLS begins. */
  enough(first: Buffer): boolean;
  /** Begins TLS as the server; a failed handshake shows as an error of the socket. */
  wrap(raw: Socket, first: Buffer): Begun;
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
export function serverTls(store: CertificateStore, options: ListenerTls): ServerTls {
  const { listener, implicit } = options;
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
      return begin(raw, context, options);
    },
  };
}

function begin(raw: Socket, context: SecureContext, { alpn, clients }: ListenerTls): Begun {
  const required = clients?.certificate === "required";
  const socket = newSocket(raw, context, alpn, {
    requestCert: clients !== undefined,
    // OpenSSL refuses only who shows none; whom to believe is decided below.
    rejectUnauthorized: required,
  });
  const secured = new Promise<{ client?: ClientFacts }>((resolve, reject) => {
    socket.once("secure", () => {
      const client = clients && clientFacts(socket, clients.name);
      if (!required || client?.verified) return resolve(client ? { client } : {});
      const why = `the client's certificate is not believed: ${client?.fault ?? "there is none"}`;
      return reject(new HandshakeEnd("BAD_CLIENT_CERTIFICATE", why));
    });
  });
  return { socket, secured };
}

function newSocket(
  raw: Socket,
  secureContext: SecureContext,
  alpn: readonly string[],
  more: TLSSocketOptions = {},
): TLSSocket {
  // RFC 7301 3.2: who asks for other protocols is refused, against ALPACA; who asks for none is welcome.
  const socket = new TLSSocket(raw, { isServer: true, secureContext, ALPNProtocols: [...alpn], ...more });
  // Node reports a broken record after the handshake of a server-side socket only here.
  socket.on("_tlsError", () => socket.destroy());
  return socket;
}

/** RFC 8737 3: the handshake is the whole answer, and nothing may be said after it. */
function answer(raw: Socket, context: SecureContext): Begun {
  const socket = newSocket(raw, context, [ACME_TLS]);
  const secured = new Promise<never>((_resolve, reject) => {
    const over = new HandshakeEnd("ACME_CHALLENGE", "a certification authority has seen its answer");
    socket.once("secure", () => socket.end(() => reject(over)));
  });
  return { socket, secured };
}
