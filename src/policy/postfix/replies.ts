import type { Refusal } from "../../refusal.ts";

/** access(5): nothing to say; what follows in the list of restrictions decides. */
export const DUNNO = "DUNNO";

/**
 * Later, unless a restriction behind us refuses for good: then nobody need come again. Postfix puts its own 450
 * before it.
 */
const TOO_FAST = "DEFER_IF_PERMIT 4.7.1 Too much in too short a time; try again later";
const TOO_MANY = "DEFER_IF_PERMIT 4.7.1 Too many at once; try again later";
const UNAVAILABLE = "DEFER_IF_PERMIT 4.3.0 The policy cannot be asked now; try again later";
/** access(5): a 421 ends the connection. */
const BANNED = "421 4.7.0 Your network or account is blocked for now; try again later";
/** For good: a limit of none at all. */
const FORBIDDEN = "REJECT 5.7.1 Not allowed from here";
const REFUSED = "DEFER_IF_PERMIT 4.7.1 Not now; try again later";

/** What Postfix is told for every way to say no: "later", as the policy says it itself, but where there is no later. */
const ACTIONS = {
  tooFast: TOO_FAST,
  tooManySessions: TOO_MANY,
  unavailable: UNAVAILABLE,
  banned: BANNED,
  kicked: BANNED,
  forbidden: FORBIDDEN,
  badCredential: REFUSED,
  notAllowed: REFUSED,
  mailRefused: REFUSED,
  noRoute: REFUSED,
  privacyRequired: REFUSED,
  notSignedIn: REFUSED,
  syntax: REFUSED,
  order: REFUSED,
  unknownCommand: REFUSED,
  unknownMechanism: REFUSED,
  tooLong: REFUSED,
  cancelled: REFUSED,
  tooManyErrors: REFUSED,
  notOurProtocol: REFUSED,
  bytesAfterStartTls: REFUSED,
  loginTimeout: REFUSED,
  idle: REFUSED,
  shutdown: REFUSED,
} satisfies Record<Refusal["kind"], string>;

export function actionFor({ kind }: Refusal): string {
  return ACTIONS[kind];
}
