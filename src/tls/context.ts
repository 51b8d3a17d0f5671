import { createSecureContext, type SecureContext } from "node:tls";
import type { KeyPair } from "./key-pair.ts";
import { type Profile, profileOptions } from "./profiles.ts";

/** Whose certificates clients may show, both PEM. */
export interface ClientAuthorities {
  readonly ca: string;
  /** The revocation lists of all these authorities; without it nothing is ever revoked. */
  readonly crl?: string;
}

export interface ContextSettings {
  readonly profile: Profile;
  readonly clients?: ClientAuthorities;
}

export interface Resumption {
  /** 48 bytes. Secret. */
  readonly keys: Buffer;
  /** What a session is good for; others are not resumed. */
  readonly purpose: string;
}

/** RFC 8446 4.6.1 allows a week; a mail program is back long before this. In seconds. */
const SESSION_LIFETIME = 2 * 3_600;

/** The server's side of TLS with one certificate. Throws OpenSSL's error for a pair that does not belong together. */
export function serverContext(
  { cert, key }: KeyPair,
  { profile, clients }: ContextSettings,
  resumption?: Resumption,
): SecureContext {
  return createSecureContext({
    ...profileOptions(profile),
    cert,
    key,
    // Nobody but these: without them Node would believe every authority of the web about clients.
    ca: clients ? certificatesIn(clients.ca) : [],
    ...(clients?.crl !== undefined && { crl: revocationListsIn(clients.crl) }),
    sessionTimeout: SESSION_LIFETIME,
    ...(resumption && { ticketKeys: resumption.keys, sessionIdContext: resumption.purpose }),
  });
}

function certificatesIn(pem: string): string[] {
  return pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
}

/** Node reads only the first list of a text. */
function revocationListsIn(pem: string): string[] {
  return pem.match(/-----BEGIN X509 CRL-----[^-]+-----END X509 CRL-----/g) ?? [];
}
