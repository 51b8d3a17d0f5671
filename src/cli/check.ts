import { readUsers } from "../auth/read-users.ts";
import { describeCertificates } from "../config/certificate-files.ts";
import { effectiveText } from "../config/effective.ts";
import { readTextFile } from "../config/files.ts";
import { loadConfig, MAX_CONFIG_BYTES } from "../config/load.ts";
import { formatProblem, type Problem } from "../config/problem.ts";
import type { Config } from "../config/schema.ts";
import { loadSenders } from "../config/senders.ts";
import { acmeState } from "./acme-state.ts";
import { probe } from "./probe.ts";

const MAX_USERS_BYTES = 32 * 1024 * 1024;

/**
 * `postern check`: every problem and warning of a configuration, one line each; 1 when it cannot be used. With
 * `probe` its backends are visited too, and 1 is also for one that cannot be reached or believed. `effective` prints
 * all of a good one, defaults included, with secrets masked, and warnings beside it.
 */
export async function check(
  file: string,
  { effective = false, ...options }: { readonly probe?: boolean; readonly effective?: boolean } = {},
): Promise<number> {
  const result = loadConfig(file);
  const tell = effective ? console.error : console.log;
  for (const warning of result.warnings) tell(`warning: ${formatProblem(warning)}`);
  const problems = result.ok ? await problemsOfFiles(result.config) : result.problems;
  for (const line of result.ok ? await acmeState(result.config) : []) tell(line);
  if (problems.length === 0) {
    if (effective) return printEffective(file);
    if (result.ok) for (const line of describeCertificates(result.config.tls.certificates)) console.log(line);
    console.log(`${file}: good`);
    const reached = !options.probe || !result.ok || (await probe(result.config, console.log));
    return reached ? 0 : 1;
  }
  for (const problem of problems) console.error(formatProblem(problem));
  console.error(`${file}: ${problems.length === 1 ? "1 problem" : `${problems.length} problems`}`);
  return 1;
}

function printEffective(file: string): number {
  const read = readTextFile(file, MAX_CONFIG_BYTES);
  if (!read.ok) return 1;
  process.stdout.write(effectiveText(read.text));
  return 0;
}

/** What is wrong with the files that a good configuration names. */
async function problemsOfFiles(config: Config): Promise<Problem[]> {
  const problems: Problem[] = [];
  for (const { path } of config.authentication.sources) {
    const file = readTextFile(path, MAX_USERS_BYTES);
    const users = file.ok && (await readUsers(file.text, path, Object.keys(config.backends)));
    if (users) problems.push(...users.problems);
  }
  const { map } = config.submission.senders;
  const senders = map === undefined ? undefined : loadSenders(map);
  if (senders && !senders.ok) problems.push(...senders.problems);
  return problems;
}
