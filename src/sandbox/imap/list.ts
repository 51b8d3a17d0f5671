import { type Account, DELIMITER } from "../account.ts";
import type { ListOptions } from "./command.ts";
import { AFTER_LOGIN, accountOf, type CommandRows } from "./command-row.ts";
import { formatMailbox } from "./format.ts";
import { matchesPattern } from "./list-pattern.ts";
import { formatStatus } from "./mailbox-commands.ts";
import { ok } from "./reply.ts";

const MAX_PATTERNS = 20;

/** LIST, with as much of RFC 5258 as RFC 6154 builds on, and LSUB. */
export const LIST_COMMANDS: CommandRows<"LIST" | "LSUB"> = {
  LIST: {
    when: AFTER_LOGIN,
    async run(session, options) {
      await session.write(list(accountOf(session), options));
      return ok("Listed");
    },
  },
  LSUB: {
    when: AFTER_LOGIN,
    async run(session, { reference, pattern }) {
      await session.write(listSubscribed(accountOf(session), reference + pattern));
      return ok("Listed");
    },
  },
};

function list(account: Account, options: ListOptions): string {
  // RFC 3501 6.3.8: an empty name asks for the hierarchy delimiter.
  if (options.patterns.length === 1 && options.patterns[0] === "") return line("LIST", ["\\Noselect"], "");
  const patterns = options.patterns.slice(0, MAX_PATTERNS).map((pattern) => options.reference + pattern);
  const names = candidates(account, options).filter((name) => matchesAny(patterns, name));
  return names.map((name) => describe(account, name, options)).join("");
}

function matchesAny(patterns: readonly string[], name: string): boolean {
  return patterns.some((pattern) => matchesPattern(pattern, name));
}

function candidates(account: Account, { only }: ListOptions): string[] {
  const names = only.includes("SUBSCRIBED") ? account.subscriptions : account.mailboxNames;
  if (!only.includes("SPECIAL-USE")) return names;
  return names.filter((name) => account.find(name)?.specialUse !== undefined);
}

function describe(account: Account, name: string, { returnSubscribed, status }: ListOptions): string {
  const mailbox = account.find(name);
  const attributes = [
    ...(mailbox ? [] : ["\\NonExistent"]),
    account.hasChildren(name) ? "\\HasChildren" : "\\HasNoChildren",
    ...(mailbox?.specialUse ? [mailbox.specialUse] : []),
    ...(returnSubscribed && account.isSubscribed(name) ? ["\\Subscribed"] : []),
  ];
  const counts = mailbox && status.length > 0 ? formatStatus(name, mailbox, status) : "";
  return line("LIST", attributes, name) + counts;
}

function listSubscribed(account: Account, pattern: string): string {
  const matched = account.subscriptions.filter((name) => matchesPattern(pattern, name));
  // RFC 3501 6.3.9: a level that "%" hides subscribed names below is shown, but cannot be selected.
  const hidden = pattern.endsWith("%")
    ? subscribedLevels(account).filter((name) => matchesPattern(pattern, name))
    : [];
  const superiors = new Set(hidden.filter((name) => !account.isSubscribed(name)));
  return [
    ...matched.map((name) => line("LSUB", [], name)),
    ...[...superiors].map((name) => line("LSUB", ["\\Noselect"], name)),
  ].join("");
}

function subscribedLevels(account: Account): string[] {
  return account.subscriptions.flatMap((name) => {
    const levels = name.split(DELIMITER);
    return levels.slice(1).map((_, index) => levels.slice(0, index + 1).join(DELIMITER));
  });
}

function line(response: "LIST" | "LSUB", attributes: readonly string[], name: string): string {
  const formatted = name === "" ? '""' : formatMailbox(name);
  return `* ${response} (${attributes.join(" ")}) "${DELIMITER}" ${formatted}\r\n`;
}
