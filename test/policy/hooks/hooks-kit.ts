import type { TestContext } from "node:test";
import type { Policy } from "../../../src/policy/engine.ts";
import { AuthPolicyHook, type AuthPolicyOptions } from "../../../src/policy/hooks/auth-policy.ts";
import { Guard } from "../../../src/policy/hooks/guard.ts";
import type { Caller, Hook, HookObserver, HookPlace, TryDetails } from "../../../src/policy/hooks/hook.ts";
import { withHooks } from "../../../src/policy/hooks/hooked-policy.ts";
import type { Limit } from "../../../src/policy/limit.ts";
import { Refused } from "../../../src/refusal.ts";
import { Clock, engine, facts, said } from "../engine-kit.ts";

export const CALLER: Caller = {
  session: "s1",
  address: "192.0.2.1",
  port: 40_000,
  local: { address: "198.51.100.1", port: 993 },
};

/** Hears what hooks did: `answers` counts them, `troubles` are the lines of the log. */
export class Witness implements HookObserver {
  readonly answers = new Map<string, number>();
  readonly reports = new Map<string, number>();
  readonly troubles: (string | undefined)[] = [];
  readonly observed: string[] = [];
  readonly notes: string[] = [];
  answered(_hook: string, answer: string): void {
    this.answers.set(answer, (this.answers.get(answer) ?? 0) + 1);
  }
  wouldRefuse(_hook: string, _caller: Caller, _facts: unknown, detail: string): void {
    this.observed.push(detail);
  }
  trouble(_hook: string, reason: string | undefined): void {
    this.troubles.push(reason);
  }
  reported(_hook: string, outcome: string): void {
    this.reports.set(outcome, (this.reports.get(outcome) ?? 0) + 1);
  }
  noted(_hook: string, _caller: Caller, _facts: unknown, text: string): void {
    this.notes.push(text);
  }
  notDone(_hook: string, action: string): void {
    this.notes.push(action);
  }
}

export interface Hooked {
  readonly policy: Policy;
  readonly guard: Guard;
  readonly witness: Witness;
  /** The breaker's. */
  readonly clock: Clock;
}

/** The real engine with one hook behind its limits. */
export function hooked(
  t: TestContext,
  make: (witness: Witness) => Hook,
  place: Partial<HookPlace> = {},
  limits: readonly (Omit<Limit, "match" | "then"> & Partial<Limit>)[] = [],
): Hooked {
  const witness = new Witness();
  const clock = new Clock();
  const hook = make(witness);
  t.after(() => hook[Symbol.asyncDispose]());
  const whole = { name: "wf", hook, onFailure: "allow" as const, observed: false, concerns: () => true };
  const guard = new Guard({ ...whole, ...place }, witness, clock.read);
  return { policy: withHooks(engine(limits).policy, [guard]), guard, witness, clock };
}

const OPTIONS: Omit<AuthPolicyOptions, "url"> = {
  name: "wf",
  headers: {},
  hash: { mech: "sha256", truncate: 12, nonce: "nonce" },
  before: true,
  after: false,
  report: false,
  timeoutMs: 300,
  maxDelayMs: 1_000,
};

export function authPolicy(url: string, more: Partial<AuthPolicyOptions> = {}): (witness: Witness) => Hook {
  return (witness) => new AuthPolicyHook({ ...OPTIONS, url, ...more }, witness);
}

/** One try with a password that is right or wrong; what its client is told. */
export function tries(
  policy: Policy,
  right = true,
  user = "alice",
  fingerprint = "fp",
): ReturnType<typeof said> {
  const details = (): TryDetails => ({ caller: CALLER, password: right ? "right" : "wrong" });
  const answer = (): Promise<string> =>
    right ? Promise.resolve(user) : Promise.reject(new Refused("badCredential", "wrong"));
  return said(
    policy
      .attempt(facts({ user }), undefined, fingerprint, details)
      .then((attempt) => attempt.settle(answer())),
  );
}
