import { Refused } from "../../refusal.ts";
import type { Metered } from "../byte-meter.ts";
import { pause } from "../engine.ts";
import type { Facts, Subject } from "../limit-key.ts";
import type { Attempt, ExplainedFacts, MailElsewhere, Policy } from "../policy.ts";
import type { Asker, Guard } from "./guard.ts";
import type { HookedTry, MailDetails, MailStage, TryDetails, TryEnd } from "./hook.ts";

/** Asks hooks behind the limits: nobody who is refused already, and nobody who is exempt from them. */
export function withHooks(policy: Policy, guards: readonly Guard[]): Policy {
  return guards.length === 0 ? policy : new HookedPolicy(policy, guards);
}

class HookedPolicy implements Policy {
  readonly #policy: Policy;
  readonly #guards: readonly Guard[];

  constructor(policy: Policy, guards: readonly Guard[]) {
    this.#policy = policy;
    this.#guards = guards;
  }

  get seats(): number {
    return this.#policy.seats;
  }

  async attempt(
    facts: Facts,
    signal?: AbortSignal,
    fingerprint?: string,
    details?: () => TryDetails,
  ): Promise<Attempt> {
    const attempt = await this.#policy.attempt(facts, signal, fingerprint);
    const hooks = this.#guardsOf(facts, ({ hook }) => hook.attempt !== undefined);
    if (hooks.length === 0 || !details) return attempt;
    const told = details();
    const tries = hooks.flatMap((guard): Tried[] => {
      const one = guard.hook.attempt?.({ ...told, facts });
      return one ? [{ guard, one }] : [];
    });
    return hookedAttempt(attempt, tries, { caller: told.caller, facts }, signal);
  }

  message(facts: Facts): Promise<void> | undefined {
    return this.#policy.message(facts);
  }

  recipient(facts: Facts, details?: () => MailDetails): Promise<void> | undefined {
    const asked = this.#policy.recipient(facts);
    return this.#mail("rcpt", facts, details, asked)?.catch((error: unknown) => {
      if (isForGood(error)) this.#policy.recipientRefused(facts);
      throw error;
    });
  }

  recipientRefused(facts: Facts): void {
    this.#policy.recipientRefused(facts);
  }

  content(facts: Facts, details?: () => MailDetails): Promise<void> | undefined {
    return this.#mail("data", facts, details, this.#policy.content(facts));
  }

  /** Whoever asks for another server can ask a hook there, too. */
  elsewhere(facts: Facts, mail: MailElsewhere, signal?: AbortSignal) {
    return this.#policy.elsewhere(facts, mail, signal);
  }

  connection(facts: Facts, signal?: AbortSignal) {
    return this.#policy.connection(facts, signal);
  }

  login(facts: Facts, signal?: AbortSignal) {
    return this.#policy.login(facts, signal);
  }

  watch(session: Metered, stops: boolean): void {
    this.#policy.watch(session, stops);
  }

  meter(session: Metered): void {
    this.#policy.meter(session);
  }

  subject(facts: Facts): Subject | undefined {
    return this.#policy.subject(facts);
  }

  place(facts: Pick<Facts, "ip" | "claimed">) {
    return this.#policy.place(facts);
  }

  explain(facts: ExplainedFacts) {
    return this.#policy.explain(facts);
  }

  bans() {
    return this.#policy.bans();
  }

  ban(key: string, ms: number) {
    return this.#policy.ban(key, ms);
  }

  unban(key: string) {
    return this.#policy.unban(key);
  }

  answers() {
    return this.#policy.answers();
  }

  /** The hooks that have something to say of these facts. */
  #guardsOf(facts: Facts, has: (guard: Guard) => boolean): readonly Guard[] {
    const able = this.#guards.filter(has);
    const subject = able.length > 0 ? this.#policy.subject(facts) : undefined;
    return subject ? able.filter((guard) => guard.concerns(subject)) : [];
  }

  #mail(
    stage: MailStage,
    facts: Facts,
    details: (() => MailDetails) | undefined,
    limits: Promise<void> | undefined,
  ): Promise<void> | undefined {
    const guards = this.#guardsOf(facts, ({ hook }) => hook.mail?.stages.has(stage) ?? false);
    if (guards.length === 0 || !details) return limits;
    return askAboutMail(guards, stage, facts, details, limits);
  }
}

/** A hook's no to somebody's mail, and not one that asks for patience, as greylisting does. */
function isForGood(error: unknown): boolean {
  return (
    error instanceof Refused && error.refusal.kind === "mailRefused" && (error.refusal.told?.code ?? 0) >= 500
  );
}

async function askAboutMail(
  guards: readonly Guard[],
  stage: MailStage,
  facts: Facts,
  details: () => MailDetails,
  limits: Promise<void> | undefined,
): Promise<void> {
  await limits;
  const mail = { ...details(), facts };
  let delayMs = 0;
  for (const guard of guards) {
    const { mail: hook } = guard.hook;
    const later = hook ? await guard.ask(mail, () => hook.ask(stage, mail)) : 0;
    delayMs = Math.max(delayMs, later);
  }
  await pause(delayMs);
}

interface Tried {
  readonly guard: Guard;
  readonly one: HookedTry;
}

async function hookedAttempt(
  attempt: Attempt,
  tries: readonly Tried[],
  asker: Asker,
  signal: AbortSignal | undefined,
): Promise<Attempt> {
  const report = (end: TryEnd | undefined): void => {
    if (end) for (const { one } of tries) one.report?.(end);
  };
  try {
    await askAll(tries, "before", asker, signal);
  } catch (error) {
    await attempt.settle(Promise.reject(new NotLookedAt())).catch(() => {});
    report(endOf(error, true));
    throw error;
  }
  return {
    async settle(answer) {
      let wasRight = false;
      const whole = async () => {
        const value = await answer;
        wasRight = true;
        await askAll(tries, "after", asker, signal);
        return value;
      };
      try {
        // Its no behind a right password stays counted as a wrong one, or a limit would tell that it was right.
        const value = await attempt.settle(whole());
        report("right");
        return value;
      } catch (error) {
        report(endOf(error, wasRight));
        throw error;
      }
    },
  };
}

/** Settles a try that no password decided: limits take back what they counted. */
class NotLookedAt extends Error {}

/** In their order; the first no is the last question. */
async function askAll(
  tries: readonly Tried[],
  point: "before" | "after",
  asker: Asker,
  signal: AbortSignal | undefined,
): Promise<void> {
  let delayMs = 0;
  for (const { guard, one } of tries) {
    const question = one[point];
    if (!question) continue;
    delayMs = Math.max(delayMs, await guard.ask(asker, () => question.call(one)));
  }
  await pause(delayMs, signal);
}

/** Undefined for what says nothing about who tried: an outage. */
function endOf(error: unknown, byHook: boolean): TryEnd | undefined {
  const refusal = error instanceof Refused ? error.refusal : undefined;
  if (refusal?.kind === "badCredential")
    return byHook ? "refusedByHook" : refusal.unknownName ? "unknownName" : "wrong";
  return refusal?.kind === "notAllowed" ? "notAllowed" : undefined;
}
