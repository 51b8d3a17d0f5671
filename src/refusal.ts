/**
 * Every way to say no, as one closed union. Each protocol's `replies.ts` words every kind and ends
 * `satisfies Record<Refusal["kind"], …>`, so a kind that a protocol forgot does not compile.
 *
 * A refusal is meant for two readers: the client hears only the words of its `kind`; `detail` is for the log.
 */
export interface Refusal {
  readonly kind: /** Wrong password, unknown user, forbidden authzid: all alike to the client. */
    | "badCredential"
    /** The password was right, but this account may not enter (disabled, protocol or network not allowed). */
    | "notAllowed"
    /** The password was right, but no route leads anywhere for this user. */
    | "noRoute"
    /** A backend, a source of users or a store is in trouble; the same login may work later. */
    | "unavailable"
    /** A limit says that there is nothing here for this peer or user at all, now or later. */
    | "forbidden"
    /** A limit on how many at once. */
    | "tooManySessions"
    /** A limit on how many in a time. */
    | "tooFast"
    /** The peer or the user is banned for a time. */
    | "banned"
    /** A password was offered, or asked for, before TLS. */
    | "privacyRequired"
    /** A command that needs a login first. */
    | "notSignedIn"
    /** Not what the grammar allows. */
    | "syntax"
    /** A known command in the wrong state. */
    | "order"
    | "unknownCommand"
    | "unknownMechanism"
    /** A line, a literal or a response beyond its limit. */
    | "tooLong"
    /** The client took its SASL exchange back. */
    | "cancelled"
    /** Too many bad commands; the session ends. */
    | "tooManyErrors"
    /** Not a client of this protocol at all; the session ends. */
    | "notOurProtocol"
    /** Bytes stood behind STARTTLS in clear text; the session ends. */
    | "bytesAfterStartTls"
    /** The total time before login is over; the session ends. */
    | "loginTimeout"
    /** No byte moved for too long after login; the session ends. */
    | "idle"
    /** The gateway goes away; the session ends. */
    | "shutdown"
    /** An operator ended the session. */
    | "kicked";
  /** For the log: what happened, never a secret, never raw bytes of the peer. */
  readonly detail: string;
  /** When trying again makes sense, in milliseconds from now. */
  readonly retryAfterMs?: number;
  /** What a backend said to this client itself, in the client's own protocol, as whole lines: it hears just that. */
  readonly verbatim?: string;
  /** Of a wrong credential: nobody has this name. For the policy alone; whoever is told would learn who exists. */
  readonly unknownName?: boolean;
}

/** What only mail on its way is refused for: no reason to end a session, or to try again as somebody else. */
export type EnvelopeRefusal =
  /** MAIL or RCPT with a parameter that the backend does not take: it is never left out. */
  | "parameterNotOffered"
  | "messageTooBig"
  /** A MAIL FROM or From that is not this user's. */
  | "senderNotYours"
  | "tooManyRecipients"
  /** A recipient whose mail goes to another backend than the transaction's. */
  | "otherBackend"
  /** A CR or LF by itself, which servers understand differently. */
  | "bareNewline"
  /** The backend went away with a command in its hands. */
  | "unknownFate"
  /** The backend has gone away, and the session ends. */
  | "backendGone"
  | "notImplemented"
  /** A command for trusted peers. */
  | "notTrusted";

/** Thrown by any room to end what it was asked for; caught once, in the session. */
export class Refused extends Error {
  override readonly name = "Refused";
  readonly refusal: Refusal;

  constructor(
    kind: Refusal["kind"],
    detail: string,
    more: { retryAfterMs?: number; verbatim?: string; unknownName?: boolean; cause?: unknown } = {},
  ) {
    super(`${kind}: ${detail}`, "cause" in more ? { cause: more.cause } : undefined);
    const { retryAfterMs, verbatim, unknownName } = more;
    this.refusal = {
      kind,
      detail,
      ...(retryAfterMs !== undefined && { retryAfterMs }),
      ...(verbatim !== undefined && { verbatim }),
      ...(unknownName && { unknownName }),
    };
  }
}

const FINAL: ReadonlySet<Refusal["kind"]> = new Set([
  "banned",
  "tooManyErrors",
  "notOurProtocol",
  "bytesAfterStartTls",
  "loginTimeout",
  "idle",
  "shutdown",
  "kicked",
]);

/** Whether the session ends with this refusal; after the others the client may try again. */
export function endsSession(refusal: Refusal): boolean {
  return FINAL.has(refusal.kind);
}
