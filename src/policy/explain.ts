import type { Asked } from "./asking.ts";
import type { Place } from "./geo/places.ts";
import type { Deed, Limit } from "./limit.ts";
import { showKey } from "./limit-key.ts";
import type { Ban, Standing } from "./store/store.ts";

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
      const { name, count, points, windowMs, ofName, deed } = rule;
      const { taken, leftMs, over } = counts[at] ?? { taken: 0, leftMs: undefined, over: false };
      return {
        limit: name,
        count,
        key: showKey(whom[at] ?? ""),
        taken,
        points,
        ...(windowMs !== undefined && { windowMs }),
        ...(leftMs !== undefined && taken > 0 && { endsInMs: leftMs }),
        next: exempt || !(over || (ofName && known)) ? "allow" : over ? deed : "passed over",
      };
    }),
  };
}
