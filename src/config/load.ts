import { dirname, resolve } from "node:path";
import { checkAcross } from "./checks.ts";
import { convert, fillComputed } from "./convert.ts";
import { type ConfigDocument, readDocument } from "./document.ts";
import { explain } from "./explain.ts";
import { readTextFile } from "./files.ts";
import type { Problem } from "./problem.ts";
import { newReport, type Report } from "./report.ts";
import type { Config } from "./schema.ts";
import { validate, WrittenSchema } from "./validate.ts";

/** A configuration that can be used, or everything that is wrong with it; both sorted by line. */
export type LoadResult =
  | { readonly ok: true; readonly config: Config; readonly warnings: readonly Problem[] }
  | { readonly ok: false; readonly problems: readonly Problem[]; readonly warnings: readonly Problem[] };

export const MAX_CONFIG_BYTES = 1024 * 1024;

/** Reads and checks a configuration file, with the files it names; what is wrong is returned, never thrown. */
export function loadConfig(path: string, env: NodeJS.ProcessEnv = process.env): LoadResult {
  const file = readTextFile(path, MAX_CONFIG_BYTES);
  return file.ok ? parseConfig(file.text, path, env) : failure(path, `cannot be read: ${file.reason}`);
}

/** Checks a configuration's text as if it stood at `path`; what is wrong is returned, never thrown. */
export function parseConfig(text: string, path: string, env: NodeJS.ProcessEnv = process.env): LoadResult {
  try {
    return parse(readDocument(text), path, env);
  } catch (error) {
    // Not expected, but a reload must survive whatever a library does with a strange file.
    return failure(path, `cannot be understood (${error instanceof Error ? error.name : "unknown error"})`);
  }
}

function parse(document: ConfigDocument, path: string, env: NodeJS.ProcessEnv): LoadResult {
  const report = newReport(path, document);
  const config = document.readable ? build(document.value, dirname(resolve(path)), env, report) : undefined;
  const problems = report.problems();
  const warnings = report.warnings();
  if (problems.length > 0 || config === undefined) return { ok: false, problems, warnings };
  return { ok: true, config: deepFreeze(config), warnings };
}

/** The loaded configuration, to be believed only if the report stays empty. */
function build(written: unknown, folder: string, env: NodeJS.ProcessEnv, report: Report): Config | undefined {
  if (written === null) {
    report.error("", "is empty", { valid: "at least listeners, authentication and backends" });
    return undefined;
  }
  explain(validate(written), report);
  if (!isMapping(written)) return undefined;
  fillComputed(written);
  const config = convert(WrittenSchema, written, "", { folder, env, report }) as Config;
  checkAcross(config, report);
  return config;
}

function isMapping(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function failure(file: string, message: string): LoadResult {
  return { ok: false, problems: [{ file, line: 1, column: 1, key: "", message }], warnings: [] };
}

function deepFreeze<Value>(value: Value): Value {
  if (typeof value !== "object" || value === null) return value;
  for (const member of Object.values(value)) deepFreeze(member);
  return Object.freeze(value);
}
