import { generateKeyPair, randomBytes } from "node:crypto";
import { promisify } from "node:util";
import forge from "node-forge";
import type { KeyPair } from "./key-pair.ts";

const YEAR = 365 * 86_400_000;

/** A certificate for trying out: good for `names` for a year, trusted by nobody. */
export async function selfSigned(names: readonly string[], now = Date.now()): Promise<KeyPair> {
  const { privateKey, publicKey } = await promisify(generateKeyPair)("rsa", {
    modulusLength: 2048,
    publicKeyEncoding: { type: "spki", format: "pem" },
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
  });
  const certificate = forge.pki.createCertificate();
  certificate.publicKey = forge.pki.publicKeyFromPem(publicKey);
  // RFC 5280 4.1.2.2: positive, so the first bit is clear.
  certificate.serialNumber = `4${randomBytes(15).toString("hex").slice(1)}`;
  certificate.validity.notBefore = new Date(now - 3_600_000);
  certificate.validity.notAfter = new Date(now + YEAR);
  const subject = [{ name: "commonName", value: names[0] ?? "localhost" }];
  certificate.setSubject(subject);
  certificate.setIssuer(subject);
  certificate.setExtensions([
    { name: "basicConstraints", cA: false, critical: true },
    { name: "keyUsage", digitalSignature: true, keyEncipherment: true, critical: true },
    { name: "extKeyUsage", serverAuth: true },
    { name: "subjectAltName", altNames: names.map(altName) },
  ]);
  certificate.sign(
    forge.pki.privateKeyFromPem(privateKey) as forge.pki.rsa.PrivateKey,
    forge.md.sha256.create(),
  );
  return { cert: forge.pki.certificateToPem(certificate), key: privateKey };
}

/** RFC 5280 4.2.1.6: dNSName is 2, iPAddress is 7. */
function altName(name: string): { type: number; value?: string; ip?: string } {
  return /^[0-9.]+$|:/.test(name) ? { type: 7, ip: name } : { type: 2, value: name };
}
