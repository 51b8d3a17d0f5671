import type { EnvelopeRefusal, Refusal } from "../../refusal.ts";

/** Where in the conversation the no is said: to a password, or to any other command. */
interface Words {
  readonly login: string;
  readonly command: string;
}

const both = (words: string): Words => ({ login: words, command: words });

/** What an SMTP client hears for every way to say no; RFC 5321, RFC 3463, RFC 4954. */
const REPLIES = {
  badCredential: both("535 5.7.8 Authentication failed"),
  notAllowed: both("535 5.7.8 This account may not sign in here"),
  noRoute: {
    login: "535 5.7.8 No mail server is assigned to this account; ask your administrator",
    command: "550 5.7.1 We take no mail for this address",
  },
  unavailable: {
    login: "454 4.7.0 The mail server cannot be reached now; try again later",
    command: "451 4.4.1 The mail server cannot be reached now; try again later",
  },
  // RFC 5321 3.1: 554 is also how a server greets whom it has nothing for.
  forbidden: { login: "535 5.7.8 Not allowed from here", command: "554 5.7.1 Not allowed from here" },
  tooManySessions: {
    login: "454 4.7.0 Too many sessions at once",
    command: "421 4.7.0 Too many sessions at once",
  },
  tooFast: {
    login: "454 4.7.0 Too many tries; wait before the next one",
    command: "450 4.7.1 Too much in too short a time; try again later",
  },
  banned: both("421 4.7.0 Your network or account is blocked for now; try again later"),
  mailRefused: both("554 5.7.1 This mail is not wanted"),
  privacyRequired: {
    login: "538 5.7.11 Begin TLS before you send a password",
    command: "530 5.7.0 Begin TLS first",
  },
  notSignedIn: both("530 5.7.0 Sign in first"),
  syntax: { login: "501 5.5.2 Not understood", command: "501 5.5.4 Not understood" },
  order: both("503 5.5.1 Not allowed now"),
  unknownCommand: both("500 5.5.2 Unknown command"),
  unknownMechanism: both("504 5.5.4 SASL mechanism not offered"),
  tooLong: { login: "500 5.5.6 Too long", command: "500 5.5.2 Line too long" },
  cancelled: both("501 5.5.2 Authentication cancelled"),
  tooManyErrors: both("421 4.7.0 Too many errors"),
  notOurProtocol: both("554 5.5.0 This is a mail server, and it is not your turn"),
  bytesAfterStartTls: both("554 5.5.0 Bytes behind STARTTLS"),
  loginTimeout: both("421 4.4.2 Not enough in time"),
  idle: both("421 4.4.2 Idle for too long"),
  shutdown: both("421 4.3.2 Shutting down; try again"),
  kicked: both("421 4.3.2 Ended by the administrator"),
} satisfies Record<Refusal["kind"], Words>;

/** What it hears about a message on its way. */
const ENVELOPE_REPLIES = {
  parameterNotOffered: "555 5.5.4 Parameter not offered",
  senderNotYours: "550 5.7.1 This sender address is not yours",
  messageTooBig: "552 5.3.4 Message too big",
  tooManyRecipients: "452 4.5.3 Too many recipients in one transaction",
  otherBackend: "452 4.5.3 This recipient in a transaction of its own, please",
  bareNewline: "550 5.5.2 A line of the message does not end in CRLF",
  unknownFate: "451 4.4.1 The mail server went away; try again later",
  backendGone: "421 4.4.1 The mail server went away; try again later",
  notImplemented: "502 5.5.1 Not implemented",
  notTrusted: "550 5.7.0 Not from you",
} satisfies Record<EnvelopeRefusal, string>;

/**
 * The reply line for a refusal; the session's id helps where an operator can. `final`: the session ends with it,
 * and RFC 5321 3.8 has one code for that, unless the no is for ever.
 */
export function reply(refusal: Refusal, position: keyof Words, session: string, final = false): string {
  if (refusal.verbatim !== undefined) return refusal.verbatim;
  const words: Words = REPLIES[refusal.kind];
  const hint = refusal.kind === "unavailable" ? ` (session ${session})` : "";
  const { told } = refusal;
  const text = told ? `${told.code} ${told.enhanced} ${told.text}` : words[position];
  return `${final && text.startsWith("4") ? `421${text.slice(3)}` : text}${hint}\r\n`;
}

export function envelopeReply(kind: EnvelopeRefusal): string {
  return `${ENVELOPE_REPLIES[kind]}\r\n`;
}
