import type { Socket } from "node:net";
import type { Config } from "../config/schema.ts";
import type { Snapshot } from "../telemetry/snapshot.ts";

/** What is told of one open session. */
export interface SessionRow {
  readonly id: string;
  /** The process that carries it. */
  readonly pid: number;
  readonly listener: string;
  readonly protocol: string;
  readonly ip: string;
  readonly user?: string;
  readonly backend?: string;
  readonly stage: string;
  readonly tls: string;
  readonly seconds: number;
  readonly bytes: { readonly in: number; readonly out: number };
}

/** Which sessions are meant: all that is given must fit. */
export interface SessionFilter {
  readonly id?: string;
  readonly user?: string;
  readonly ip?: string;
  readonly backend?: string;
  readonly listener?: string;
}

export interface Listing {
  /** How many fit; `rows` may hold fewer. */
  readonly total: number;
  readonly rows: readonly SessionRow[];
}

/** What those who carry sessions can be asked, by a call or by a message. */
export interface Questions {
  /** Makes the rooms of a new configuration beside those in use; returns what is wrong, if anything is. */
  prepare(config: Config): Promise<string | undefined>;
  /** New sessions take the rooms that were prepared; those inside keep theirs. */
  commit(): Promise<void>;
  /** What was prepared is not wanted. */
  abandon(): Promise<void>;
  metrics(): Promise<Snapshot>;
  /** The open sessions that fit, `limit` of them at most. */
  list(filter: SessionFilter, limit: number): Promise<Listing>;
  /** Ends the sessions that fit, with their protocol's goodbye; returns how many. */
  kick(filter: SessionFilter): Promise<number>;
}

/** What carries whole sessions in one process. */
export interface Carrier extends Questions {
  /** What it has counted, and no more than that. */
  counted(): Promise<Snapshot>;
  /** Carries one connection to its end. Never rejects. */
  accept(listener: string, socket: Socket): Promise<void>;
  /**
   * Leaves the sessions alone for `quietMs`, then ends every one in order, within `drainMs`, and gives everything
   * back. Asked a second time, it does not wait any more.
   */
  stop(drainMs: number, quietMs: number): Promise<void>;
}

/** Whether a session is one of those that are meant. */
export function fits(filter: SessionFilter, row: Pick<SessionRow, keyof SessionFilter>): boolean {
  const keys = ["id", "user", "ip", "backend", "listener"] as const;
  return keys.every((key) => filter[key] === undefined || filter[key] === row[key]);
}
