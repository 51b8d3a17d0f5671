import type { FlagChange } from "../mailbox.ts";
import type { FetchItem } from "./fetch-item.ts";
import type { SearchProgram } from "./search-key.ts";
import type { SequenceSet } from "./sequence-set.ts";

export const STATUS_ITEMS = ["MESSAGES", "RECENT", "UIDNEXT", "UIDVALIDITY", "UNSEEN"] as const;
export type StatusItem = (typeof STATUS_ITEMS)[number];

type Nothing = Record<string, never>;

interface Named {
  readonly mailbox: string;
}

/** `uid` says that the command came behind UID and speaks of UIDs. */
interface Addressed {
  readonly uid: boolean;
  readonly set: SequenceSet;
}

export interface ListOptions {
  readonly reference: string;
  readonly patterns: readonly string[];
  /** RFC 5258 3.1 and RFC 6154 2: only mailboxes that are so. */
  readonly only: readonly ("SUBSCRIBED" | "SPECIAL-USE")[];
  readonly status: readonly StatusItem[];
  readonly returnSubscribed: boolean;
}

/** What each command takes. The order is RFC 3501's, then that of the extensions. */
export interface CommandArguments {
  CAPABILITY: Nothing;
  NOOP: Nothing;
  LOGOUT: Nothing;
  STARTTLS: Nothing;
  AUTHENTICATE: { readonly mechanism: string; readonly initial: string | undefined };
  LOGIN: { readonly user: string; readonly password: string };
  SELECT: Named;
  EXAMINE: Named;
  CREATE: Named;
  DELETE: Named;
  RENAME: { readonly from: string; readonly to: string };
  SUBSCRIBE: Named;
  UNSUBSCRIBE: Named;
  LIST: ListOptions;
  LSUB: { readonly reference: string; readonly pattern: string };
  STATUS: Named & { readonly items: readonly StatusItem[] };
  APPEND: Named & {
    readonly flags: readonly string[];
    readonly date: Date | undefined;
    readonly raw: Buffer;
  };
  CHECK: Nothing;
  CLOSE: Nothing;
  EXPUNGE: { readonly set: SequenceSet | undefined };
  SEARCH: { readonly uid: boolean; readonly program: SearchProgram };
  FETCH: Addressed & { readonly items: readonly FetchItem[] };
  STORE: Addressed & {
    readonly change: FlagChange;
    readonly silent: boolean;
    readonly flags: readonly string[];
  };
  COPY: Addressed & Named;
  MOVE: Addressed & Named;
  ID: Nothing;
  ENABLE: { readonly capabilities: readonly string[] };
  IDLE: Nothing;
  NAMESPACE: Nothing;
  UNSELECT: Nothing;
}

export type CommandName = keyof CommandArguments;

export type Command = {
  [Name in CommandName]: { readonly tag: string; readonly name: Name; readonly args: CommandArguments[Name] };
}[CommandName];

/** `tag` is absent where even that could not be read, and the reply must be untagged. */
export interface BadCommand {
  readonly tag: string | undefined;
  readonly name: "BAD";
  readonly reason: string;
}
