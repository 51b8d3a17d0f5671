import { X509Certificate } from "node:crypto";
import { createSecureContext } from "node:tls";
import forge from "node-forge";

/** Whose certificates clients may show, both PEM. */
export interface ClientAuthorities {
  readonly ca: string;
  /** The revocation lists of all these authorities; without it nothing is ever revoked. */
  readonly crl?: string;
}

/** Every block of this kind: Node reads only the first revocation list of a text. */
export function pemBlocks(pem: string, kind: "CERTIFICATE" | "X509 CRL"): string[] {
  const block = `-----BEGIN ${kind}-----[A-Za-z0-9+/=\\s]+-----END ${kind}-----`;
  return pem.match(new RegExp(block, "g")) ?? [];
}

/** What is wrong with a file of authorities, in an operator's words. */
export function authoritiesProblem(pem: string): string | undefined {
  const blocks = pemBlocks(pem, "CERTIFICATE");
  try {
    return blocks.map((block) => new X509Certificate(block)).length > 0
      ? undefined
      : "holds no PEM certificate";
  } catch {
    return "holds a certificate that cannot be read";
  }
}

/** What is wrong with a file of revocation lists, in an operator's words. */
export function revocationProblem(pem: string): string | undefined {
  const crl = pemBlocks(pem, "X509 CRL");
  if (crl.length === 0) return "holds no PEM revocation list";
  try {
    createSecureContext({ crl, ca: [] });
    return undefined;
  } catch {
    return "holds a revocation list that cannot be read";
  }
}

/** When the first of the lists is no longer good: from then on OpenSSL believes no certificate of its authority. */
export function revocationEnds(pem: string): Date | undefined {
  const ends = pemBlocks(pem, "X509 CRL").flatMap((block) => nextUpdate(block) ?? []);
  return ends.toSorted((a, b) => a.getTime() - b.getTime())[0];
}

/** RFC 5280 5.1.2.5: the second time in a TBSCertList, where there is one. */
function nextUpdate(block: string): Date | undefined {
  const { body } = forge.pem.decode(block)[0] ?? {};
  if (body === undefined) return undefined;
  const [list] = forge.asn1.fromDer(body).value as forge.asn1.Asn1[];
  const { UTCTIME, GENERALIZEDTIME } = forge.asn1.Type;
  const times = ((list?.value ?? []) as forge.asn1.Asn1[]).filter(
    ({ type }) => type === UTCTIME || type === GENERALIZEDTIME,
  );
  const next = times[1];
  if (!next) return undefined;
  const text = String(next.value);
  return next.type === UTCTIME ? forge.asn1.utcTimeToDate(text) : forge.asn1.generalizedTimeToDate(text);
}
