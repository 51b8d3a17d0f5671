import { nameOf } from "./grammar.ts";

/**
 * What Postern answers for itself before login, whatever the backends say. UTF8 and LANG (RFC 6856) are spoken
 * before login and would have to be repeated to a backend that nobody knows yet.
 */
const OURS: ReadonlySet<string> = new Set(
  "STLS SASL USER APOP RESP-CODES AUTH-RESP-CODE IMPLEMENTATION XCLIENT XOIP UTF8 LANG".split(" "),
);

/**
 * The lines of CAPA before login: what all backends have, and what Postern does itself in the session's present
 * state. PIPELINING is theirs to promise: we keep it before login, but it holds after login too (RFC 2449 6.6).
 */
export function capabilitiesBeforeLogin(
  backends: readonly string[],
  state: { canStartTls: boolean; mechanisms: readonly string[] },
): string[] {
  const theirs = backends.filter((capability) => !OURS.has(nameOf(capability)));
  const startTls = state.canStartTls ? ["STLS"] : [];
  // RFC 2595 2.1: neither USER nor a mechanism is named where it would be refused.
  const login = state.mechanisms.length > 0 ? ["USER", `SASL ${state.mechanisms.join(" ")}`] : [];
  return [...theirs, "RESP-CODES", "AUTH-RESP-CODE", ...startTls, ...login, "IMPLEMENTATION Postern"];
}
