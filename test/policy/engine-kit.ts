import { createPolicy, type Limit, type Policy, type PolicyOptions } from "../../src/policy/engine.ts";
import type { Facts } from "../../src/policy/limit-key.ts";
import { MemoryStore } from "../../src/policy/store/memory.ts";
import { type Refusal, Refused } from "../../src/refusal.ts";

/** A clock that goes when it is told to, in milliseconds. */
export class Clock {
  now = 1_000;
  readonly read = (): number => this.now;
  pass(ms: number): void {
    this.now += ms;
  }
}

/** The real engine over the real store, with a clock of its own and a witness. */
export interface Engine {
  readonly policy: Policy;
  readonly clock: Clock;
  readonly store: MemoryStore;
  /** "limit key" of each refusal that observe mode swallowed. */
  readonly wouldRefuse: string[];
  /** "limit key" of each delay. */
  readonly delayed: string[];
  readonly bans: { limit: string; key: string; ms: number }[];
}

export function engine(
  limits: readonly (Omit<Limit, "match" | "then"> & Partial<Limit>)[],
  options: Partial<PolicyOptions> & { maxKeys?: number } = {},
): Engine {
  const clock = new Clock();
  const store = new MemoryStore(clock.read, options.maxKeys);
  const wouldRefuse: string[] = [];
  const delayed: string[] = [];
  const bans: Engine["bans"] = [];
  const policy = createPolicy({
    limits: limits.map((limit) => ({ match: {}, then: "refuse", ...limit })),
    mode: "enforce",
    exempt: [],
    ipv6Prefix: 64,
    store,
    observer: {
      wouldRefuse: (limit, key) => wouldRefuse.push(`${limit} ${key}`),
      delayed: (limit, key) => delayed.push(`${limit} ${key}`),
      banned: (limit, key, ms) => bans.push({ limit, key, ms }),
    },
    ...options,
  });
  return { policy, clock, store, wouldRefuse, delayed, bans };
}

export function facts(more: Partial<Facts> = {}): Facts {
  return { ip: "192.0.2.1", listener: "imap-993", protocol: "imap", ...more };
}

/** "yes", or the kind of no. */
export async function said(asking: Promise<unknown> | undefined): Promise<"yes" | Refusal["kind"]> {
  try {
    await asking;
    return "yes";
  } catch (error) {
    if (error instanceof Refused) return error.refusal.kind;
    throw error;
  }
}

/** A wrong password, as the story asks about it. */
export async function guess(policy: Policy, who: Facts): Promise<"yes" | Refusal["kind"]> {
  return said(
    policy
      .attempt(who)
      .then((attempt) => attempt.settle(Promise.reject(new Refused("badCredential", "wrong")))),
  );
}

/** A right password. */
export async function knows(policy: Policy, who: Facts): Promise<"yes" | Refusal["kind"]> {
  return said(policy.attempt(who).then((attempt) => attempt.settle(Promise.resolve("alice"))));
}
