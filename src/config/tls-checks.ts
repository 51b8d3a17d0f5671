import { checkAcme } from "./acme-checks.ts";
import { checkAuthorities, checkCertificatePair, checkRevocationLists } from "./certificate-files.ts";
import type { Entry } from "./entries.ts";
import type { Report } from "./report.ts";
import type { BackendConfig, Config, ListenerConfig } from "./schema.ts";

/** Whether there is a certificate where one is needed, and what the files of all of them hold. */
export function checkTls(config: Config, listeners: readonly Entry<ListenerConfig>[], report: Report): void {
  if (report.whole("/tls")) checkCertificates(config, report);
  if (!report.whole("/tls") || !report.whole("/listeners")) return;
  if (config.tls.acme) checkAcme(config.tls.acme, config, report);
  if (config.tls.certificates.length > 0 || config.tls.acme || config.tls.selfSigned) return;
  const needed = listeners.some(({ value }) => value.tls === "implicit" || value.requireTls);
  if (needed)
    report.error("/tls", "has no certificate, and there are listeners that need one", {
      valid: "certificates: [{ cert: PATH, key: PATH }], acme, or selfSigned: true",
    });
  else report.warn("/tls", "has no certificate, so no client can use TLS");
}

function checkCertificates({ tls }: Config, report: Report): void {
  for (const [index, keys] of tls.certificates.entries()) {
    const pointer = `/tls/certificates/${index}`;
    if (isWhole(keys, pointer, report)) checkCertificatePair(keys, pointer, report);
  }
}

/** Whether `cert` and `key`, or `pkcs12`, stand there and nothing else. */
function isWhole(keys: Config["tls"]["certificates"][number], pointer: string, report: Report): boolean {
  const { cert, key, pkcs12 } = keys;
  const pem = cert ?? key;
  if (pkcs12 !== undefined && pem !== undefined)
    report.error(pointer, "is named twice: pkcs12 holds certificate and key", {
      valid: "either cert and key, or pkcs12",
    });
  else if (pkcs12 === undefined && (cert === undefined || key === undefined)) {
    const missing = pem === undefined ? "cert and key, or pkcs12" : cert === undefined ? "cert" : "key";
    report.error(pointer, `lacks ${missing}`, { valid: "{ cert: PATH, key: PATH }, or { pkcs12: PATH }" });
  } else return true;
  return false;
}

/** Whether clients' certificates can be believed, and lead anywhere. */
export function checkClientCertificates(
  config: Config,
  around: {
    readonly listeners: readonly Entry<ListenerConfig>[];
    readonly backends: readonly Entry<BackendConfig>[];
  },
  report: Report,
): void {
  if (!report.whole("/tls")) return;
  const { clientCa, clientCrl } = config.tls;
  if (clientCa !== undefined) checkAuthorities(clientCa, "/tls/clientCa", report);
  if (clientCrl !== undefined) checkRevocationLists(clientCrl, "/tls/clientCrl", report);
  if (clientCa !== undefined) warnOfExternal(config, around.backends, report);
  else refuseWithoutAuthorities(config, around.listeners, report);
}

function refuseWithoutAuthorities(
  { tls }: Config,
  listeners: readonly Entry<ListenerConfig>[],
  report: Report,
): void {
  if (tls.clientCrl !== undefined)
    report.error("/tls/clientCrl", "means nothing without clientCa", { at: "key", valid: "clientCa, too" });
  for (const { pointer, value } of listeners) {
    const { clientCertificate } = value;
    if (clientCertificate === undefined || clientCertificate === "none") continue;
    report.error(`${pointer}/clientCertificate`, "needs tls.clientCa: nobody's certificate is believed", {
      found: clientCertificate,
      valid: "none, or tls.clientCa",
    });
  }
}

/** EXTERNAL brings no password, so a backend that wants the client's own can take nobody in by it. */
function warnOfExternal(config: Config, backends: readonly Entry<BackendConfig>[], report: Report): void {
  if (!report.whole("/authentication")) return;
  if (!config.authentication.mechanisms.includes("EXTERNAL")) {
    report.warn("/tls/clientCa", "gives no SASL EXTERNAL: authentication.mechanisms leaves it out");
    return;
  }
  for (const { pointer, value } of backends) {
    if (value.login !== "passthrough") continue;
    const message = "refuses who signs in by a certificate (EXTERNAL): passthrough has no password for it";
    report.warn(`${pointer}/login`, message, { found: "passthrough", valid: "{ master: … }" });
  }
}
