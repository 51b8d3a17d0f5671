import { beginsHeader } from "../wire/proxy-header.ts";
import type { Session } from "./session.ts";

/**
 * Waits for the client's first bytes, and says whether they are a PROXY header. One that belongs here is gone by
 * now, so this one is a stranger's, or a second one; whatever stands behind it is not obeyed.
 */
export async function beginsWithHeader({ channel }: Session): Promise<boolean> {
  let first = await channel.readSome();
  while (beginsHeader(first) === "maybe") first = Buffer.concat([first, await channel.readSome()]);
  channel.unread(first);
  return beginsHeader(first) === "yes";
}
