import { randomBytes } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { type AcmeConfig, type Config, HTTP_CHALLENGE_PORT } from "../config/schema.ts";
import type { Sharing } from "../redis/sharing.ts";
import { StartError } from "../supervisor/start-error.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { SupervisorMetrics } from "../telemetry/supervisor-metrics.ts";
import { openAcme } from "../tls/acme/open.ts";
import type { Acme, AcmeObserver } from "../tls/acme/renewer.ts";
import { CertificateStore } from "../tls/certificate-store.ts";
import { CommonTls } from "../tls/common.ts";
import type { KeyPair } from "../tls/key-pair.ts";
import { selfSigned } from "../tls/self-signed.ts";
import { TicketSecret } from "../tls/tickets.ts";

/** What one process does for all of them: the secret behind tickets, certificates by ACME, one for trying out. */
export interface TlsOwner extends AsyncDisposable {
  readonly common: CommonTls;
  /** From now on certificates are ordered: the listeners can answer the authority. */
  renew(): Promise<void>;
  /** Orders nothing, and holds no port, until `renew`. */
  pause(): Promise<void>;
  /** Takes another configuration. */
  change(config: Config): Promise<void>;
}

/** Throws StartError when a port, a file or the folder cannot be had. */
export async function ownTls(
  config: Config,
  log: Logger,
  metrics: SupervisorMetrics,
  sharing: Sharing | undefined,
): Promise<TlsOwner> {
  const secret = randomBytes(32);
  // Where several gateways have one secret, it is renewed among them.
  const tickets = new TicketSecret({ secret, ...(sharing && { rotateMs: 0 }) });
  const common = new CommonTls({ tickets: secret, acme: [], own: [], challenges: {} });
  tickets.onChange((next) => common.change({ tickets: next }));
  const shared = await sharing?.tickets((next) => tickets.adopt(next));
  let current = config;
  let acme: Acme | undefined;
  const open = async (): Promise<void> => {
    await makeOwn(current, common);
    acme = await startAcme(current, common, log, metrics, sharing);
  };
  const pause = async (): Promise<void> => {
    const paused = acme;
    acme = undefined;
    await paused?.[Symbol.asyncDispose]();
  };
  const renew = async (): Promise<void> => {
    if (!acme) await open();
    acme?.renew();
  };
  await open();
  return {
    common,
    renew,
    pause,
    async change(next) {
      const before = current;
      current = next;
      if (isDeepStrictEqual(before.tls, next.tls) && before.dataDir === next.dataDir) return;
      await pause();
      if (!next.tls.acme) common.change({ acme: [] });
      await renew().catch((error: Error) => log.error({ problem: error.message }, "no certificates by ACME"));
    },
    async [Symbol.asyncDispose]() {
      await pause();
      shared?.[Symbol.dispose]();
      tickets[Symbol.dispose]();
    },
  };
}

/** The certificate for trying out, while one is wanted. */
async function makeOwn({ hostname, tls }: Config, common: CommonTls): Promise<void> {
  if (!tls.selfSigned) return common.change({ own: [] });
  if (common.state.own.length > 0) return;
  common.change({ own: [await selfSigned([hostname, "localhost", "127.0.0.1", "::1"])] });
}

/** Certificates by ACME; ordered from `renew` on. */
async function startAcme(
  { tls: { acme, certificates, selfSigned: own, profile }, dataDir }: Config,
  common: CommonTls,
  log: Logger,
  metrics: SupervisorMetrics,
  sharing: Sharing | undefined,
): Promise<Acme | undefined> {
  if (!acme) return undefined;
  const settings = { httpPort: HTTP_CHALLENGE_PORT, ...acme };
  const isAlone = certificates.length === 0 && !own;
  const touchstone = new CertificateStore(new TicketSecret({ rotateMs: 0 }), { profile });
  return openAcme(settings, {
    dataDir,
    answers: common,
    use(pair: KeyPair) {
      // What OpenSSL does not take is no certificate for anybody.
      touchstone.setPairs("acme", [pair]);
      common.change({ acme: [pair], ...(isAlone && { own: [] }) });
    },
    showTemporary: isAlone ? async () => common.change({ own: [await selfSigned(acme.domains)] }) : undefined,
    observer: watchAcme(acme, log, metrics),
    hookSaid: (line) => log.info({ line }, "dnsHook says"),
    sharing,
  }).catch((error: Error) => {
    throw new StartError(`tls.acme: ${error.message}`);
  });
}

function watchAcme({ domains }: AcmeConfig, log: Logger, metrics: SupervisorMetrics): AcmeObserver {
  return {
    inUse(certificate) {
      const temporary = "no certificate by ACME yet: clients see a temporary one that nobody trusts";
      if (!certificate) return log.warn({ domains }, temporary);
      const isOver = certificate.validTo < Date.now();
      const until = new Date(certificate.validTo);
      log[isOver ? "warn" : "info"]({ domains, until }, "certificate by ACME in use");
    },
    brokenFile: (error) => log.error({ reason: error.message }, "the file of the ACME certificate is broken"),
    ordered(failure) {
      metrics.acmeOrders.inc({ outcome: failure ? "failed" : "ok" });
      if (!failure) return metrics.acmeFailures.set(0);
      metrics.acmeFailures.inc();
      const { reason, nextTry, news } = failure;
      log[news ? "error" : "debug"](
        { domains, reason, nextTry: new Date(nextTry) },
        "no certificate by ACME",
      );
    },
  };
}
