import { isDeepStrictEqual } from "node:util";
import type { Config } from "./schema.ts";

/** What a reload does, in the words of the configuration. */
export interface Difference {
  /** "listener pop3-110 added", "routes changed" and the like. */
  readonly changes: readonly string[];
  /** Keys that have changed and that a running gateway keeps as they were. */
  readonly needsRestart: readonly string[];
}

/** Lists whose members have names of their own. */
const NAMED = ["listeners", "backends"] as const;

export function difference(before: Config, after: Config): Difference {
  const needsRestart = Object.entries(FIXED)
    .filter(([, read]) => !isDeepStrictEqual(read(before), read(after)))
    .map(([name]) => name);
  const rest = Object.keys({ ...before, ...after }).filter(
    (key) => !NAMED.some((name) => name === key) && !(key in FIXED),
  );
  const changes = [
    ...membersChanged("listener", byName(before.listeners), byName(after.listeners)),
    ...membersChanged("backend", before.backends, after.backends),
    ...rest.filter((key) => changed(key as keyof Config, before, after)).map((key) => `${key} changed`),
  ];
  return { changes, needsRestart };
}

/** What only a start decides. */
const FIXED: Readonly<Record<string, (config: Config) => unknown>> = {
  workers: ({ workers }) => workers,
  user: ({ user }) => user,
  group: ({ group }) => group,
  "admin.host": ({ admin }) => admin.host,
  "admin.port": ({ admin }) => admin.port,
  "logging.format": ({ logging }) => logging.format,
  "policy.store": ({ policy }) => policy.store,
  "policy.onStoreFailure": ({ policy }) => policy.onStoreFailure,
  clusterSecret: ({ clusterSecret }) => clusterSecret,
};

function changed(key: keyof Config, before: Config, after: Config): boolean {
  return !isDeepStrictEqual(changeable(before)[key], changeable(after)[key]);
}

/** A configuration without what a reload leaves alone. */
function changeable({ admin, logging, policy, ...rest }: Config): Readonly<Record<string, unknown>> {
  const { store: _store, onStoreFailure: _onStoreFailure, ...limits } = policy;
  return { ...rest, admin: admin.token, logging: logging.level, policy: limits };
}

function byName<Named extends { readonly name: string }>(
  list: readonly Named[],
): Readonly<Record<string, Named>> {
  return Object.fromEntries(list.map((member) => [member.name, member]));
}

type Members = Readonly<Record<string, unknown>>;

function membersChanged(what: string, before: Members, after: Members): string[] {
  return [...new Set([...Object.keys(before), ...Object.keys(after)])].flatMap((name) => {
    if (!Object.hasOwn(before, name)) return `${what} ${name} added`;
    if (!Object.hasOwn(after, name)) return `${what} ${name} removed`;
    return isDeepStrictEqual(before[name], after[name]) ? [] : `${what} ${name} changed`;
  });
}
