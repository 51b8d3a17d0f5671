import { childPointer, readDocument } from "./document.ts";
import { readTextFile } from "./files.ts";
import { kindOf, type Problem } from "./problem.ts";
import { newReport, type Report } from "./report.ts";

const MAX_BYTES = 16 * 1024 * 1024;
const VALID = "an address, @DOMAIN, *@DOMAIN or *, or a list of them";

/** The file of `submission.senders.map`: for each login, in lower case, what else it may send as. */
export type SendersFile =
  | { readonly ok: true; readonly senders: ReadonlyMap<string, readonly string[]> }
  | { readonly ok: false; readonly problems: readonly Problem[] };

/** Reads and checks a senders file; whatever is wrong with it comes back, all at once. */
export function loadSenders(path: string): SendersFile {
  const file = readTextFile(path, MAX_BYTES);
  const document = readDocument(file.ok ? file.text : "");
  const report = newReport(path, document);
  if (!file.ok) report.error("", `cannot be read: ${file.reason}`);
  const senders = file.ok && document.readable ? readSenders(document.value, report) : new Map();
  const problems = report.problems();
  return problems.length > 0 ? { ok: false, problems } : { ok: true, senders };
}

function readSenders(value: unknown, report: Report): Map<string, readonly string[]> {
  const senders = new Map<string, readonly string[]>();
  if (value === null || value === undefined) return senders;
  if (kindOf(value) !== "a mapping") {
    report.error("", "is not a senders file", { found: kindOf(value), valid: "a mapping of logins" });
    return senders;
  }
  for (const [login, written] of Object.entries(value as object)) {
    const patterns: readonly unknown[] = Array.isArray(written) ? written : [written];
    if (patterns.every(isPattern)) senders.set(login.toLowerCase(), patterns);
    else report.error(childPointer("", login), "does not say which addresses", { valid: VALID });
  }
  return senders;
}

function isPattern(pattern: unknown): pattern is string {
  return typeof pattern === "string" && /^(?:\*|\*?@[^\s@]+|[^\s@]+@[^\s@]+)$/.test(pattern);
}
