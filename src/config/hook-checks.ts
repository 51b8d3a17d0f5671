import { isLoopback, leadsToLoopback } from "./addresses.ts";
import { checkAuthorities } from "./certificate-files.ts";
import { type Entry, entriesOf } from "./entries.ts";
import { checkMatch } from "./limit-checks.ts";
import { policyServer } from "./policy-server.ts";
import type { Report } from "./report.ts";
import type { Config, HookConfig, ListenerConfig } from "./schema.ts";

type Protocol = ListenerConfig["protocol"];
type AuthPolicy = Extract<HookConfig, { type: "authPolicy" }>;
type PostfixPolicy = Extract<HookConfig, { type: "postfixPolicy" }>;

/** What each kind of hook is asked about. */
const SPOKEN_IN: Readonly<Record<HookConfig["type"], readonly Protocol[]>> = {
  authPolicy: ["imap", "submission", "pop3", "sieve"],
  postfixPolicy: ["submission", "smtp"],
};

export function checkHooks(config: Config, report: Report): void {
  const hooks = entriesOf(config.policy?.hooks, "/policy/hooks", report);
  for (const [index, hook] of hooks.entries()) {
    checkMatch(hook, SPOKEN_IN[hook.value.type], config, report);
    if (hooks.slice(0, index).some(({ value }) => value.name === hook.value.name))
      report.error(`${hook.pointer}/name`, "is the name of an earlier hook too", {
        found: hook.value.name,
        valid: "a name of its own",
      });
    const { pointer, value } = hook;
    if (value.type === "authPolicy") checkAuthPolicy({ pointer, value }, config, report);
    else checkPostfixPolicy({ pointer, value }, report);
  }
}

function checkAuthPolicy({ pointer, value }: Entry<AuthPolicy>, config: Config, report: Report): void {
  const { url, insecure, ca, apiKey, user, password, checkBefore, checkAfter, report: reports } = value;
  checkClearText({ pointer, value: { url, insecure } }, report);
  if (ca !== undefined) checkAuthorities(ca, `${pointer}/ca`, report);
  if ((user === undefined) !== (password === undefined))
    report.error(pointer, "lacks a half: user and password go together");
  // No header may begin inside another.
  if (/[^\x21-\x7e]/.test(apiKey ?? ""))
    report.error(`${pointer}/apiKey`, "cannot be sent in a header", {
      valid: "printable ASCII without spaces",
    });
  if (user?.includes(":"))
    report.error(`${pointer}/user`, "cannot be sent by HTTP Basic", { valid: "a name without a colon" });
  if (report.whole("/timeouts") && value.maxDelay >= config.timeouts.login)
    report.warn(`${pointer}/maxDelay`, "is as long as timeouts.login: whoever waits so long is sent away");
  if (!checkBefore && !checkAfter && !reports)
    report.error(pointer, "is never asked: checkBefore, checkAfter and report are all false");
}

function checkClearText(
  { pointer, value }: Entry<Pick<AuthPolicy, "url" | "insecure">>,
  report: Report,
): void {
  const url = new URL(value.url);
  if (url.protocol !== "http:" || leadsToLoopback(url)) return;
  const found = { found: value.url };
  if (value.insecure)
    report.warn(
      `${pointer}/url`,
      "asks over the network in clear text: whoever is in between decides",
      found,
    );
  else
    report.error(`${pointer}/url`, "would ask over the network in clear text", {
      ...found,
      valid: "an https:// address, or insecure: true beside it",
    });
}

/** The protocol knows no TLS. */
function checkPostfixPolicy({ pointer, value }: Entry<PostfixPolicy>, report: Report): void {
  const server = policyServer(value.server);
  if (server && "host" in server && !isLoopback(server.host))
    report.warn(`${pointer}/server`, "asks over the network in clear text: whoever is in between decides", {
      found: value.server,
    });
}
