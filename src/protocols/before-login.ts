import { type Refusal, Refused } from "../refusal.ts";
import type { Credential } from "../sasl/credential.ts";
import { MAX_RESPONSE_LINE, runExchange } from "../sasl/exchange.ts";
import type { Session } from "../session/session.ts";

/** Whether a password would cross the network in clear where that is not wanted. */
export function needsPrivacy(session: Session): boolean {
  return session.frontend.requireTls && !session.channel.encrypted;
}

/** Whether STARTTLS can be offered in the session's present state. */
export function canStartTls(session: Session): boolean {
  return session.frontend.tls !== undefined && !session.channel.encrypted;
}

/**
 * STARTTLS or STLS, once its grammar is checked: `ready` is the line that tells the client to begin. Bytes that
 * came in clear behind the command end the session (RFC 9051 6.2.1, RFC 3207 4.2, RFC 2595 4).
 */
export async function beginTls(session: Session, ready: string): Promise<"next" | Refusal> {
  if (!session.frontend.tls) return { kind: "order", detail: "STARTTLS without a certificate" };
  if (session.channel.pending > 0)
    throw new Refused("bytesAfterStartTls", "bytes behind STARTTLS in clear text");
  await session.channel.write(ready);
  await session.startTls();
  return "next";
}

/**
 * A SASL exchange in lines of base64, each challenge behind `prompt`: IMAP and POP3 say "+ ", SMTP "334 ".
 * `initial` is the initial response as it came, "=" for an empty one.
 */
export async function authenticateByLines(
  session: Session,
  prompt: string,
  mechanism: string,
  initial: string | undefined,
): Promise<Credential | Refusal> {
  if (needsPrivacy(session)) return { kind: "privacyRequired", detail: `${mechanism} before TLS` };
  return runExchange(
    session.mechanisms,
    mechanism.toUpperCase(),
    initial,
    async (challenge) => {
      await session.channel.write(`${prompt}${challenge}\r\n`);
      return (await session.channel.readLine(MAX_RESPONSE_LINE)).toString("latin1");
    },
    session,
  );
}

export function isCredential(outcome: Credential | Refusal): outcome is Credential {
  return "authcid" in outcome;
}
