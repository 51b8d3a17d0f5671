import { readFileSync } from "node:fs";

/** USER_HZ: Linux reports CPU time in hundredths of a second, whatever the kernel's own tick is. */
const TICKS_PER_SECOND = 100;

/** User and system time of a process with all its threads and living descendants, in seconds. */
export function cpuSeconds(pid: number): number {
  return sum(pid, ownCpuSeconds);
}

/** Memory of a process with its living descendants, in bytes; what several share counts once among them. */
export function memoryBytes(pid: number): number {
  return sum(pid, (one) => {
    const pss = /^Pss:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${one}/smaps_rollup`, "utf8"))?.[1];
    return Number(pss) * 1024;
  });
}

function ownCpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  // Fields 14 and 15 of proc(5), counted from behind the name, which may hold spaces.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

function sum(pid: number, read: (pid: number) => number): number {
  return children(pid).reduce((total, child) => total + sum(child, read), read(pid));
}

function children(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8");
  return text.split(" ").filter(Boolean).map(Number);
}
