/** Hears what a limit in observe mode would have done, and of each ban. */
export interface PolicyObserver {
  /** `counter` says how full it is. */
  wouldRefuse(limit: string, key: string, counter: string): void;
  banned(limit: string, key: string, ms: number): void;
}
