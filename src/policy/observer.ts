import type { Would } from "./limit.ts";

/** Hears of what no client is told: what a limit in observe mode would have done, delays, and each ban. */
export interface PolicyObserver {
  /** `counter` says how full it is. */
  wouldRefuse(limit: string, key: string, counter: string, would: Would): void;
  delayed(limit: string, key: string, counter: string, ms: number): void;
  banned(limit: string, key: string, ms: number): void;
}
