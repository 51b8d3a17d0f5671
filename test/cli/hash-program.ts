import { parseArgs } from "node:util";
import { hash } from "../../src/cli/hash.ts";

/** `postern hash` alone, to be run under a pseudo terminal. */
const { values } = parseArgs({
  options: { scheme: { type: "string" }, rounds: { type: "string" }, verify: { type: "string" } },
});
const { rounds, ...others } = values;
process.exitCode = await hash(
  { ...others, ...(rounds !== undefined && { rounds: Number(rounds) }) },
  process,
);
