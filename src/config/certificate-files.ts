import { X509Certificate } from "node:crypto";
import { authoritiesProblem, revocationEnds, revocationProblem } from "../tls/client-authorities.ts";
import { isPair, type PairBytes, type PairProblem, readPair } from "../tls/key-pair.ts";
import { readFileBytes, readTextFile } from "./files.ts";
import type { Report } from "./report.ts";

const MAX_BYTES = 1024 * 1024;
const DAY = 86_400_000;
/** Whoever renews by itself has done so long before; whoever does it by hand still has time. */
const SOON = 14 * DAY;

/** A certificate and its key as the configuration has them: `cert` with `key`, or `pkcs12`. */
export interface CertificateKeys {
  readonly cert?: string;
  readonly key?: string;
  readonly pkcs12?: string;
  readonly passphrase?: string;
}

/** Checks that a certificate and its key can be read, belong together and are valid now. */
export function checkCertificatePair(keys: CertificateKeys, pointer: string, report: Report): void {
  const bytes = readBytes(keys, pointer, report);
  if (!bytes) return;
  const found = readPair(bytes);
  const at = keys.pkcs12 === undefined ? "cert" : "pkcs12";
  if (isPair(found)) warnOfDates(new X509Certificate(found.cert), keys[at] ?? "", `${pointer}/${at}`, report);
  else tellProblem(found, keys, pointer, report);
}

function tellProblem(
  { at, problem }: PairProblem,
  keys: CertificateKeys,
  pointer: string,
  report: Report,
): void {
  // A passphrase is a secret: what it should open is named instead.
  const found = at === "passphrase" ? (keys.pkcs12 ?? keys.key) : keys[at];
  const details = problem.includes("not the key of") ? { valid: `the key of ${keys.cert}` } : {};
  report.error(`${pointer}/${at}`, problem, { ...(found !== undefined && { found }), ...details });
}

function readBytes(
  { cert, key, pkcs12, passphrase }: CertificateKeys,
  pointer: string,
  report: Pick<Report, "error">,
): PairBytes | undefined {
  const more = passphrase === undefined ? {} : { passphrase };
  if (pkcs12 !== undefined) {
    const bytes = bytesAt(pkcs12, `${pointer}/pkcs12`, report);
    return bytes && { ...more, pkcs12: bytes };
  }
  const certBytes = cert === undefined ? undefined : bytesAt(cert, `${pointer}/cert`, report);
  const keyBytes = key === undefined ? undefined : bytesAt(key, `${pointer}/key`, report);
  return certBytes && keyBytes && { ...more, cert: certBytes, key: keyBytes };
}

function bytesAt(path: string, pointer: string, report: Pick<Report, "error">): Buffer | undefined {
  const file = readFileBytes(path, MAX_BYTES);
  if (file.ok) return file.bytes;
  report.error(pointer, `cannot be read: ${file.reason}`, { found: path });
  return undefined;
}

/** Checks that a file of authorities can be read and that its first certificate is valid now. */
export function checkAuthorities(path: string, pointer: string, report: Report): void {
  const pem = checkPem(path, pointer, report, authoritiesProblem);
  if (pem !== undefined) warnOfDates(new X509Certificate(pem), path, pointer, report);
}

/** Checks that a file of revocation lists can be read and that none of them is out of date. */
export function checkRevocationLists(path: string, pointer: string, report: Report): void {
  const pem = checkPem(path, pointer, report, revocationProblem);
  const ends = pem === undefined ? undefined : revocationEnds(pem);
  if (ends && ends.getTime() < Date.now())
    report.warn(pointer, `is out of date since ${ends.toUTCString()}: no client's certificate is believed`, {
      found: path,
    });
}

function checkPem(
  path: string,
  pointer: string,
  report: Report,
  problemOf: (pem: string) => string | undefined,
): string | undefined {
  const file = readTextFile(path, MAX_BYTES);
  const problem = file.ok ? problemOf(file.text) : `cannot be read: ${file.reason}`;
  if (problem !== undefined) report.error(pointer, problem, { found: path });
  return file.ok && problem === undefined ? file.text : undefined;
}

/** How long a certificate is still good, in words. */
function inDays(left: number): string {
  const days = Math.floor(left / DAY);
  return days === 0 ? "expires within a day" : `expires in ${days === 1 ? "1 day" : `${days} days`}`;
}

/** What a good configuration has, one line each: the certificates and how long they are good. */
export function describeCertificates(certificates: readonly CertificateKeys[]): string[] {
  return certificates.flatMap((keys) => {
    const bytes = readBytes(keys, "", SILENT);
    const found = bytes && readPair(bytes);
    if (!found || !isPair(found)) return [];
    const left = new X509Certificate(found.cert).validToDate.getTime() - Date.now();
    return [`certificate ${keys.pkcs12 ?? keys.cert}: ${left < 0 ? "EXPIRED" : inDays(left)}`];
  });
}

/** For who asks again about what has been reported. */
const SILENT = { error: () => {} };

function warnOfDates(certificate: X509Certificate, path: string, pointer: string, report: Report): void {
  const { validFrom, validFromDate, validTo, validToDate } = certificate;
  const left = validToDate.getTime() - Date.now();
  if (left < 0) report.warn(pointer, `EXPIRED on ${validTo}: clients will refuse it`, { found: path });
  else if (left < SOON) report.warn(pointer, `${inDays(left)}, on ${validTo}`, { found: path });
  if (validFromDate.getTime() > Date.now())
    report.warn(pointer, `is not valid before ${validFrom}`, { found: path });
}
