import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { type LoadResult, parseConfig } from "../../src/config/load.ts";
import { formatProblem } from "../../src/config/problem.ts";
import type { Config } from "../../src/config/schema.ts";

/** A temporary folder with an empty users.yaml and whatever else a test needs; removed after the file's tests. */
export function newFolder(files: Record<string, string> = {}): string {
  const folder = mkdtempSync(join(tmpdir(), "postern-config-"));
  after(() => rmSync(folder, { recursive: true, force: true }));
  for (const [name, text] of Object.entries({ "users.yaml": "", ...files }))
    writeFileSync(join(folder, name), text);
  return folder;
}

/** The four sections of a file with nothing wrong in it, one a line. */
export const GOOD = {
  tls: "tls: { selfSigned: true }",
  listeners: "listeners: [{ protocol: imap, port: 1143 }]",
  authentication: "authentication: { sources: [{ type: file, path: users.yaml }] }",
  backends: "backends: { alpha: { host: alpha.internal, protocols: { imap: 143 } } }",
};

/** A good file in which some sections are replaced, left out (undefined) or added. */
export function fileWith(sections: Record<string, string | undefined> = {}): string {
  return Object.values({ ...GOOD, ...sections })
    .filter((section) => section !== undefined)
    .join("\n");
}

/** The configuration in a text, which must have nothing wrong with it. */
export function mustLoad(text: string, path: string, env: NodeJS.ProcessEnv = {}): Config {
  const result = parseConfig(text, path, env);
  if (!result.ok) throw new Error(result.problems.map(formatProblem).join("\n"));
  return result.config;
}

/** Problems or warnings as an operator reads them. */
export function linesOf(result: LoadResult, what: "problems" | "warnings"): string[] {
  const problems = what === "warnings" ? result.warnings : result.ok ? [] : result.problems;
  return problems.map(formatProblem);
}
