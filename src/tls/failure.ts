import { ChannelClosed } from "../io/channel.ts";
import { Refused } from "../refusal.ts";
import { HandshakeEnd } from "./frontend.ts";

/** Why a handshake failed: the values of a metric's label. */
export type FailureCause =
  | "timeout"
  /** Something else than TLS came. */
  | "notTls"
  /** No version, cipher, group or signature that both sides know. */
  | "nothingShared"
  /** RFC 7301: it asked only for protocols that are not spoken here. */
  | "alpn"
  /** It had to show a certificate, and showed none or one that is not believed. */
  | "clientCertificate"
  /** The client said no: most often it does not believe our certificate. */
  | "refusedByClient"
  | "closedByClient"
  | "other";

const BY_CODE: Readonly<Record<string, FailureCause>> = {
  BAD_CLIENT_CERTIFICATE: "clientCertificate",
  ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE: "clientCertificate",
  ERR_SSL_NO_APPLICATION_PROTOCOL: "alpn",
  ERR_SSL_HTTP_REQUEST: "notTls",
  ERR_SSL_HTTPS_PROXY_REQUEST: "notTls",
  ERR_SSL_WRONG_VERSION_NUMBER: "notTls",
  ERR_SSL_UNKNOWN_PROTOCOL: "notTls",
  ERR_SSL_PACKET_LENGTH_TOO_LONG: "notTls",
  ERR_SSL_RECORD_LAYER_FAILURE: "notTls",
  ERR_SSL_UNSUPPORTED_PROTOCOL: "nothingShared",
  ERR_SSL_VERSION_TOO_LOW: "nothingShared",
  ERR_SSL_NO_SHARED_CIPHER: "nothingShared",
  ERR_SSL_NO_SHARED_GROUP: "nothingShared",
  ERR_SSL_NO_SUITABLE_KEY_SHARE: "nothingShared",
  ERR_SSL_NO_SUITABLE_SIGNATURE_ALGORITHM: "nothingShared",
  ERR_SSL_NO_SHARED_SIGNATURE_ALGORITHMS: "nothingShared",
  ERR_SSL_INAPPROPRIATE_FALLBACK: "nothingShared",
  ECONNRESET: "closedByClient",
  EPIPE: "closedByClient",
};

/** Sorts what ended a handshake; undefined when it did what it was for. */
export function failureCause(error: unknown): FailureCause | undefined {
  if (error instanceof Refused) return error.refusal.kind === "loginTimeout" ? "timeout" : "other";
  const cause = error instanceof ChannelClosed ? error.cause : error;
  if (cause === undefined || cause instanceof ChannelClosed) return "closedByClient";
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : "";
  if (cause instanceof HandshakeEnd && code === "ACME_CHALLENGE") return undefined;
  if (/ALERT/.test(code)) return "refusedByClient";
  return Object.hasOwn(BY_CODE, code) ? BY_CODE[code] : "other";
}
