import type { Refusal } from "../../refusal.ts";

interface Words {
  /** RFC 2449 and RFC 3206 response code. */
  readonly code?: "AUTH" | "SYS/TEMP" | "SYS/PERM" | "IN-USE" | "LOGIN-DELAY";
  readonly text: string;
}

/** RFC 1939 3: whoever waits too long is disconnected without a word; it would be taken for the next command's reply. */
const SILENCE = "silence";

/** What a POP3 client hears for every way to say no. */
const REPLIES = {
  badCredential: { code: "AUTH", text: "Authentication failed" },
  notAllowed: { code: "AUTH", text: "This account may not sign in here" },
  noRoute: {
    code: "SYS/PERM",
    text: "No mail server is assigned to this account; ask your administrator",
  },
  unavailable: { code: "SYS/TEMP", text: "The mail server cannot be reached now; try again later" },
  forbidden: { code: "AUTH", text: "Not allowed from here" },
  tooManySessions: { code: "IN-USE", text: "Too many sessions at once" },
  tooFast: { code: "LOGIN-DELAY", text: "Too many tries; wait before the next one" },
  banned: { code: "LOGIN-DELAY", text: "Your network or account is blocked for now; try again later" },
  mailRefused: { text: "This mail is not wanted" },
  privacyRequired: { text: "Begin TLS before you send a password" },
  notSignedIn: { text: "Sign in first" },
  syntax: { text: "Command not understood" },
  order: { text: "Not allowed now" },
  unknownCommand: { text: "Unknown command" },
  unknownMechanism: { text: "SASL mechanism not offered" },
  tooLong: { text: "Too long" },
  cancelled: { text: "Authentication cancelled" },
  tooManyErrors: { text: "Too many errors" },
  notOurProtocol: { text: "This is a POP3 server" },
  bytesAfterStartTls: { text: "Bytes behind STLS" },
  loginTimeout: SILENCE,
  idle: SILENCE,
  shutdown: SILENCE,
  kicked: SILENCE,
} satisfies Record<Refusal["kind"], Words | typeof SILENCE>;

/**
 * The reply line for a refusal, or undefined where the RFC wants none. The session's id helps only where an
 * operator can: a failed login reads the same every time.
 */
export function reply(refusal: Refusal, session: string): string | undefined {
  const words: Words | typeof SILENCE = REPLIES[refusal.kind];
  if (words === SILENCE) return undefined;
  const hint = refusal.kind === "unavailable" ? ` (session ${session})` : "";
  return `-ERR ${words.code ? `[${words.code}] ` : ""}${words.text}${hint}\r\n`;
}
