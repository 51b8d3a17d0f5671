import type { Socket } from "node:net";
import type { Config } from "../config/schema.ts";
import type { Snapshot } from "../telemetry/snapshot.ts";
import type { Listing, SessionFilter } from "./carrier.ts";

/** All who carry sessions together, as the supervisor sees them: one process, or many. */
export interface Crew {
  /** Whether anybody can take a session now. */
  readonly ready: boolean;
  /** Processes other than this one that can take sessions now. */
  readonly size: number;
  /** Accepted connections that wait for room. */
  readonly waiting: number;
  /** Carries a new connection, or has it wait until there is room. */
  take(listener: string, socket: Socket): void;
  /** What is wrong with a configuration in the eyes of those who would have to use it; empty when nothing is. */
  prepare(config: Config): Promise<readonly string[]>;
  commit(config: Config): Promise<void>;
  abandon(): Promise<void>;
  /** Of each process, this one first; those who do not answer in time are as they were last. */
  metrics(): Promise<readonly Snapshot[]>;
  list(filter: SessionFilter, limit: number): Promise<Listing>;
  kick(filter: SessionFilter): Promise<number>;
  /** See Carrier. */
  stop(drainMs: number, quietMs: number): Promise<void>;
  /** Ends without a goodbye. */
  kill(): void;
}
