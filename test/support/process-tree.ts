import { readFile } from "node:fs/promises";
import { eventually } from "./waiting.ts";

/** Process ids of a process's children whose command line says this word. */
export async function childrenOf(pid: number, word: string): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8").catch(() => "");
  const children = text.split(" ").filter(Boolean).map(Number);
  const lines = await Promise.all(children.map((child) => commandLine(child)));
  return children.filter((_, at) => lines[at]?.includes(word));
}

async function commandLine(pid: number): Promise<string[]> {
  const text = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
  return text.split("\0");
}

/** Whether a process is there, dead ones that nobody has waited for left out. */
export async function isAlive(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  return stat !== "" && !/^\d+ \(.*\) Z /.test(stat);
}

/** Waits until none of these processes is left. */
export async function gone(...pids: readonly number[]): Promise<void> {
  await eventually(`the end of ${pids.join(", ")}`, async () => {
    const alive = await Promise.all(pids.map(isAlive));
    return !alive.includes(true);
  });
}
