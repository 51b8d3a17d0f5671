import { beginsHeader } from "../wire/proxy-header.ts";
import type { Session } from "./session.ts";

/** Greets a client, and waits for its first bytes; false when they are a proxy's. */
export async function greetClient(session: Session): Promise<boolean> {
  // Who speaks before it is greeted may be a proxy that we do not know.
  if (session.channel.pending > 0 && (await beginsWithHeader(session))) return false;
  await session.protocol.greet(session);
  return !(await beginsWithHeader(session));
}

/**
 * Waits for the client's first bytes, and says whether they are a PROXY header. One that belongs here is gone by
 * now, so this one is a stranger's, or a second one; whatever stands behind it is not obeyed.
 */
async function beginsWithHeader({ channel }: Session): Promise<boolean> {
  let first = await channel.peek();
  while (beginsHeader(first) === "maybe") first = await channel.peek(first.length);
  return beginsHeader(first) === "yes";
}
