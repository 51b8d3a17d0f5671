import { readFileSync } from "node:fs";

/** Descriptors that a process needs for everything but its sessions: log, watched files, threads, admin port. */
const RESERVE = 64;
/** A session has one towards its client and one towards its backend. */
const PER_SESSION = 2;
/** What may wait even where descriptors are plenty: as long a queue as the kernel keeps for us. */
const MAX_WAITING = 4_096;

/** How many file descriptors this process may have open (RLIMIT_NOFILE); the processes it starts have the same. */
export function descriptorLimit(): number {
  try {
    const [, soft] =
      /^Max open files\s+(\d+|unlimited)/m.exec(readFileSync("/proc/self/limits", "utf8")) ?? [];
    return soft === undefined || soft === "unlimited" ? Number.POSITIVE_INFINITY : Number(soft);
  } catch {
    // Not Linux; then the operating system's own refusal has to do.
    return Number.POSITIVE_INFINITY;
  }
}

/** How many sessions one process can carry. */
export function maxSessions(descriptors: number): number {
  return Math.max(1, Math.floor((descriptors - RESERVE) / PER_SESSION));
}

/** How many accepted connections can wait in a process that carries none, or, `beside` sessions, in one that does. */
export function maxWaiting(descriptors: number, beside: boolean): number {
  const left = beside ? RESERVE / 2 : descriptors - RESERVE;
  return Math.max(16, Math.min(MAX_WAITING, Math.floor(left)));
}
