import { generateKeyPair, randomBytes } from "node:crypto";
import { isIP } from "node:net";
import { promisify } from "node:util";
import forge from "node-forge";

/** A certificate with its key, in PEM. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

export interface CertificateOptions {
  /** Ended a day ago. */
  readonly expired?: boolean;
  /** How long it is still good; it is ten days old. Default: 30 days. */
  readonly endsInMs?: number;
  /** Signed by its own key instead of the authority's. */
  readonly selfSigned?: boolean;
  /** Instead of the first name. */
  readonly commonName?: string;
  /** What it is for; by default for servers. */
  readonly usage?: "serverAuth" | "clientAuth";
  /** Instead of the names, as forge has them; an empty list leaves the extension out. */
  readonly altNames?: readonly { readonly type: number; readonly value?: string; readonly ip?: string }[];
}

export interface Authority {
  /** The authority's own certificate, which clients are told to trust. */
  readonly ca: string;
  /** A certificate for these names and addresses; the first is the subject. */
  issue(names: readonly string[], options?: CertificateOptions): Promise<Certificate>;
}

const DAY_MS = 86_400_000;

/** A certification authority that lives as long as the test. */
export async function certificateAuthority(name = "Postern test authority"): Promise<Authority> {
  const own = await makeKey();
  // One key for all that it issues: they differ in what their certificates say.
  const key = await makeKey();
  const subject = [{ name: "commonName", value: name }];
  const ca = sign({ key: own, subject, issuer: subject, signer: own, endsInMs: 30 * DAY_MS }, [
    { name: "basicConstraints", cA: true, critical: true },
    { name: "keyUsage", keyCertSign: true, cRLSign: true, critical: true },
    { name: "subjectKeyIdentifier" },
  ]);
  return {
    ca,
    async issue(
      names,
      {
        expired = false,
        selfSigned = false,
        endsInMs = 30 * DAY_MS,
        commonName,
        altNames,
        usage = "serverAuth",
      } = {},
    ) {
      const leaf = [{ name: "commonName", value: commonName ?? names[0] ?? "nameless" }];
      const cert = sign(
        {
          key,
          subject: leaf,
          issuer: selfSigned ? leaf : subject,
          signer: selfSigned ? key : own,
          endsInMs: expired ? -DAY_MS : endsInMs,
        },
        [
          { name: "basicConstraints", cA: false, critical: true },
          { name: "keyUsage", digitalSignature: true, keyEncipherment: true, critical: true },
          { name: "extKeyUsage", [usage]: true },
          ...(altNames?.length === 0
            ? []
            : [{ name: "subjectAltName", altNames: altNames ?? names.map(alternative) }]),
        ],
      );
      return { cert, key: forge.pki.privateKeyToPem(key.privateKey) };
    },
  };
}

function alternative(name: string) {
  return isIP(name) ? { type: 7, ip: name } : { type: 2, value: name };
}

interface Signing {
  readonly key: forge.pki.rsa.KeyPair;
  readonly subject: forge.pki.CertificateField[];
  readonly issuer: forge.pki.CertificateField[];
  readonly signer: forge.pki.rsa.KeyPair;
  readonly endsInMs: number;
}

function sign({ key, subject, issuer, signer, endsInMs }: Signing, extensions: object[]): string {
  const certificate = forge.pki.createCertificate();
  certificate.publicKey = key.publicKey;
  // A positive number: the leading byte keeps the sign bit clear.
  certificate.serialNumber = `01${randomBytes(15).toString("hex")}`;
  certificate.validity.notBefore = new Date(Date.now() - 10 * DAY_MS);
  certificate.validity.notAfter = new Date(Date.now() + endsInMs);
  certificate.setSubject(subject);
  certificate.setIssuer(issuer);
  certificate.setExtensions(extensions);
  certificate.sign(signer.privateKey, forge.md.sha256.create());
  return forge.pki.certificateToPem(certificate);
}

/** By OpenSSL in a thread: forge makes keys in JavaScript, which takes seconds. */
async function makeKey(): Promise<forge.pki.rsa.KeyPair> {
  const pair = await promisify(generateKeyPair)("rsa", {
    modulusLength: 2048,
    publicKeyEncoding: { type: "spki", format: "pem" },
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
  });
  return {
    publicKey: forge.pki.publicKeyFromPem(pair.publicKey),
    privateKey: forge.pki.privateKeyFromPem(pair.privateKey),
  };
}
