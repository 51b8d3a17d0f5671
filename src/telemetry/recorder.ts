import type { LiveSessions } from "../session/live-sessions.ts";
import type { Observer } from "../session/run-session.ts";
import type { Session, Stage } from "../session/session.ts";
import { printable } from "../wire/printable.ts";
import type { Logger } from "./logger.ts";
import type { Metrics } from "./metrics.ts";
import { createHeaderReports, type HeaderReports } from "./proxy-headers.ts";

/** A login was tried when the session had come this far. */
const AFTER_CREDENTIAL: ReadonlySet<Stage> = new Set([
  "authenticating",
  "routing",
  "connecting",
  "signingIn",
]);

/** Names that a client chose stand in reasons, too: of limits and of backends that repeat them. */
const REASON = 1_000;

/** Where a client is, as far as anybody looks. */
interface Place {
  readonly country?: string;
  readonly asn?: string;
}

/** Hears what sessions do, and tells Prometheus and the log: one account record a session, as it closes. */
export function createRecorder(
  log: Logger,
  metrics: Metrics,
  live: LiveSessions,
  headers: HeaderReports = createHeaderReports(log, metrics),
  place: (session: Session) => Place = () => ({}),
): Observer & { opened(session: Session): void } {
  const told = new WeakMap<Session, Set<string>>();
  /** A second no of the same kind says nothing new of a session, and a client can have as many as he likes. */
  const levelOf = (session: Session, kind: string): "info" | "debug" => {
    const kinds = told.get(session);
    if (kinds?.has(kind)) return "debug";
    if (kinds) kinds.add(kind);
    else told.set(session, new Set([kind]));
    return "info";
  };
  return {
    opened(session) {
      live.add(session);
      metrics.connections.inc({ listener: session.frontend.listener });
    },
    refused(session, { refusal, cause }) {
      metrics.refusals.inc({ kind: refusal.kind });
      if (session.user !== undefined && AFTER_CREDENTIAL.has(session.stage)) {
        metrics.logins.inc({ listener: session.frontend.listener, outcome: refusal.kind });
      }
      session.outcome = refusal.kind;
      session.refusals += 1;
      const level = levelOf(session, refusal.kind);
      log[refusal.kind === "unavailable" ? "warn" : level](
        {
          ...who(session),
          kind: refusal.kind,
          reason: printable(refusal.detail, REASON),
          ...(cause instanceof Error && "code" in cause && { code: cause.code }),
        },
        "refused",
      );
    },
    loggedIn(session) {
      metrics.logins.inc({ listener: session.frontend.listener, outcome: "ok" });
    },
    failed(session, error) {
      metrics.failures.inc();
      log.error({ ...who(session), err: error }, "a fault of the gateway ended this session");
    },
    refusedMail(session, kind, detail) {
      metrics.refusals.inc({ kind });
      session.refusals += 1;
      log[levelOf(session, kind)]({ ...who(session), kind, reason: printable(detail, REASON) }, "refused");
    },
    delivered(session, accepted) {
      if (accepted) session.messages += 1;
      const outcome = accepted === undefined ? "unknown" : accepted ? "accepted" : "refused";
      metrics.messages.inc({ listener: session.frontend.listener, outcome });
    },
    observed(session, what, details) {
      metrics.wouldRefuse.inc({ limit: what });
      const shown = Object.entries(details).map(([name, value]) => [name, printable(value)]);
      log.info({ ...who(session), what, ...Object.fromEntries(shown) }, "would have been refused");
    },
    strayHeader(session) {
      session.outcome = "strayHeader";
      const { listener } = session.frontend;
      const { address, via } = session.peer;
      headers(listener, via ? "second" : "stray", via?.address ?? address);
    },
    closed(session, reason) {
      live.delete(session);
      const bytes = session.bytes;
      metrics.keepBytes(session.frontend.listener, bytes);
      for (const [stage, ms] of Object.entries(session.stages)) {
        if (stage !== "relaying") metrics.stages.observe({ stage }, ms / 1000);
      }
      log[saysNothing(session) ? "debug" : "info"](
        account(session, place(session), reason, bytes),
        "session",
      );
    },
  };
}

/** A proxy that looks whether we are there, every few seconds, is counted as a connection and fills no log. */
function saysNothing({ peer, outcome, refusals }: Session): boolean {
  return peer.proxy !== undefined && outcome === "none" && refusals === 0;
}

function who(session: Session): Record<string, unknown> {
  return {
    id: session.id,
    listener: session.frontend.listener,
    peer: session.peer.address,
    ...(session.peer.via && { via: session.peer.via.address }),
    ...(session.user !== undefined && { user: printable(session.user) }),
    ...(session.backend !== undefined && { backend: session.backend }),
  };
}

/** What a client's certificate said, and whether that was believed. */
function certificate(session: Session): Record<string, unknown> {
  const client = session.channel.tls?.client;
  if (!client) return {};
  const name = printable(client.commonName ?? client.names[0] ?? "");
  return {
    clientCertificate: { name, verified: client.verified, ...(client.fault && { fault: client.fault }) },
  };
}

function account(
  session: Session,
  place: Place,
  reason: string,
  bytes: { in: number; out: number },
): Record<string, unknown> {
  const stages = Object.entries(session.stages).map(([stage, ms]) => [stage, Math.round(ms * 10) / 10]);
  return {
    ...who(session),
    ...place,
    protocol: session.protocol.name,
    tls: session.channel.tls?.version ?? "none",
    ...certificate(session),
    outcome: session.outcome,
    reason,
    refusals: session.refusals,
    ...(session.messages > 0 && { messages: session.messages }),
    durations: Object.fromEntries(stages),
    durationMs: Math.round(performance.now() - session.startedAt),
    bytes,
  };
}
