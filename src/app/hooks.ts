import { readFileSync } from "node:fs";
import { policyServer } from "../config/policy-server.ts";
import type { Config, HookConfig } from "../config/schema.ts";
import { AuthPolicyHook } from "../policy/hooks/auth-policy.ts";
import { Guard } from "../policy/hooks/guard.ts";
import type { Hook, HookObserver } from "../policy/hooks/hook.ts";
import { PostfixPolicyHook } from "../policy/hooks/postfix-policy.ts";
import type { Subject } from "../policy/limit-key.ts";
import { Match } from "../policy/match.ts";
import { StartError } from "../supervisor/start-error.ts";
import { printable } from "../wire/printable.ts";
import type { Premises } from "./open-carrier.ts";

/** The hooks of one configuration, each behind its guard; a breaker is each process's own. */
export function openHooks(
  { policy }: Config,
  premises: Pick<Premises, "log" | "metrics" | "news">,
  rooms: AsyncDisposableStack,
): readonly Guard[] {
  const observer = observeHooks(premises);
  return policy.hooks.map((config) => {
    const { name, onFailure, match, mode = policy.mode } = config;
    premises.metrics.announceHook(name);
    const hook = rooms.use(openHook(config, observer));
    const observed = [mode, policy.mode].includes("observe");
    const who = new Match(match);
    const concerns = (subject: Subject): boolean => who.fits(subject);
    return new Guard({ name, hook, onFailure, observed, concerns }, observer);
  });
}

function openHook(config: HookConfig, observer: HookObserver): Hook {
  const { name, timeout: timeoutMs } = config;
  if (config.type === "postfixPolicy") {
    const server = policyServer(config.server);
    if (!server) throw new StartError(`hook ${name}: no server`);
    return new PostfixPolicyHook({ name, server, stages: config.stages, timeoutMs }, observer);
  }
  const { url, hashMech, hashTruncate, nonce, checkBefore, checkAfter, report, maxDelay, ca } = config;
  const options = {
    ...{ name, url, timeoutMs, report, before: checkBefore, after: checkAfter, maxDelayMs: maxDelay },
    headers: secretHeaders(config),
    hash: { mech: hashMech, truncate: hashTruncate, nonce },
    ...(ca !== undefined && { ca: readFileSync(ca, "utf8") }),
  };
  return new AuthPolicyHook(options, observer);
}

function secretHeaders({ apiKey, user, password = "" }: Extract<HookConfig, { type: "authPolicy" }>) {
  const basic = user !== undefined && `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;
  return { ...(apiKey !== undefined && { "x-api-key": apiKey }), ...(basic && { authorization: basic }) };
}

function observeHooks({ log, metrics, news }: Pick<Premises, "log" | "metrics" | "news">): HookObserver {
  const told = new Set<string>();
  return {
    answered(hook, answer, ms) {
      metrics.hookAnswers.inc({ hook, answer });
      if (ms !== undefined) metrics.hookDuration.observe({ hook }, ms / 1000);
    },
    wouldRefuse(hook, { session, address }, { user }, reason) {
      const who = { id: session, peer: address, ...(user !== undefined && { user: printable(user) }) };
      log.info({ hook, ...who, reason }, "a hook in observe mode would have refused");
    },
    trouble(hook, reason) {
      if (reason === undefined) news({ level: "info", fields: { hook }, message: "a hook answers again" });
      else news({ level: "warn", fields: { hook, reason }, message: "a hook does not answer" });
    },
    reported: (hook, outcome) => metrics.hookReports.inc({ hook, outcome }),
    noted(hook, { session, address }, { user }, text) {
      const who = { id: session, peer: address, ...(user !== undefined && { user: printable(user) }) };
      log.info({ hook, ...who, text: printable(text) }, "a hook has something to say");
    },
    notDone(hook, action) {
      const key = `${hook} ${action}`;
      if (told.has(key)) return;
      told.add(key);
      const message = "a hook asks for what a gateway without a queue cannot do; the mail goes on";
      news({ level: "warn", fields: { hook, action }, message });
    },
  };
}
