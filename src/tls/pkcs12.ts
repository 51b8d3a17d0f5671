import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import forge from "node-forge";
import type { PairProblem } from "./key-pair.ts";

/**
 * RFC 7292, by node-forge: OpenSSL 3 no longer opens what Windows and older tools write (RC2, 3DES). The certificate
 * that the key belongs to comes first, whatever the order in the file.
 */
export function readPkcs12(
  bytes: Buffer,
  passphrase: string | undefined,
): { cert: string; key: KeyObject } | PairProblem {
  const bags = open(bytes, passphrase);
  if ("problem" in bags) return bags;
  const keys = bags.flatMap((bag) => keyIn(bag) ?? []);
  const certificates = bags.flatMap((bag) => certificateIn(bag) ?? []);
  const [key] = keys;
  if (!key || keys.length > 1) return { at: "pkcs12", problem: `holds ${keys.length} private keys, not one` };
  const leaf = certificates.find((certificate) => certificate.checkPrivateKey(key));
  if (!leaf) return { at: "pkcs12", problem: "holds no certificate of its private key" };
  const chain = [leaf, ...certificates.filter((certificate) => certificate !== leaf)];
  return { cert: chain.map(String).join(""), key };
}

function open(bytes: Buffer, passphrase: string | undefined): forge.pkcs12.Bag[] | PairProblem {
  let content: forge.asn1.Asn1;
  try {
    content = forge.asn1.fromDer(bytes.toString("binary"));
  } catch {
    return { at: "pkcs12", problem: "is not a PKCS#12 file" };
  }
  // Without a passphrase some tools write an empty one, and others none.
  for (const attempt of passphrase === undefined ? ["", null] : [passphrase]) {
    try {
      const file = forge.pkcs12.pkcs12FromAsn1(content, false, attempt as string);
      return file.safeContents.flatMap(({ safeBags }) => safeBags);
    } catch {}
  }
  return passphrase === undefined
    ? { at: "pkcs12", problem: "is no PKCS#12 file, or one with a passphrase, which is missing" }
    : { at: "passphrase", problem: "does not open this PKCS#12 file" };
}

/** forge knows RSA only; of everything else it gives what it read. */
function keyIn({ key, asn1 }: forge.pkcs12.Bag): KeyObject | undefined {
  if (key) return createPrivateKey(forge.pki.privateKeyToPem(key));
  return asn1 && attempt(() => createPrivateKey({ key: der(asn1), format: "der", type: "pkcs8" }));
}

function certificateIn({ cert, asn1 }: forge.pkcs12.Bag): X509Certificate | undefined {
  if (cert) return new X509Certificate(forge.pki.certificateToPem(cert));
  return asn1 && attempt(() => new X509Certificate(der(asn1)));
}

function der(asn1: forge.asn1.Asn1): Buffer {
  return Buffer.from(forge.asn1.toDer(asn1).getBytes(), "binary");
}

function attempt<T>(make: () => T): T | undefined {
  try {
    return make();
  } catch {
    return undefined;
  }
}
