import type { Report } from "./report.ts";
import type { Config, LimitConfig } from "./schema.ts";

interface Place {
  readonly pointer: string;
  readonly value: LimitConfig;
}

type Count = LimitConfig["count"];
type Part = LimitConfig["per"][number];
type Protocol = Config["listeners"][number]["protocol"];

/** What happens and is over, so that "how many at once" means nothing. */
const COUNTED_FOR_GOOD: ReadonlySet<Count> = new Set([
  "logins",
  "authFailures",
  "messages",
  "recipients",
  "bytesIn",
  "bytesOut",
]);
const BYTES: ReadonlySet<Count> = new Set(["bytesIn", "bytesOut"]);

/** What is not known yet when it is counted. */
const UNKNOWN_YET: Readonly<Partial<Record<Count, readonly Part[]>>> = {
  connections: ["user", "domain", "backend"],
  authFailures: ["backend"],
};
const SIGNING_IN: readonly Protocol[] = ["imap", "submission", "pop3", "sieve"];
const SENDING: readonly Protocol[] = ["submission", "smtp"];
const PROTOCOLS: readonly Protocol[] = [...SIGNING_IN, "smtp"];
/** Where there is such a thing at all. */
const SPOKEN_IN: Readonly<Partial<Record<Count, readonly Protocol[]>>> = {
  logins: SIGNING_IN,
  authFailures: SIGNING_IN,
  sessions: SIGNING_IN,
  messages: SENDING,
  recipients: SENDING,
};

/** What a limit says that means nothing, or not what it seems to. */
export function checkLimit(place: Place, config: Config, report: Report): void {
  checkAmount(place, report);
  checkKeys(place, report);
  checkProtocols(place, report);
  checkThen(place, report);
  checkListeners(place, config, report);
}

function checkAmount({ pointer, value: { count, limit } }: Place, report: Report): void {
  const { windowMs, inBytes = false } = limit;
  if (count === "sessions" && windowMs !== undefined)
    report.error(`${pointer}/limit`, "cannot have a period: sessions are counted as they are open", {
      valid: "how many at once, such as 30",
    });
  if (BYTES.has(count) !== inBytes)
    report.error(`${pointer}/limit`, inBytes ? `is a size: ${count} are no bytes` : "must be a size", {
      valid: inBytes ? "a number such as 30 or 120/1m" : "SIZE/DURATION, such as 20GiB/1d",
    });
  else if (COUNTED_FOR_GOOD.has(count) && windowMs === undefined && limit.points > 0)
    report.error(`${pointer}/limit`, `needs a period: ${count} do not end by themselves`, {
      valid: inBytes ? "SIZE/DURATION, such as 20GiB/1d" : "NUMBER/DURATION, such as 10/10m",
    });
}

function checkKeys({ pointer, value: { count, per, match } }: Place, report: Report): void {
  const unknown = UNKNOWN_YET[count] ?? [];
  const when = count === "connections" ? "when a client connects" : "when a password is tried";
  const found = per.filter((part) => unknown.includes(part));
  if (found.length > 0)
    report.error(`${pointer}/per`, `is not known yet ${when}`, {
      found: found.join(", "),
      valid:
        count === "connections"
          ? "ip, listener, protocol, country, asn"
          : "ip, user, domain, listener, protocol, country, asn",
    });
  for (const name of ["user", "domain"] as const)
    if (match[name] !== undefined && unknown.includes(name))
      report.error(`${pointer}/match/${name}`, `is not known yet ${when}`, {
        valid: "protocol, listener, network, country, notCountry, asn, notAsn",
      });
}

function checkProtocols({ pointer, value: { count, per, match } }: Place, report: Report): void {
  const ofUsers = [match.user, match.domain].some(Boolean) || per.includes("user") || per.includes("domain");
  const possible = (SPOKEN_IN[count] ?? PROTOCOLS).filter((one) => !ofUsers || SIGNING_IN.includes(one));
  const senseless = (match.protocol ?? []).filter((protocol) => !possible.includes(protocol));
  if (senseless.length > 0)
    report.error(`${pointer}/match/protocol`, "has nothing that this limit could count", {
      found: senseless.join(", "),
      valid: possible.join(", "),
    });
}

function checkThen({ pointer, value: { count, per, then } }: Place, report: Report): void {
  if (then === "refuse") return;
  if ("throttle" in then && !BYTES.has(count))
    report.error(`${pointer}/then`, "can slow down nothing but bytes", {
      valid: "refuse, { delay: DURATION } or { ban: DURATION }",
    });
  if ("throttle" in then && then.throttle === 0)
    report.error(`${pointer}/then/throttle`, "is no speed", { found: "0", valid: "a size such as 64KiB" });
  if ("delay" in then && BYTES.has(count))
    report.error(`${pointer}/then`, "cannot delay bytes that have moved", {
      valid: "refuse, { throttle: SIZE } or { ban: DURATION }",
    });
  if (!("ban" in then)) return;
  if (then.upTo !== undefined && then.upTo < then.ban)
    report.error(`${pointer}/then/upTo`, "is shorter than the first ban", {
      valid: "a duration as long as ban, or longer",
    });
  const byPlace = per.some((part) => part === "ip" || part === "country" || part === "asn");
  if (count === "authFailures" && !byPlace)
    report.warn(
      `${pointer}/then`,
      "lets anybody who knows a name ban its user from networks where he has not been before",
    );
}

function checkListeners({ pointer, value }: Place, config: Config, report: Report): void {
  if (!report.whole("/listeners")) return;
  const names = config.listeners.map(({ name }) => name);
  const unknown = (value.match.listener ?? []).filter((name) => !names.includes(name));
  if (unknown.length > 0)
    report.error(`${pointer}/match/listener`, "is not the name of a listener", {
      found: unknown.join(", "),
      valid: names.join(", "),
    });
}
