import type { X509Certificate } from "node:crypto";
import type { TLSSocket } from "node:tls";
import type { ClientFacts } from "../io/channel.ts";
import { altNames, commonName } from "./alt-names.ts";

/** Which of a certificate's names is its client's: SASL EXTERNAL takes it. */
export type ClientName = "email" | "dns" | "commonName";

/**
 * The certificate that the client of a finished handshake showed, in this one or in the one that it resumes.
 *
 * Node fills in `authorized` only for sockets that a `tls.Server` made, and a server gives its sockets away when the
 * handshake is over: too late for a deadline and for bytes that are counted. What it asks then is asked here. Its
 * answer means nothing without a certificate (a resumed TLS 1.3 session of a client that had none is "good" to it).
 */
export function clientFacts(socket: TLSSocket, kind: ClientName, now = Date.now()): ClientFacts | undefined {
  const certificate = socket.getPeerX509Certificate();
  if (!certificate) return undefined;
  const common = commonName(certificate);
  const fault = faultOf(socket) ?? faultOfDates(certificate, now);
  return {
    verified: fault === undefined,
    ...(fault !== undefined && { fault }),
    ...(common !== undefined && { commonName: common }),
    names: namesOf(certificate, kind, common),
  };
}

function faultOf(socket: TLSSocket): string | undefined {
  const { _handle } = socket as { _handle?: { verifyError?: () => (Error & { code?: string }) | null } };
  const error = _handle?.verifyError?.();
  // Only this very answer is a yes.
  return error === null ? undefined : (error?.code ?? "UNKNOWN");
}

/** A resumed session was verified when it began; meanwhile the certificate may have run out. */
function faultOfDates({ validFromDate, validToDate }: X509Certificate, now: number): string | undefined {
  if (now < validFromDate.getTime()) return "CERT_NOT_YET_VALID";
  return now > validToDate.getTime() ? "CERT_HAS_EXPIRED" : undefined;
}

function namesOf(certificate: X509Certificate, kind: ClientName, common: string | undefined): string[] {
  switch (kind) {
    case "email":
      return altNames(certificate, "email");
    case "dns":
      return altNames(certificate, "DNS");
    case "commonName":
      return common === undefined ? [] : [common];
  }
}
