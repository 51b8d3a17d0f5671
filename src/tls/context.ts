import { createSecureContext, type SecureContext } from "node:tls";
import { type ClientAuthorities, pemBlocks } from "./client-authorities.ts";
import type { KeyPair } from "./key-pair.ts";
import { type Profile, profileOptions } from "./profiles.ts";

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
    ca: clients ? pemBlocks(clients.ca, "CERTIFICATE") : [],
    ...(clients?.crl !== undefined && { crl: pemBlocks(clients.crl, "X509 CRL") }),
    sessionTimeout: SESSION_LIFETIME,
    ...(resumption && { ticketKeys: resumption.keys, sessionIdContext: resumption.purpose }),
  });
}
