import { Ajv, type ErrorObject, type ValidateFunction } from "ajv";
import Type, { type Static } from "typebox";
import { childPointer, readDocument } from "../config/document.ts";
import { kindOf, type Problem, show } from "../config/problem.ts";
import { newReport, type Report } from "../config/report.ts";
import { isNetwork } from "../wire/networks.ts";
import { canonicalName, nameProblem } from "./name.ts";
import { parseStored, type StoredPassword } from "./password/stored-password.ts";

/** One entry of a users file, checked. Crosses threads. */
export interface User {
  /** As the file spells it. */
  readonly name: string;
  readonly password: StoredPassword;
  readonly backend?: string;
  readonly login?: string;
  /** May sign in from these only. */
  readonly networks?: readonly string[];
  /** May use these only. */
  readonly protocols?: readonly string[];
  readonly disabled: boolean;
}

export interface UsersFile {
  /** Not to be used while there are problems. */
  readonly users: readonly User[];
  readonly problems: readonly Problem[];
}

/** The protocols in which a client signs in; listeners of `smtp` take mail from other servers, without AUTH. */
const PROTOCOLS = ["imap", "pop3", "submission", "sieve"] as const;

const Entry = Type.Object(
  {
    password: Type.String({ minLength: 1 }),
    backend: Type.Optional(Type.String({ minLength: 1 })),
    login: Type.Optional(Type.String({ format: "name" })),
    networks: Type.Optional(Type.Array(Type.String({ format: "network" }), { minItems: 1 })),
    protocols: Type.Optional(Type.Array(Type.Enum([...PROTOCOLS]), { minItems: 1 })),
    disabled: Type.Optional(Type.Boolean()),
  },
  { additionalProperties: false },
);
type Entry = Static<typeof Entry>;

const KEYS = Object.keys(Entry.properties);
const VALID: Readonly<Record<keyof Entry, string>> = {
  password: "what `postern hash` prints",
  backend: "a backend's name",
  login: "the user's name at the backend",
  networks: "a list of networks such as 10.0.0.0/8",
  protocols: `a list of ${PROTOCOLS.join(", ")}`,
  disabled: "true, false",
};

/**
 * Reads a users file: every problem in it at once, each with its place, none with a password. `backends`,
 * when given, are the names that `backend` may have.
 */
export function parseUsersFile(text: string, file: string, backends?: readonly string[]): UsersFile {
  const document = readDocument(text);
  const report = newReport(file, document);
  const lineOf = (pointer: string) => document.lineColumn(document.offsetAt(pointer, "key")).line;
  const users = document.readable ? readUsers(document.value, { report, lineOf, backends }) : [];
  return { users, problems: report.problems() };
}

interface Around {
  readonly report: Report;
  readonly lineOf: (pointer: string) => number;
  readonly backends: readonly string[] | undefined;
}

function readUsers(value: unknown, around: Around): User[] {
  if (value === null || value === undefined) return [];
  if (kindOf(value) !== "a mapping") {
    around.report.error("", "is not a users file", {
      found: kindOf(value),
      valid: "a mapping of user names",
    });
    return [];
  }
  const entries = Object.entries(value).map(([name, entry]) => ({
    name,
    entry,
    pointer: childPointer("", name),
  }));
  checkNames(entries, around);
  const isEntry = compileEntry();
  return entries.flatMap(({ name, entry, pointer }) => {
    if (isEntry(entry)) return readUser(name, entry, pointer, around) ?? [];
    for (const error of isEntry.errors ?? []) explain(pointer, error, around.report);
    return [];
  });
}

function checkNames(entries: readonly { name: string; pointer: string }[], { report, lineOf }: Around): void {
  const pointers = new Map<string, string>();
  for (const { name, pointer } of entries) {
    const problem = nameProblem(name);
    const other = pointers.get(canonicalName(name));
    if (problem) report.error(pointer, `cannot be a user's name: ${problem}`, { at: "key" });
    else if (other === undefined) pointers.set(canonicalName(name), pointer);
    else report.error(pointer, `is the same user as in line ${lineOf(other)}`, { at: "key" });
  }
}

function readUser(
  name: string,
  entry: Entry,
  pointer: string,
  { report, backends }: Around,
): User | undefined {
  const { backend } = entry;
  if (backend !== undefined && backends && !backends.includes(backend)) {
    const words = { found: show(backend), valid: backends.join(", ") };
    report.error(childPointer(pointer, "backend"), "is no backend of the configuration", words);
  }
  const parsed = parseStored(entry.password);
  if ("problem" in parsed) {
    const message = `is no stored password: ${parsed.problem}`;
    report.error(childPointer(pointer, "password"), message, { valid: VALID.password });
    return undefined;
  }
  const { scheme, cost, stored } = parsed;
  return { disabled: false, ...entry, name, password: { scheme, cost, stored } };
}

function compileEntry(): ValidateFunction<Entry> {
  const ajv = new Ajv({ allErrors: true, verbose: true });
  ajv.addFormat("network", { type: "string", validate: isNetwork });
  // It goes to a backend as a name, so it has to be fit for one.
  ajv.addFormat("name", { type: "string", validate: (text) => nameProblem(text) === undefined });
  return ajv.compile<Entry>(Entry);
}

/** Says in an operator's words what the schema found wrong with the entry at `pointer`. */
function explain(
  pointer: string,
  { keyword, params, instancePath, data }: ErrorObject,
  report: Report,
): void {
  const key = instancePath.split("/")[1] ?? "";
  if (keyword === "additionalProperties") {
    const unknown = childPointer(pointer, String(params["additionalProperty"]));
    report.error(unknown, "is not a key of a user", { at: "key", valid: KEYS.join(", ") });
  } else if (keyword === "required") {
    report.error(pointer, "lacks a password", { at: "key", valid: VALID.password });
  } else {
    // A password, and an entry that is not a mapping and so may be one, are named by their kind only.
    const found = key === "" || key === "password" ? kindOf(data) : show(data);
    report.error(pointer + instancePath, "is not valid", { found, valid: validAt(key) });
  }
}

function validAt(key: string): string {
  return key in VALID ? VALID[key as keyof Entry] : `a mapping of ${KEYS.join(", ")}`;
}
