import { isLoopback, leadsTo, overlaps } from "./addresses.ts";
import { checkAuthorities, checkCertificatePair } from "./certificate-files.ts";
import { childPointer } from "./document.ts";
import { readTextFile } from "./files.ts";
import { checkLimit } from "./limit-checks.ts";
import type { Report } from "./report.ts";
import type { BackendConfig, Config, ListenerConfig, SourceConfig } from "./schema.ts";

const MAX_USERS_BYTES = 256 * 1024 * 1024;

interface Entry<Value> {
  readonly pointer: string;
  readonly value: Value;
}

/**
 * Checks what no schema can: names that must exist or be unique, files, and settings that contradict each other.
 * Parts that the report already calls broken are passed over, so `config` may be wrong there.
 */
export function checkAcross(config: Config, report: Report): void {
  const listeners = entriesOf(config.listeners, "/listeners", report);
  const backends = entriesOf(config.backends, "/backends", report);
  checkListeners(listeners, report);
  checkTls(config, listeners, report);
  checkSources(config, report);
  for (const backend of backends) checkBackend(backend, listeners, report);
  checkRoutes(config, report);
  checkPolicy(config, report);
  checkAdmin(config, listeners, report);
}

/** The members of a list or record that can be relied on. */
function entriesOf<Value>(
  members: readonly Value[] | Readonly<Record<string, Value>> | undefined,
  parent: string,
  report: Report,
): Entry<Value>[] {
  if (typeof members !== "object" || members === null) return [];
  return Object.entries(members)
    .map(([name, value]) => ({ pointer: childPointer(parent, name), value }))
    .filter(({ pointer }) => report.whole(pointer));
}

function checkListeners(listeners: readonly Entry<ListenerConfig>[], report: Report): void {
  for (const [index, { pointer, value }] of listeners.entries()) {
    const earlier = listeners.slice(0, index);
    const inTheWay = earlier.find((other) => overlaps(other.value, value));
    const namesake = earlier.find((other) => other.value.name === value.name);
    if (inTheWay !== undefined)
      report.error(`${pointer}/port`, `is taken by the listener ${inTheWay.value.name}`, {
        found: String(value.port),
      });
    else if (namesake !== undefined)
      report.error(`${pointer}/name`, "is the name of an earlier listener too", {
        found: value.name,
        valid: "a name of its own",
      });
    warnOfClearText({ pointer, value }, report);
  }
}

function warnOfClearText({ pointer, value }: Entry<ListenerConfig>, report: Report): void {
  if (value.requireTls) return;
  const message =
    value.tls === "implicit"
      ? "does nothing here: implicit TLS is always on"
      : "lets passwords cross the network in clear text";
  report.warn(`${pointer}/requireTls`, message, { found: "false" });
}

function checkTls(config: Config, listeners: readonly Entry<ListenerConfig>[], report: Report): void {
  if (report.whole("/tls")) checkCertificates(config, report);
  if (!report.whole("/tls") || !report.whole("/listeners")) return;
  if (config.tls.certificates.length > 0 || config.tls.selfSigned) return;
  const needed = listeners.some(({ value }) => value.tls === "implicit" || value.requireTls);
  if (needed)
    report.error("/tls", "has no certificate, and there are listeners that need one", {
      valid: "certificates: [{ cert: PATH, key: PATH }], or selfSigned: true",
    });
  else report.warn("/tls", "has no certificate, so no client can use TLS");
}

function checkCertificates({ tls }: Config, report: Report): void {
  for (const [index, { cert, key }] of tls.certificates.entries())
    checkCertificatePair(cert, key, `/tls/certificates/${index}`, report);
}

function checkSources(config: Config, report: Report): void {
  for (const source of entriesOf(config.authentication?.sources, "/authentication/sources", report))
    checkSource(source, report);
}

function checkSource({ pointer, value }: Entry<SourceConfig>, report: Report): void {
  const users = readTextFile(value.path, MAX_USERS_BYTES);
  if (!users.ok) report.error(`${pointer}/path`, `cannot be read: ${users.reason}`, { found: value.path });
}

function checkBackend(
  backend: Entry<BackendConfig>,
  listeners: readonly Entry<ListenerConfig>[],
  report: Report,
): void {
  checkTrust(backend, report);
  checkLoop(backend, listeners, report);
  const { pointer, value } = backend;
  if (isLoopback(value.host)) return;
  for (const [name, endpoint] of Object.entries(value.protocols)) {
    if (endpoint.tls !== "none") continue;
    const place = value.tls === "none" ? `${pointer}/tls` : `${pointer}/protocols/${name}/tls`;
    report.warn(place, "sends passwords and mail over the network in clear text", { found: "none" });
  }
}

function checkTrust({ pointer, value: { trust } }: Entry<BackendConfig>, report: Report): void {
  const at = `${pointer}/trust`;
  if (trust.insecure)
    report.warn(
      `${at}/insecure`,
      "believes any certificate: whoever is in between can read passwords and mail",
      {
        found: "true",
      },
    );
  if (trust.ca !== undefined) checkAuthorities(trust.ca, `${at}/ca`, report);
  if (trust.cert !== undefined && trust.key !== undefined)
    checkCertificatePair(trust.cert, trust.key, at, report);
  else if (trust.cert !== undefined) report.error(`${at}/key`, "is missing: cert and key go together");
  else if (trust.key !== undefined) report.error(`${at}/cert`, "is missing: cert and key go together");
}

function checkLoop(
  { pointer, value }: Entry<BackendConfig>,
  listeners: readonly Entry<ListenerConfig>[],
  report: Report,
): void {
  for (const [protocol, { port }] of Object.entries(value.protocols)) {
    const own = listeners.find((listener) => leadsTo(value.host, port, listener.value));
    if (own === undefined) continue;
    const message = `leads back to Postern's own listener ${own.value.name}`;
    report.error(`${pointer}/protocols/${protocol}`, message, { found: `${value.host} port ${port}` });
  }
}

function checkRoutes(config: Config, report: Report): void {
  const backends = Object.keys(Object(config.backends));
  const routes = entriesOf(config.routes, "/routes", report);
  for (const { pointer, value } of routes)
    if (backends.length > 0 && !backends.includes(value.to))
      report.error(`${pointer}/to`, "is not the name of a backend", {
        found: value.to,
        valid: backends.join(", "),
      });
  const last = routes.findIndex(({ value }) => Object.keys(value.match).length === 0);
  for (const { pointer } of last < 0 ? [] : routes.slice(last + 1))
    report.warn(pointer, "is never reached: a route above it fits everyone");
}

function checkPolicy(config: Config, report: Report): void {
  for (const { pointer, value } of entriesOf(config.policy?.exempt, "/policy/exempt", report))
    if (value.endsWith("/0")) report.warn(pointer, "switches the policy off for everyone", { found: value });
  const limits = entriesOf(config.policy?.limits, "/policy/limits", report);
  for (const [index, limit] of limits.entries()) {
    checkLimit(limit, config, report);
    const { name } = limit.value;
    if (limits.slice(0, index).some((other) => other.value.name === name))
      report.error(`${limit.pointer}/name`, "is the name of an earlier limit too", {
        found: name,
        valid: "a name of its own",
      });
  }
}

function checkAdmin({ admin }: Config, listeners: readonly Entry<ListenerConfig>[], report: Report): void {
  if (!report.whole("/admin")) return;
  const inTheWay = listeners.find(({ value }) => overlaps(value, admin));
  if (inTheWay !== undefined)
    report.error("/admin/port", `is taken by the listener ${inTheWay.value.name}`, {
      found: String(admin.port),
    });
  if (admin.token === undefined && !isLoopback(admin.host))
    report.error("/admin/host", "lets everyone in: an address that is not loopback needs admin.token", {
      found: admin.host,
      valid: "a loopback address such as 127.0.0.1, or a token",
    });
}
