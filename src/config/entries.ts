import { childPointer } from "./document.ts";
import type { Report } from "./report.ts";

/** A member of a list or record, and where it stands. */
export interface Entry<Value> {
  readonly pointer: string;
  readonly value: Value;
}

/** The members of a list or record that can be relied on. */
export function entriesOf<Value>(
  members: readonly Value[] | Readonly<Record<string, Value>> | undefined,
  parent: string,
  report: Report,
): Entry<Value>[] {
  if (typeof members !== "object" || members === null) return [];
  return Object.entries(members)
    .map(([name, value]) => ({ pointer: childPointer(parent, name), value }))
    .filter(({ pointer }) => report.whole(pointer));
}
