import { createHash, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { isIP, type Socket } from "node:net";
import {
  type ConnectionOptions,
  connect,
  createSecureContext,
  type PeerCertificate,
  type TLSSocket,
} from "node:tls";

/** Whom a backend's certificate must convince, as configured; paths are absolute. */
export interface Trust {
  readonly ca?: string;
  readonly serverName?: string;
  /** "sha256/BASE64" of the key's SubjectPublicKeyInfo; then that key is trusted, and only that. */
  readonly pin?: string;
  readonly insecure?: boolean;
  readonly cert?: string;
  readonly key?: string;
}

/** Begins TLS as the client on a connection. */
export type Wrap = (raw: Socket) => { socket: TLSSocket; secured: Promise<undefined> };

/** TLS towards one backend, verified as configured, resuming the last session that was. */
export function tlsWrapper(host: string, trust: Trust): Wrap {
  const options = clientTls(host, trust);
  let resumable: Buffer | undefined;
  return (raw) => {
    const socket = connect({ ...options, socket: raw, ...(resumable && { session: resumable }) });
    const secured = new Promise<undefined>((resolve, reject) => {
      socket.once("secureConnect", () => {
        // A session can be resumed only where it was verified, and then its certificate was.
        if (trust.pin && !socket.isSessionReused() && !hasPin(trust.pin, socket)) {
          return reject(new Error("the backend's certificate does not carry the pinned key"));
        }
        socket.on("session", (session) => {
          resumable = session;
        });
        return resolve(undefined);
      });
    });
    return { socket, secured };
  };
}

function clientTls(host: string, trust: Trust): ConnectionOptions {
  const name = trust.serverName ?? host;
  const secureContext = createSecureContext({
    minVersion: "TLSv1.2",
    ...(trust.ca && { ca: readFileSync(trust.ca) }),
    ...(trust.cert && { cert: readFileSync(trust.cert) }),
    ...(trust.key && { key: readFileSync(trust.key) }),
  });
  return {
    secureContext,
    // RFC 6066 3: no address literals in SNI.
    ...(!isIP(name) && { servername: name }),
    rejectUnauthorized: !trust.insecure && !trust.pin,
    checkServerIdentity: (_host, certificate) => checkName(name, certificate),
  };
}

/**
 * RFC 9525 6.3: names are the certificate's subjectAltNames; a common name is none, although Node takes one where the
 * only alternative names are of another kind.
 */
function checkName(name: string, { raw }: PeerCertificate): Error | undefined {
  const certificate = new X509Certificate(raw);
  const fits = isIP(name)
    ? certificate.checkIP(name)
    : certificate.checkHost(name, { subject: "never", partialWildcards: false });
  if (fits !== undefined) return undefined;
  return new Error(
    certificate.subjectAltName === undefined
      ? "the backend's certificate has no subjectAltName"
      : `the backend's certificate is not for ${name}`,
  );
}

function hasPin(pin: string, socket: TLSSocket): boolean {
  const raw = socket.getPeerX509Certificate()?.raw;
  if (!raw) return false;
  const spki = new X509Certificate(raw).publicKey.export({ type: "spki", format: "der" });
  return pin === `sha256/${createHash("sha256").update(spki).digest("base64")}`;
}
