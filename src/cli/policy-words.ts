import { amountOf, inSize } from "../policy/amount.ts";
import { inTime } from "../policy/period.ts";

/** A ban as the admin port tells of it. */
export interface ToldBan {
  readonly key: string;
  readonly by: string;
  readonly leftMs: number;
  readonly times: number;
  readonly passedOver?: boolean;
}

export interface ToldLimit {
  readonly limit: string;
  readonly count: string;
  readonly key: string;
  readonly taken: number;
  readonly points: number;
  readonly windowMs?: number;
  readonly endsInMs?: number;
  readonly next: string;
  readonly would?: string;
  readonly delayMs?: number;
  readonly rate?: number;
  readonly banMs?: number;
  readonly sparesKnown?: boolean;
}

/** What `/api/v1/explain` answers. */
export interface Told {
  readonly exempt: boolean;
  readonly country?: string;
  readonly asn?: string;
  readonly knownNetwork: boolean;
  readonly bans: readonly ToldBan[];
  readonly limits: readonly ToldLimit[];
  readonly hooks?: readonly string[];
}

/** What the limit of each count has a say in. */
const MATTERS: Readonly<Record<string, string>> = {
  connections: "a new connection",
  authFailures: "a login",
  logins: "a login",
  sessions: "a login",
  messages: "a message",
  recipients: "a recipient",
  refusedRecipients: "a recipient",
  networks: "a login from another network",
  bytesIn: "a login",
  bytesOut: "a login",
};
const DONE: Readonly<Record<string, string>> = { ban: "banned", delay: "delayed", throttle: "slowed down" };
const PASSED_OVER = "passed over: known network";
const TIMES = ["first", "second", "third", "fourth", "fifth"];
const ENDINGS: Readonly<Record<string, string>> = { one: "st", two: "nd", few: "rd" };
const ORDINAL = new Intl.PluralRules("en", { type: "ordinal" });
const COUNTRIES = new Intl.DisplayNames("en", { type: "region" });

/** For tired people: what would happen first, then why. */
export function wordsFor(
  told: Told,
  whom: { readonly ip?: string; readonly user?: string },
  now: Date,
): string[] {
  const { bans, limits, hooks = [] } = told;
  const name = [whom.user, whom.ip && `from ${whom.ip}`].filter(Boolean).join(" ");
  return [
    `${name}: ${verdict(told)}`,
    ...place(told),
    ...(whom.ip !== undefined && whom.user !== undefined ? [network(told)] : []),
    ...(bans.length > 0 ? ["", "bans", ...bans.map((ban) => `  ${banWords(ban, now)}`)] : []),
    "",
    limits.length > 0 ? "limits" : "no limit counts this",
    ...limits.map((limit) => `  ${limitWords(limit)}`),
    ...(hooks.length > 0
      ? ["", `hooks have a say too, and are not asked for this: ${hooks.join(", ")}`]
      : []),
  ];
}

/** `ip=203.0.113.5: banned by guesses until 14:32 (38m left), third time`. */
export function banWords({ key, by, leftMs, times, passedOver }: ToldBan, now: Date): string {
  const repeat =
    times > 1 ? `, ${TIMES[times - 1] ?? `${times}${ENDINGS[ORDINAL.select(times)] ?? "th"}`} time` : "";
  const spared = passedOver ? `; ${PASSED_OVER}` : "";
  return `${key}: banned by ${by} until ${clock(leftMs, now)} (${inTime(roughly(leftMs))} left)${repeat}${spared}`;
}

/** What /api/v1/top answers. */
export interface ToldTop {
  readonly by: "user" | "network";
  readonly count: string;
  readonly since: string;
  readonly top: readonly {
    readonly user?: string;
    readonly network?: string;
    readonly count: number;
    readonly error: number;
  }[];
}

/** One a line, those with most first. */
export function topWords({ by, count, since, top }: ToldTop): string[] {
  const amount = amountOf(count);
  const rows = top.map((row) => {
    const sure = row.error === 0 ? "" : ` (${amount(row.error)} of them perhaps others')`;
    return `${amount(row.count)}  ${row[by] ?? ""}${sure}`;
  });
  return [
    `${count} by ${by}, in this gateway since ${since}`,
    ...rows,
    ...(rows.length === 0 ? ["none"] : []),
  ];
}

function verdict({ exempt, bans, limits }: Told): string {
  if (exempt) return "exempt (policy.exempt), so no limit and no ban holds";
  const [ban] = bans
    .filter(({ passedOver }) => !passedOver)
    .toSorted((one, other) => other.leftMs - one.leftMs);
  if (ban) return `would be refused, banned for ${inTime(roughly(ban.leftMs))} more`;
  const full = limits.filter(({ next }) => next === "refuse" || next === "ban");
  if (full.length > 0) {
    const what = [...new Set(full.map(({ count }) => MATTERS[count] ?? count))].join(", ");
    return `${what} would be refused${until(full)}`;
  }
  const how = [delay(limits), wrongOne(limits)].filter((words) => words !== undefined);
  return ["would be let in", ...how].join(", ");
}

/** Delays pass side by side. */
function delay(limits: readonly ToldLimit[]): string | undefined {
  const longest = Math.max(0, ...limits.map(({ delayMs = 0 }) => delayMs));
  return longest > 0 ? `after a delay of ${inTime(longest)}` : undefined;
}

function wrongOne(limits: readonly ToldLimit[]): string | undefined {
  const longest = Math.max(0, ...limits.filter(isLastGuess).map(({ banMs = 0 }) => banMs));
  return longest > 0 ? `but the next wrong password bans for ${inTime(longest)}` : undefined;
}

function isLastGuess({ count, next, banMs }: ToldLimit): boolean {
  return count === "authFailures" && next === "allow" && banMs !== undefined;
}

function until(full: readonly ToldLimit[]): string {
  if (full.some(({ points }) => points === 0)) return ", and always will be";
  const ends = full.map(({ endsInMs }) => endsInMs);
  if (ends.some((end) => end === undefined)) return ", until one of those inside leaves";
  return ` for ${inTime(roughly(Math.max(...(ends as number[]))))} more`;
}

function place({ country, asn }: Told): string[] {
  const parts = [
    country === undefined ? [] : country === "unknown" ? "in an unknown country" : `in ${inWords(country)}`,
    asn === undefined ? [] : asn === "unknown" ? "in an unknown AS" : `in ${asn}`,
  ].flat();
  return parts.length === 0 ? [] : [`the address is ${parts.join(", ")}`];
}

/** `DE (Germany)`. */
function inWords(country: string): string {
  const name = COUNTRIES.of(country);
  return name === undefined || name === country ? country : `${country} (${name})`;
}

function network({ knownNetwork, bans, limits }: Told): string {
  if (!knownNetwork) return "the name has not signed in from this network lately";
  const isSpared = bans.some(({ passedOver }) => passedOver) || limits.some(isAttacked);
  const attack = isSpared ? ": what others guess at it elsewhere is passed over here" : "";
  return `the name has signed in from this network lately${attack}`;
}

function isAttacked({ next, taken, points }: ToldLimit): boolean {
  return next === "passed over" && taken >= points;
}

function limitWords(limit: ToldLimit): string {
  const { count, key, taken, points, windowMs, endsInMs } = limit;
  const then = nextWords(limit) && `; ${nextWords(limit)}`;
  if (points === 0) return `${limit.limit}: none at all for ${key}${then}`;
  const amount = amountOf(count);
  const time = windowMs === undefined ? "at once" : `in ${inTime(windowMs)}`;
  const anew = endsInMs === undefined ? "" : `, begins anew in ${inTime(roughly(endsInMs))}`;
  return `${limit.limit}: ${amount(taken)} of ${amount(points)} ${time} for ${key}${anew}${then}`;
}

/** What the next one leads to; nothing where it is nothing. */
function nextWords(limit: ToldLimit): string {
  const { next, would = "", delayMs = 0, rate = 0, banMs = 0, sparesKnown } = limit;
  if (isLastGuess(limit)) return `next: the next wrong password bans for ${inTime(banMs)}`;
  switch (next) {
    case "allow":
      return "";
    case "refuse":
      return `next: refused${sparesKnown ? ", but not from networks that the name is known from" : ""}`;
    case "ban":
      return `next: refused, and banned for ${inTime(banMs)}`;
    case "delay":
      return `next: delay ${inTime(delayMs)}`;
    case "throttle":
      return `next: slowed down to ${inSize(rate)} a second`;
    case "alert":
      return "next: somebody is told";
    case "observe":
      return `next: ${DONE[would] ?? "refused"} if the limit were enforced`;
    case "passed over":
      return PASSED_OVER;
    default:
      return `next: ${next}`;
  }
}

/** Nobody wants milliseconds beside seconds. */
function roughly(ms: number): number {
  return ms < 1_000 ? ms : Math.ceil(ms / 1_000) * 1_000;
}

/** The time of day where the reader is; with the day, unless it is today. */
function clock(leftMs: number, now: Date): string {
  const end = new Date(now.getTime() + leftMs);
  const two = (number: number): string => String(number).padStart(2, "0");
  const time = `${two(end.getHours())}:${two(end.getMinutes())}`;
  if (end.toDateString() === now.toDateString()) return time;
  return `${end.getFullYear()}-${two(end.getMonth() + 1)}-${two(end.getDate())} ${time}`;
}
