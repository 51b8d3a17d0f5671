import { type Reply, reply } from "./reply.ts";
import type { SmtpSession } from "./session.ts";

/** What must have been said before, each with what stands before it; RFC 5321 4.1.4. */
export type Needs = "hello" | "entry" | "mail";

/** A command: what it needs, and what it does. Undefined means it has answered for itself, or nobody listens. */
export interface Row {
  readonly needs?: Needs;
  /** It takes no argument. */
  readonly bare?: true;
  run(session: SmtpSession, rest: string): Reply | undefined | Promise<Reply | undefined>;
}

/** What to say when something is missing. */
export function missing(session: SmtpSession, needs: Needs | undefined): Reply | undefined {
  if (needs === undefined) return undefined;
  if (!session.hello) return reply(503, "5.5.1 EHLO first");
  if (needs === "hello") return undefined;
  // RFC 4954 6
  if (!session.account) return reply(530, "5.7.0 Sign in first");
  return needs === "mail" && !session.transaction ? reply(503, "5.5.1 MAIL first") : undefined;
}
