import { constants } from "node:crypto";
import type { Socket } from "node:net";
import { createSecureContext, type SecureContext, TLSSocket } from "node:tls";

/** A certificate chain with its key, both PEM. */
export interface KeyPair {
  readonly cert: string;
  readonly key: string;
}

/** The server's side of TLS for all listeners: TLS 1.2 and up, no renegotiation. */
export function serverContext({ cert, key }: KeyPair): SecureContext {
  return createSecureContext({
    cert,
    key,
    minVersion: "TLSv1.2",
    honorCipherOrder: true,
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
  });
}

/**
 * Begins TLS as the server on a connection whose ALPN names are `alpn`; a client that asks for other protocols
 * is refused (RFC 7301 3.2, against ALPACA), one that asks for none is welcome. A failed handshake shows as an
 * error of the socket.
 */
export function wrapServer(
  raw: Socket,
  {
    first,
    choose,
  }: { readonly first: SecureContext; readonly choose?: (serverName: string) => SecureContext },
  alpn: readonly string[],
): { socket: TLSSocket; secured: Promise<void> } {
  const socket = new TLSSocket(raw, {
    isServer: true,
    secureContext: first,
    ALPNProtocols: [...alpn],
    ...(choose && { SNICallback: (serverName, done) => done(null, choose(serverName)) }),
  });
  // Node reports a broken record after the handshake of a server-side socket only here.
  socket.on("_tlsError", () => socket.destroy());
  return { socket, secured: new Promise((resolve) => socket.once("secure", resolve)) };
}
