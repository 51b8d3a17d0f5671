import { accessSync, constants, statSync } from "node:fs";
import { overlaps } from "./addresses.ts";
import { checkAuthorities } from "./certificate-files.ts";
import type { Report } from "./report.ts";
import { type AcmeConfig, type Config, HTTP_CHALLENGE_PORT } from "./schema.ts";

const AT = "/tls/acme";
/** RFC 8737 3: where the authority knocks for tls-alpn-01. */
const ALPN_CHALLENGE_PORT = 443;

/** Which challenge a key belongs to. */
const KEYS = { httpHost: "http-01", httpPort: "http-01", dnsHook: "dns-01" } as const;

/** Checks that the way to prove the names fits the names, the keys and the listeners. */
export function checkAcme(acme: AcmeConfig, config: Config, report: Report): void {
  for (const [key, challenge] of Object.entries(KEYS))
    if (key in acme && acme.challenge !== challenge)
      report.error(`${AT}/${key}`, `is for ${challenge}, and the challenge is ${acme.challenge}`, {
        at: "key",
      });
  checkNames(acme, report);
  if (acme.challenge === "http-01") checkHttp(acme, config, report);
  if (acme.challenge === "tls-alpn-01") checkAlpn(config, report);
  if (acme.challenge === "dns-01") checkHook(acme, report);
  if (acme.ca !== undefined) checkAuthorities(acme.ca, `${AT}/ca`, report);
  // RFC 8555 7.3.4; what stands here is a secret and not shown.
  if (acme.eab && !/^[A-Za-z0-9_-]{16,}=*$/.test(acme.eab.hmacKey))
    report.error(`${AT}/eab/hmacKey`, "is not a key in base64url");
}

function checkNames({ domains, challenge }: AcmeConfig, report: Report): void {
  for (const [index, name] of domains.entries())
    if (name.startsWith("*.") && challenge !== "dns-01")
      report.error(`${AT}/domains/${index}`, `is a wildcard, and ${challenge} cannot prove one`, {
        found: name,
        valid: "a name without *, or challenge: dns-01",
      });
}

function checkHttp(
  { httpHost, httpPort = HTTP_CHALLENGE_PORT }: AcmeConfig,
  config: Config,
  report: Report,
): void {
  const own = { port: httpPort, ...(httpHost !== undefined && { host: httpHost }) };
  const admin = report.whole("/admin") ? [{ ...config.admin, name: "admin" }] : [];
  const inTheWay = [...config.listeners, ...admin].find((other) => overlaps(other, own));
  if (inTheWay)
    report.error(`${AT}/httpPort`, `is taken by the listener ${inTheWay.name}`, { found: String(httpPort) });
}

function checkAlpn({ listeners }: Config, report: Report): void {
  const implicit = listeners.filter(({ tls }) => tls === "implicit");
  if (implicit.length === 0)
    report.error(`${AT}/challenge`, "needs a listener with implicit TLS", {
      found: "tls-alpn-01",
      valid: "a listener with tls: implicit that port 443 leads to, or another challenge",
    });
  else if (!implicit.some(({ port }) => port === ALPN_CHALLENGE_PORT))
    report.warn(
      `${AT}/challenge`,
      `works only where port ${ALPN_CHALLENGE_PORT} of these names leads to the listener ${implicit[0]?.name}`,
      { found: "tls-alpn-01" },
    );
}

function checkHook({ dnsHook }: AcmeConfig, report: Report): void {
  if (dnsHook === undefined)
    report.error(`${AT}/challenge`, "needs dnsHook, a program that writes the record", { found: "dns-01" });
  else if (!isProgram(dnsHook[0] ?? ""))
    report.error(`${AT}/dnsHook`, "is not a program that can be run", { found: dnsHook[0] ?? "" });
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
