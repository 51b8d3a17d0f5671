import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { readTextFile } from "./files.ts";
import type { Report } from "./report.ts";

const MAX_PEM_BYTES = 1024 * 1024;

/** Checks that a certificate and its key can be read, belong together and are valid now. */
export function checkCertificatePair(
  certPath: string,
  keyPath: string,
  pointer: string,
  report: Report,
): void {
  const certificate = checkCertificate(certPath, `${pointer}/cert`, report);
  const key = checkKey(keyPath, `${pointer}/key`, report);
  if (certificate === undefined || key === undefined) return;
  if (!certificate.checkPrivateKey(key))
    report.error(`${pointer}/key`, "is not the key of this certificate", {
      found: keyPath,
      valid: `the key of ${certPath}`,
    });
}

/** Checks that a file of authorities can be read and that its first certificate is valid now. */
export function checkAuthorities(path: string, pointer: string, report: Report): void {
  checkCertificate(path, pointer, report);
}

function checkCertificate(path: string, pointer: string, report: Report): X509Certificate | undefined {
  const read = (pem: string) => new X509Certificate(pem);
  const certificate = checkPem(path, pointer, report, read, "is not a PEM certificate");
  if (certificate !== undefined) warnOfDates(certificate, path, pointer, report);
  return certificate;
}

function checkKey(path: string, pointer: string, report: Report): KeyObject | undefined {
  return checkPem(path, pointer, report, createPrivateKey, "is not a PEM private key without a passphrase");
}

function checkPem<Content>(
  path: string,
  pointer: string,
  report: Report,
  read: (pem: string) => Content,
  otherwise: string,
): Content | undefined {
  const file = readTextFile(path, MAX_PEM_BYTES);
  if (!file.ok) {
    report.error(pointer, `cannot be read: ${file.reason}`, { found: path });
    return undefined;
  }
  try {
    return read(file.text);
  } catch {
    report.error(pointer, otherwise, { found: path });
    return undefined;
  }
}

function warnOfDates(certificate: X509Certificate, path: string, pointer: string, report: Report): void {
  const { validFrom, validTo } = certificate;
  if (Date.parse(validTo) < Date.now()) report.warn(pointer, `expired on ${validTo}`, { found: path });
  if (Date.parse(validFrom) > Date.now())
    report.warn(pointer, `is not valid before ${validFrom}`, { found: path });
}
