import type { Refusal } from "../../refusal.ts";

interface Words {
  /** NO goes to the command that asked, BYE ends the session. */
  readonly condition: "NO" | "BYE";
  /** RFC 5804 1.3 response code. */
  readonly code?: "TRYLATER" | "ENCRYPT-NEEDED";
  readonly text: string;
}

/** What a ManageSieve client hears for every way to say no. */
const REPLIES = {
  badCredential: { condition: "NO", text: "Authentication failed" },
  notAllowed: { condition: "NO", text: "This account may not sign in here" },
  noRoute: {
    condition: "NO",
    text: "No mail server is assigned to this account; ask your administrator",
  },
  unavailable: {
    condition: "NO",
    code: "TRYLATER",
    text: "The mail server cannot be reached now; try again later",
  },
  forbidden: { condition: "NO", text: "Not allowed from here" },
  tooManySessions: { condition: "NO", code: "TRYLATER", text: "Too many sessions at once" },
  tooFast: { condition: "NO", code: "TRYLATER", text: "Too many tries; wait before the next one" },
  banned: {
    condition: "BYE",
    code: "TRYLATER",
    text: "Your network or account is blocked for now; try again later",
  },
  mailRefused: { condition: "NO", text: "This mail is not wanted" },
  privacyRequired: { condition: "NO", code: "ENCRYPT-NEEDED", text: "Begin TLS before you send a password" },
  notSignedIn: { condition: "NO", text: "Sign in first" },
  syntax: { condition: "NO", text: "Command not understood" },
  order: { condition: "NO", text: "Not allowed now" },
  unknownCommand: { condition: "NO", text: "Unknown command" },
  unknownMechanism: { condition: "NO", text: "SASL mechanism not offered" },
  tooLong: { condition: "NO", text: "Too long" },
  cancelled: { condition: "NO", text: "Authentication cancelled" },
  tooManyErrors: { condition: "BYE", text: "Too many errors" },
  notOurProtocol: { condition: "BYE", text: "This is a ManageSieve server" },
  bytesAfterStartTls: { condition: "BYE", text: "Bytes behind STARTTLS" },
  loginTimeout: { condition: "BYE", text: "No login in time" },
  idle: { condition: "BYE", text: "Idle for too long" },
  shutdown: { condition: "BYE", code: "TRYLATER", text: "Shutting down; connect again" },
  kicked: { condition: "BYE", text: "Ended by the administrator" },
} satisfies Record<Refusal["kind"], Words>;

/**
 * The response for a refusal; `final` makes it the BYE of RFC 5804 1.2 that goes before a server's close. The
 * session's id helps only where an operator can: a failed login reads the same every time.
 */
export function reply(refusal: Refusal, final: boolean, session: string): string {
  const { condition, code, text }: Words = REPLIES[refusal.kind];
  const hint = refusal.kind === "unavailable" ? ` (session ${session})` : "";
  return `${final ? "BYE" : condition}${code ? ` (${code})` : ""} "${text}${hint}"\r\n`;
}
