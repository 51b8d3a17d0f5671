import { readFile } from "node:fs/promises";

/** Kills a process and its children at once; the parent first, so that it starts no new ones. */
export async function killTree(pid: number): Promise<void> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8");
  for (const each of [pid, ...children.trim().split(" ").filter(Boolean).map(Number)]) {
    try {
      process.kill(each, "SIGKILL");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
  }
}
