import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import type { Gateway } from "./gateway.ts";
import { runProcess } from "./processes.ts";

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

/** What the command line at a running gateway's side says, as it should: `line` is a command and its options. */
export async function says(
  { folder }: Pick<Gateway, "folder">,
  line: string,
  expected = /(?:)/,
  exit = 0,
): Promise<string> {
  const args = [MAIN, ...line.split(" "), "--config", folder.at("postern.yaml")];
  const { code, stdout, stderr } = await runProcess(process.execPath, args, { name: `postern ${line}` });
  const said = stdout + stderr;
  assert.match(said, expected, line);
  assert.equal(code, exit, `${line}: ${said}`);
  return said;
}
