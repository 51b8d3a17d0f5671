/**
 * What Postern answers for itself before login, whatever the backends say: its own SASL and TLS, and ID.
 * LOGIN-REFERRALS and UNAUTHENTICATE (RFC 8437) cannot be passed on: both lead past this door.
 */
const OURS = /^(?:AUTH=.*|SASL-IR|STARTTLS|LOGINDISABLED|ID|LOGIN-REFERRALS|UNAUTHENTICATE)$/i;
const NEVER = /^(?:UNAUTHENTICATE|STARTTLS|LOGINDISABLED)$/i;

/** Before login: what all backends have, and what Postern does itself in the session's present state. */
export function capabilitiesBeforeLogin(
  backends: readonly string[],
  state: { canStartTls: boolean; mechanisms: readonly string[] },
): string[] {
  const theirs = backends.filter((capability) => !OURS.test(capability));
  const known = theirs.some((capability) => /^IMAP4rev/i.test(capability))
    ? theirs
    : ["IMAP4rev1", ...theirs];
  const startTls = state.canStartTls ? ["STARTTLS"] : [];
  // RFC 9051 6.2.3: LOGINDISABLED where LOGIN would be refused; the mechanisms wait for TLS with it.
  const login =
    state.mechanisms.length > 0 ? state.mechanisms.map((name) => `AUTH=${name}`) : ["LOGINDISABLED"];
  return [...known, "SASL-IR", "ID", ...startTls, ...login];
}

/** After login: the backend's own, less what would lead past this door. */
export function capabilitiesAfterLogin(backend: readonly string[]): string[] {
  return backend.filter((capability) => !NEVER.test(capability));
}
