import type { Refusal } from "../../refusal.ts";

interface Words {
  /** NO and BAD go to the command that asked, BYE ends the session. */
  readonly condition: "NO" | "BAD" | "BYE";
  /** RFC 5530 response code. */
  readonly code?: string;
  readonly text: string;
}

/** What an IMAP client hears for every way to say no. */
const REPLIES = {
  badCredential: { condition: "NO", code: "AUTHENTICATIONFAILED", text: "Authentication failed" },
  notAllowed: { condition: "NO", code: "AUTHORIZATIONFAILED", text: "This account may not sign in here" },
  noRoute: {
    condition: "NO",
    code: "AUTHORIZATIONFAILED",
    text: "No mail server is assigned to this account; ask your administrator",
  },
  unavailable: {
    condition: "NO",
    code: "UNAVAILABLE",
    text: "The mail server cannot be reached now; try again later",
  },
  forbidden: { condition: "NO", code: "AUTHORIZATIONFAILED", text: "Not allowed from here" },
  tooManySessions: { condition: "NO", code: "LIMIT", text: "Too many sessions at once" },
  tooFast: { condition: "NO", code: "LIMIT", text: "Too many tries; wait before the next one" },
  banned: { condition: "BYE", text: "Your network or account is blocked for now; try again later" },
  mailRefused: { condition: "NO", code: "CANNOT", text: "This mail is not wanted" },
  privacyRequired: { condition: "NO", code: "PRIVACYREQUIRED", text: "Begin TLS before you send a password" },
  notSignedIn: { condition: "BAD", text: "Sign in first" },
  syntax: { condition: "BAD", text: "Command not understood" },
  order: { condition: "BAD", text: "Not allowed now" },
  unknownCommand: { condition: "BAD", text: "Unknown command" },
  unknownMechanism: { condition: "NO", code: "CANNOT", text: "SASL mechanism not offered" },
  tooLong: { condition: "BAD", code: "TOOBIG", text: "Too long" },
  cancelled: { condition: "BAD", text: "Authentication cancelled" },
  tooManyErrors: { condition: "BYE", text: "Too many errors" },
  notOurProtocol: { condition: "BYE", text: "This is an IMAP server" },
  bytesAfterStartTls: { condition: "BYE", text: "Bytes behind STARTTLS" },
  loginTimeout: { condition: "BYE", text: "No login in time" },
  idle: { condition: "BYE", text: "Idle for too long" },
  shutdown: { condition: "BYE", text: "Shutting down; connect again" },
  kicked: { condition: "BYE", text: "Ended by the administrator" },
} satisfies Record<Refusal["kind"], Words>;

/**
 * The reply line for a refusal. `tag` answers a command; without one the answer is untagged. `final` makes it
 * the BYE that RFC 9051 7.1.5 wants before a server closes. The session's id helps only where an operator can:
 * a failed login reads the same every time.
 */
export function reply(refusal: Refusal, tag: string | undefined, final: boolean, session: string): string {
  const words: Words = REPLIES[refusal.kind];
  const said = `${words.code ? `[${words.code}] ` : ""}${words.text}`;
  const hint = refusal.kind === "unavailable" ? ` (session ${session})` : "";
  const bye = final || words.condition === "BYE";
  return `${bye ? "* BYE" : `${tag ?? "*"} ${words.condition}`} ${said}${hint}\r\n`;
}
