import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { readPkcs12 } from "./pkcs12.ts";

/** A certificate chain, the leaf first, with its key: both PEM, the key without a passphrase. */
export interface KeyPair {
  readonly cert: string;
  readonly key: string;
}

/** What the files of one certificate hold. */
export type PairBytes =
  | { readonly cert: Buffer; readonly key: Buffer; readonly passphrase?: string }
  | { readonly pkcs12: Buffer; readonly passphrase?: string };

/** What is wrong with them, in an operator's words, and the key of the configuration that it is about. */
export interface PairProblem {
  readonly at: "cert" | "key" | "pkcs12" | "passphrase";
  readonly problem: string;
}

/** One certificate with its key out of the bytes of its files; never throws. */
export function readPair(bytes: PairBytes): KeyPair | PairProblem {
  const found = "pkcs12" in bytes ? readPkcs12(bytes.pkcs12, bytes.passphrase) : readPem(bytes);
  if ("problem" in found) return found;
  return { cert: found.cert, key: found.key.export({ type: "pkcs8", format: "pem" }).toString() };
}

export function isPair(found: KeyPair | PairProblem): found is KeyPair {
  return "cert" in found;
}

function readPem({
  cert,
  key,
  passphrase,
}: {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly passphrase?: string;
}): { cert: string; key: KeyObject } | PairProblem {
  let leaf: X509Certificate;
  try {
    leaf = new X509Certificate(cert);
  } catch {
    return { at: "cert", problem: "is not a PEM certificate" };
  }
  const read = readKey(key, passphrase);
  if ("problem" in read) return read;
  if (!leaf.checkPrivateKey(read.key)) return { at: "key", problem: "is not the key of this certificate" };
  return { cert: cert.toString("latin1"), key: read.key };
}

/** PKCS#8 and the traditional forms, encrypted or not. */
function readKey(pem: Buffer, passphrase: string | undefined): { key: KeyObject } | PairProblem {
  try {
    return { key: createPrivateKey({ key: pem, ...(passphrase !== undefined && { passphrase }) }) };
  } catch {
    const encrypted = /-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED/m.test(
      pem.toString("latin1"),
    );
    if (!encrypted) return { at: "key", problem: "is not a PEM private key" };
    return passphrase === undefined
      ? { at: "key", problem: "is a private key with a passphrase, which is missing" }
      : { at: "passphrase", problem: "does not open this private key" };
  }
}
