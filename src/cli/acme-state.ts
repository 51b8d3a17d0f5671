import type { Config } from "../config/schema.ts";
import { type AcmeCertificate, covers } from "../tls/acme/certificate.ts";
import { AcmeFolder } from "../tls/acme/folder.ts";

const DAY = 86_400_000;

/** What `postern check` says of ACME, a line each, from the files alone: nobody is asked over the network. */
export async function acmeState(
  { tls: { acme }, dataDir }: Pick<Config, "tls" | "dataDir">,
  now = Date.now(),
): Promise<string[]> {
  if (!acme) return [];
  const folder = new AcmeFolder(dataDir, acme);
  const certificate = await folder.readCertificate().catch((error: Error) => error);
  const failure = await folder.readFailure();
  return [
    `acme: ${describe(certificate, acme.domains, now)}`,
    ...(failure ? [`acme: the last order failed at ${iso(failure.at)}: ${failure.reason}`] : []),
  ];
}

function describe(
  certificate: AcmeCertificate | Error | undefined,
  domains: readonly string[],
  now: number,
): string {
  const names = domains.join(", ");
  if (certificate === undefined)
    return `no certificate for ${names} yet; the gateway orders one when it runs`;
  if (certificate instanceof Error) return `the certificate cannot be read: ${certificate.message}`;
  if (!covers(certificate, domains))
    return `the certificate is for ${certificate.names.join(", ")}; the gateway orders one for ${names}`;
  const days = Math.floor((certificate.validTo - now) / DAY);
  const left = days < 0 ? "is over" : `has ${days} days left`;
  return `the certificate for ${names} ${left}; it ends at ${iso(certificate.validTo)}`;
}

function iso(time: number): string {
  return new Date(time).toISOString();
}
