import { randomUUID } from "node:crypto";
import type { Deed, Limit } from "../limit.ts";
import { type KeyPart, membersOf } from "../limit-key.ts";

export const EVENT_KINDS = ["ban", "unban", "limit", "suspected"] as const;
export type EventKind = (typeof EVENT_KINDS)[number];

/** Whom it is about, by the parts of the limit's key. */
export type EventWhom = Readonly<Partial<Record<KeyPart, string>>>;

interface Common {
  /** Another one for each event; the same when it is told again. */
  readonly id: string;
  /** ISO 8601, in UTC. */
  readonly time: string;
  /** `hostname` of the configuration. */
  readonly gateway: string;
  readonly whom: EventWhom;
}

/** Somebody is banned. Its natural end is no event: `until` says it. */
interface BanEvent extends Common {
  readonly kind: "ban";
  /** The limit that asks for it, or `operator`. */
  readonly by: string;
  readonly seconds: number;
  readonly until: string;
  /** How often in a row, the first one included. */
  readonly times: number;
}

/** An operator has lifted a ban. */
interface UnbanEvent extends Common {
  readonly kind: "unban";
  readonly by: string;
}

/** A limit is reached, or one that only alerts: told once for each key and window. */
interface LimitEvent extends Common {
  readonly kind: "limit" | "suspected";
  readonly limit: string;
  readonly count: Limit["count"];
  /** What it does to whoever is beyond it. */
  readonly then: Deed;
  readonly taken: number;
  readonly points: number;
  /** Absent where it is how many at once. */
  readonly windowSeconds?: number;
  /** How often the key was beyond the limit in the window before, after that was told. */
  readonly untold: number;
}

/** What happened that others may want to know. Names in it are as clients have written them. */
export type PolicyEvent = BanEvent | UnbanEvent | LimitEvent;

type Told = Omit<BanEvent, keyof Common> | Omit<UnbanEvent, keyof Common> | Omit<LimitEvent, keyof Common>;

export function newEvent(gateway: string, key: string, told: Told): PolicyEvent {
  const head = { id: randomUUID(), time: new Date().toISOString(), gateway, whom: membersOf(key) };
  return { ...head, ...told } as PolicyEvent;
}

/** The address or network that it is about by itself, where it is about one: not one user's there. */
export function addressOf({ whom: { ip, ...others } }: PolicyEvent): string | undefined {
  return Object.keys(others).length === 0 ? ip : undefined;
}
