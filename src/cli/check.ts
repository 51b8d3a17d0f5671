import { loadConfig } from "../config/load.ts";
import { formatProblem } from "../config/problem.ts";

/** `postern check`: every problem and warning of a configuration, one line each; 1 when it cannot be used. */
export async function check(file: string): Promise<number> {
  const result = loadConfig(file);
  for (const warning of result.warnings) console.log(`warning: ${formatProblem(warning)}`);
  if (result.ok) {
    console.log(`${file}: good`);
    return 0;
  }
  for (const problem of result.problems) console.error(formatProblem(problem));
  console.error(
    `${file}: ${result.problems.length === 1 ? "1 problem" : `${result.problems.length} problems`}`,
  );
  return 1;
}
