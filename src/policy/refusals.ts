import { Refused } from "../refusal.ts";
import type { Asked } from "./asking.ts";
import { showKey } from "./limit-key.ts";
import { inTime } from "./period.ts";
import type { Ban, Taken } from "./store/store.ts";

/** Who asked for a ban that no limit led to. */
export const OPERATOR = "operator";

/** The no of a ban. */
export function refusedBy({ key, by, leftMs }: Ban): Refused {
  const detail = `banned by ${by === OPERATOR ? "the operator" : `limit ${by}`} for ${inTime(leftMs)} more: ${showKey(key)}`;
  return new Refused("banned", detail, { retryAfterMs: Math.ceil(leftMs) });
}

/**
 * The first limit that is full speaks, or rather one that lets nobody pass; trying again makes sense when all of them
 * begin anew.
 */
export function refusedFor({ counts }: Taken, { question, rules, whom }: Asked): Refused {
  const full = rules.flatMap((rule, at) => {
    const count = counts[at];
    return count?.over && !question.buckets[at]?.soft ? [{ rule, count, key: whom[at] ?? "" }] : [];
  });
  for (const { rule } of full) rule.heard("refused");
  const first = full.find(({ rule }) => rule.points === 0) ?? full[0];
  if (!first) throw new Error("refused by no limit");
  const ends = full.map(({ count }) => count.leftMs ?? Number.POSITIVE_INFINITY);
  const leftMs = Math.max(...ends);
  return first.rule.refusal(first.key, {
    ...first.count,
    leftMs: Number.isFinite(leftMs) ? leftMs : undefined,
  });
}
