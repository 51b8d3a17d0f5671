import type { Asked } from "./asking.ts";
import type { Place } from "./geo/places.ts";
import type { Deed, Limit, Rule, Would } from "./limit.ts";
import { showKey } from "./limit-key.ts";
import type { Ban, Look, Standing } from "./store/store.ts";

/** How one limit stands for somebody. */
export interface LimitStanding {
  readonly limit: string;
  readonly count: Limit["count"];
  /** As the log shows it, such as `ip=203.0.113.5`. */
  readonly key: string;
  readonly taken: number;
  readonly points: number;
  /** Absent where it is how many at once. */
  readonly windowMs?: number;
  /** Until the window ends; absent for seats, and while nothing is counted. */
  readonly endsInMs?: number;
  /** What the next one would lead to; "passed over": the network is one that the name is known to use. */
  readonly next: "allow" | "passed over" | Deed;
  /** What would happen if the limit were enforced and not observed, where something would. */
  readonly would?: Would;
  /** How long the next one would have to wait, where it would. */
  readonly delayMs?: number;
  /** Bytes a second, where they would be slowed down. */
  readonly rate?: number;
  /** How long the next one would ban for, where it would; of guesses, the next wrong one. */
  readonly banMs?: number;
  /** It is passed over for networks that the name is known to use. */
  readonly sparesKnown?: true;
}

/** A ban, and whether it lets somebody through because the network is one that the name is known to use. */
export interface ExplainedBan extends Ban {
  readonly passedOver?: true;
}

/** Everything that the policy knows of somebody. */
export interface Explanation {
  /** Never limited and never banned, whatever the counters say. */
  readonly exempt: boolean;
  /** Where the address is: two letters or `unknown`, and `AS64500` or the like. Absent where nobody looks. */
  readonly country?: string;
  readonly asn?: string;
  /** Whether the user has signed in from this network lately. */
  readonly knownNetwork: boolean;
  readonly bans: readonly ExplainedBan[];
  readonly limits: readonly LimitStanding[];
}

/** What was found, put in words; `spares`: the limits whose bans let known networks through. */
export function explain(
  { rules, whom }: Asked,
  standing: Standing,
  { exempt, place }: { readonly exempt: boolean; readonly place?: Place },
  spares: ReadonlySet<string>,
): Explanation {
  const { bans, counts, known } = standing;
  return {
    exempt,
    ...place,
    knownNetwork: known,
    bans: bans.map((ban) => ({
      ...ban,
      key: showKey(ban.key),
      ...(known && spares.has(ban.by) && { passedOver: true as const }),
    })),
    limits: rules.map((rule, at) => {
      const look = counts[at] ?? { taken: 0, leftMs: undefined, over: false };
      return {
        ...standingOf(rule, whom[at] ?? "", look),
        ...(exempt ? { next: "allow" } : whatNext(rule, look, known)),
      };
    }),
  };
}

function standingOf(
  { name, count, points, windowMs, ofName }: Rule,
  whom: string,
  { taken, leftMs }: Look,
): Omit<LimitStanding, keyof Next> {
  return {
    ...{ limit: name, count, key: showKey(whom), taken, points },
    ...(windowMs !== undefined && { windowMs }),
    ...(leftMs !== undefined && taken > 0 && { endsInMs: Math.ceil(leftMs) }),
    ...(ofName && { sparesKnown: true as const }),
  };
}

type Next = Pick<LimitStanding, "next" | "would" | "delayMs" | "rate" | "banMs">;

function whatNext(
  { count, points, ofName, deed, would, delayMs, rate }: Rule,
  look: Look,
  known: boolean,
): Next {
  const { taken, over, banMs } = look;
  if (ofName && known) return { next: "passed over" };
  const isGuess = count === "authFailures";
  // The last guess that a limit allows is what bans; one beyond it is not looked at, so it may be right.
  if (!over)
    return { next: "allow", ...(isGuess && banMs !== undefined && taken + 1 >= points && { banMs }) };
  if (deed === "observe") return { next: deed, would };
  if (deed === "ban")
    return isGuess ? { next: "refuse" } : { next: deed, ...(banMs !== undefined && { banMs }) };
  return { next: deed, ...(deed === "delay" && { delayMs }), ...(deed === "throttle" && { rate }) };
}
