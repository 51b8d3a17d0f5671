/**
 * What Postern answers for itself before login, whatever the backends say: its own SASL and TLS, and ID.
 * LOGIN-REFERRALS and UNAUTHENTICATE (RFC 8437) cannot be passed on: both lead past this door.
 */
const OURS = /^(?:AUTH=.*|SASL-IR|STARTTLS|LOGINDISABLED|ID|LOGIN-REFERRALS|UNAUTHENTICATE)$/;
const NEVER = /^(?:UNAUTHENTICATE|STARTTLS|LOGINDISABLED)$/;

/** Before login: what all backends have, and what Postern does itself in the session's present state. */
export function capabilitiesBeforeLogin(
  backends: readonly string[],
  state: { encrypted: boolean; canStartTls: boolean; requireTls: boolean; mechanisms: readonly string[] },
): string[] {
  const theirs = backends.filter((capability) => !OURS.test(capability));
  const known = theirs.some((capability) => capability.startsWith("IMAP4REV"))
    ? theirs
    : ["IMAP4REV1", ...theirs];
  const startTls = !state.encrypted && state.canStartTls ? ["STARTTLS"] : [];
  // RFC 9051 6.2.3: LOGINDISABLED where LOGIN would be refused; the mechanisms wait for TLS with it.
  const login =
    state.encrypted || !state.requireTls ? state.mechanisms.map((name) => `AUTH=${name}`) : ["LOGINDISABLED"];
  return [...known.map(spell), "SASL-IR", "ID", ...startTls, ...login];
}

/** After login: the backend's own, less what would lead past this door. */
export function capabilitiesAfterLogin(backend: readonly string[]): string[] {
  return backend.filter((capability) => !NEVER.test(capability)).map(spell);
}

/** The RFCs spell these two so, and some clients compare letter by letter. */
function spell(capability: string): string {
  return capability.replace(/^IMAP4REV/, "IMAP4rev");
}
