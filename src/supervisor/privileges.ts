import { readFileSync } from "node:fs";
import type { Logger } from "../telemetry/logger.ts";
import { StartError } from "./start-error.ts";

export interface Whom {
  readonly user?: string | undefined;
  readonly group?: string | undefined;
}

/** Becomes somebody with fewer rights, once the ports are bound. Throws StartError when that is nobody. */
export function dropRoot({ user, group }: Whom, log: Logger): void {
  if (process.getuid?.() !== 0) return;
  if (user === undefined) {
    log.warn("running as root: `user` names whom to become once the ports are bound");
    return;
  }
  const primary = primaryGroup(user);
  if (primary === undefined) throw new StartError(`user: nobody here is called ${user}`);
  try {
    const gid = group ?? primary;
    // What root belonged to besides must go, too.
    process.setgroups?.([gid]);
    process.setgid?.(gid);
    process.setuid?.(user);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new StartError(
      `user: cannot become ${user}${group === undefined ? "" : `, group ${group}`}: ${reason}`,
    );
  }
}

/** The group in the fourth field of passwd(5). */
function primaryGroup(user: string): number | undefined {
  const entries = readFileSync("/etc/passwd", "utf8").split("\n");
  const entry = entries.map((line) => line.split(":")).find(([name]) => name === user);
  return entry?.[3] === undefined ? undefined : Number(entry[3]);
}
