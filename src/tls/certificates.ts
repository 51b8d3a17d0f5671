import { X509Certificate } from "node:crypto";
import type { SecureContext } from "node:tls";
import { type KeyPair, serverContext } from "./frontend.ts";

/** The certificates of this gateway: `choose` gives the one for a server name, or the first. */
export interface Certificates {
  readonly first: SecureContext;
  /** Absent where there is nothing to choose from: asking holds up each handshake. */
  readonly choose?: (serverName: string) => SecureContext;
}

/** Builds the contexts once. Throws OpenSSL's error for a pair that does not belong together. */
export function loadCertificates(pairs: readonly KeyPair[]): Certificates | undefined {
  const known = pairs.map((pair) => ({ leaf: new X509Certificate(pair.cert), context: serverContext(pair) }));
  const first = known[0]?.context;
  if (!first) return undefined;
  if (known.length === 1) return { first };
  return { first, choose: (name) => known.find(({ leaf }) => isFor(leaf, name))?.context ?? first };
}

function isFor(leaf: X509Certificate, serverName: string): boolean {
  // RFC 6066 3: what a client sends as a name can be anything; only a host name can match.
  if (!/^[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*$/.test(serverName)) return false;
  return leaf.checkHost(serverName, { subject: "never" }) !== undefined;
}
