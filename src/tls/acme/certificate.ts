import { createPrivateKey, X509Certificate } from "node:crypto";
import type { KeyPair } from "../key-pair.ts";

/** A certificate of ours with what its dates and names say. */
export interface AcmeCertificate extends KeyPair {
  readonly validFrom: number;
  readonly validTo: number;
  readonly names: readonly string[];
}

const KEY = /-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]+-----END [A-Z ]*PRIVATE KEY-----\n?/;
const CHAIN = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n?/g;

/** Key and chain as one text, so that one rename changes both. */
export function joinPair({ cert, key }: KeyPair): string {
  return `${key.trim()}\n${cert.trim()}\n`;
}

/** Takes apart what `joinPair` made. Throws when it is none, or when the two do not belong together. */
export function readPair(text: string): AcmeCertificate {
  const key = KEY.exec(text)?.[0];
  const cert = text.match(CHAIN)?.join("");
  if (key === undefined || cert === undefined)
    throw new Error("it is not a private key with its certificate");
  const leaf = new X509Certificate(cert);
  if (!leaf.checkPrivateKey(createPrivateKey(key))) throw new Error("the key is not the certificate's");
  return {
    cert,
    key,
    validFrom: Date.parse(leaf.validFrom),
    validTo: Date.parse(leaf.validTo),
    names: namesOf(leaf),
  };
}

function namesOf({ subjectAltName = "" }: X509Certificate): string[] {
  return subjectAltName
    .split(", ")
    .filter((name) => name.startsWith("DNS:"))
    .map((name) => name.slice(4).toLowerCase());
}

/** True when the certificate is for all of the names. */
export function covers({ names }: AcmeCertificate, domains: readonly string[]): boolean {
  return domains.every((domain) => names.includes(domain));
}
