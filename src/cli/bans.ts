import type { Whom } from "../admin/policy-control.ts";
import { printable } from "../wire/printable.ts";
import { act, askAdmin } from "./ask-admin.ts";
import { banWords, type Told, type ToldBan, type ToldTop, topWords, wordsFor } from "./policy-words.ts";

/** As written on the command line. */
export interface TopOptions {
  readonly by: string;
  readonly count: string;
  readonly limit: string;
  readonly json: boolean;
}

/** More than any line here has to be. */
const LONGEST_LINE = 2_000;

/** `postern explain`: what limits and bans say to somebody now. */
export function explain(file: string, whom: Whom, json: boolean): Promise<number> {
  if (whom.ip === undefined && whom.user === undefined) return sayWhom("explain", "--user, --ip or both");
  return act(
    () => askAdmin(file, "GET", `/api/v1/explain?${query(whom)}`),
    ({ body }) => {
      if (json) return console.log(JSON.stringify(body));
      warnIfAlone(body);
      for (const line of wordsFor(body as unknown as Told, whom, new Date())) print(line);
    },
  );
}

/** `postern bans`: all bans that hold now; those that end first come first. */
export function bans(file: string, json: boolean): Promise<number> {
  return act(
    () => askAdmin(file, "GET", "/api/v1/bans?limit=100000"),
    ({ body }) => {
      if (json) return console.log(JSON.stringify(body));
      warnIfAlone(body);
      const rows = body["bans"] as readonly ToldBan[];
      for (const row of rows) print(banWords(row, new Date()));
      const total = Number(body["total"]);
      console.log(
        rows.length < total ? `${rows.length} of ${total} bans` : total === 1 ? "1 ban" : `${total} bans`,
      );
    },
  );
}

/** `postern top`: who does most of what, in the last hour at most. */
export function top(file: string, { json, ...asked }: TopOptions): Promise<number> {
  return act(
    () => askAdmin(file, "GET", `/api/v1/top?${new URLSearchParams({ ...asked })}`),
    ({ body }) => {
      if (json) return console.log(JSON.stringify(body));
      for (const line of topWords(body as unknown as ToldTop)) print(line);
    },
  );
}

/** `postern ban`: new connections and logins of theirs are refused from now on; sessions that are open go on. */
export function ban(file: string, whom: Whom, time: string): Promise<number> {
  if (Object.keys(whom).length === 0) return sayWhom("ban", PARTS);
  return act(
    () => askAdmin(file, "POST", "/api/v1/bans", { ...whom, for: time }),
    ({ body }) => {
      warnIfAlone(body);
      print(banWords(body as unknown as ToldBan, new Date()));
      if (body["exempt"] === true)
        console.log("but this address is exempt (policy.exempt): the ban does nothing");
    },
  );
}

/** `postern unban`: lets them in at once, and forgets what limits have counted for them. */
export function unban(file: string, whom: Whom): Promise<number> {
  if (Object.keys(whom).length === 0) return sayWhom("unban", PARTS);
  return act(
    () => askAdmin(file, "DELETE", `/api/v1/bans?${query(whom)}`),
    ({ body }) => {
      warnIfAlone(body);
      console.log(
        body["lifted"] === true ? "the ban is lifted" : "there was no ban; its counters are empty now",
      );
    },
  );
}

/** `postern unban --by`: a limit that was too strict has banned many. */
export function unbanAll(file: string, by: string, whom: Whom): Promise<number> {
  return act(
    () => askAdmin(file, "DELETE", `/api/v1/bans?${new URLSearchParams({ ...whom, by })}`),
    ({ body }) => {
      warnIfAlone(body);
      const bans = Number(body["bans"]);
      const many = bans === 1 ? "1 ban is lifted" : `${bans} bans are lifted`;
      print(bans > 0 ? many : `there was no ban by ${by}`);
    },
  );
}

const PARTS = "--ip, --user or the like, as `postern bans` shows it";

/** A gateway that decides by itself for a while says what it knows, and that it is not all. */
function warnIfAlone(body: Readonly<Record<string, unknown>>): void {
  if (body["alone"] !== true) return;
  console.log(
    "the shared store does not answer: this is of this gateway alone, and only until the store is back",
  );
}

function sayWhom(command: string, what: string): Promise<number> {
  console.error(`postern ${command}: say whom: ${what}`);
  return Promise.resolve(2);
}

function query(whom: Whom): string {
  return new URLSearchParams({ ...whom }).toString();
}

/** A name that somebody else chose does not steer this terminal. */
function print(line: string): void {
  console.log(printable(line, LONGEST_LINE));
}
