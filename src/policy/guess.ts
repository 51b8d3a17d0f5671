import { Refused } from "../refusal.ts";
import type { Outcome } from "./store/store.ts";

/** Hands the answer on when what it means for the limits is settled. */
export async function settled<T>(
  answer: Promise<T>,
  settle: (outcome: Outcome) => Promise<void>,
): Promise<T> {
  let value: T;
  try {
    value = await answer;
  } catch (error) {
    await settle(outcomeOf(error));
    throw error;
  }
  // Whatever is asked next is asked behind it, so nobody waits for that.
  void settle("right");
  return value;
}

function outcomeOf(error: unknown): Outcome {
  if (!(error instanceof Refused) || error.refusal.kind !== "badCredential") return "undecided";
  return error.refusal.unknownName ? "unknownName" : "wrong";
}
