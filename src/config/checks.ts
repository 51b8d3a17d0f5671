import { isEverywhere, isLoopback, leadsTo, overlaps } from "./addresses.ts";
import { checkAuthorities, checkCertificatePair } from "./certificate-files.ts";
import { type Entry, entriesOf } from "./entries.ts";
import { readTextFile } from "./files.ts";
import { checkGeo } from "./geo-checks.ts";
import { checkLimit } from "./limit-checks.ts";
import { checkRedis } from "./redis-checks.ts";
import type { Report } from "./report.ts";
import type { BackendConfig, Config, ListenerConfig, SourceConfig } from "./schema.ts";
import { checkClientCertificates, checkTls } from "./tls-checks.ts";

const MAX_USERS_BYTES = 256 * 1024 * 1024;

/**
 * Checks what no schema can: names that must exist or be unique, files, and settings that contradict each other.
 * Parts that the report already calls broken are passed over, so `config` may be wrong there.
 */
export function checkAcross(config: Config, report: Report): void {
  const listeners = entriesOf(config.listeners, "/listeners", report);
  const backends = entriesOf(config.backends, "/backends", report);
  checkListeners(listeners, report);
  checkTls(config, listeners, report);
  checkClientCertificates(config, { listeners, backends }, report);
  checkSources(config, report);
  for (const backend of backends) checkBackend(backend, listeners, report);
  checkRoutes(config, report);
  checkPolicy(config, report);
  checkGeo(config, report);
  checkRedis(config, report);
  checkAdmin(config, listeners, report);
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
    checkTrustedProxies({ pointer, value }, report);
  }
}

/** Whoever is believed about addresses can put any name to a guess, and be out of every limit. */
function checkTrustedProxies({ pointer, value }: Entry<ListenerConfig>, report: Report): void {
  for (const key of ["proxyProtocol", "xclient"] as const) {
    const { from = [], insecureFromAnywhere } = value[key] ?? {};
    const everywhere = from.findIndex(isEverywhere);
    if (everywhere < 0) continue;
    const found = { found: from[everywhere] ?? "" };
    const at = `${pointer}/${key}/from/${everywhere}`;
    if (insecureFromAnywhere) report.warn(at, "believes anybody who says for whom he speaks", found);
    else
      report.error(at, "would believe anybody who says for whom he speaks", {
        ...found,
        valid: "the proxies' own networks, or insecureFromAnywhere: true beside it",
      });
  }
  if (value.xclient && value.protocol !== "smtp" && value.protocol !== "submission")
    report.error(`${pointer}/xclient`, `means nothing to ${value.protocol}`, {
      valid: "xclient at listeners of smtp and submission; proxyProtocol at all of them",
    });
}

function warnOfClearText({ pointer, value }: Entry<ListenerConfig>, report: Report): void {
  if (value.requireTls) return;
  const message =
    value.tls === "implicit"
      ? "does nothing here: implicit TLS is always on"
      : "lets passwords cross the network in clear text";
  report.warn(`${pointer}/requireTls`, message, { found: "false" });
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
  checkLogin(backend, report);
  checkIdentity(backend, report);
  const { pointer, value } = backend;
  if (isLoopback(value.host)) return;
  for (const [name, endpoint] of Object.entries(value.protocols)) {
    if (endpoint.tls !== "none") continue;
    const place = value.tls === "none" ? `${pointer}/tls` : `${pointer}/protocols/${name}/tls`;
    report.warn(place, "sends passwords and mail over the network in clear text", { found: "none" });
  }
}

/** Protocols that nobody enters without signing in at the backend itself. */
const ENTERED: ReadonlySet<string> = new Set(["imap", "pop3", "sieve"]);

function checkLogin({ pointer, value: { login, protocols } }: Entry<BackendConfig>, report: Report): void {
  const entered = Object.keys(protocols).filter((name) => ENTERED.has(name));
  if (login === "none" && entered.length > 0)
    report.error(
      `${pointer}/login`,
      `cannot be none: nobody reads mail by ${entered.join(", ")} without signing in`,
      {
        found: "none",
        valid: "passthrough, { master: … }, or a backend of its own for submission",
      },
    );
}

/** Which ways each protocol has, beside those that work for all. */
function checkIdentity({ pointer, value }: Entry<BackendConfig>, report: Report): void {
  for (const [name, { identity }] of Object.entries(value.protocols)) {
    const wrong = name === "imap" ? identity === "xclient" : identity === "id";
    if (!wrong) continue;
    const place =
      identity === value.identity ? `${pointer}/identity` : `${pointer}/protocols/${name}/identity`;
    report.error(place, `is nothing that ${name} has`, {
      found: identity,
      valid: `auto, none, proxy-v1, proxy-v2, ${name === "imap" ? "id" : "xclient"}, also as ${name}: { port, identity }`,
    });
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
    checkCertificatePair({ cert: trust.cert, key: trust.key }, at, report);
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
