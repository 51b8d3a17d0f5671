import { setTimeout as pause } from "node:timers/promises";
import { job } from "./measure.ts";
import { memoryBytes } from "./process-tree.ts";
import type { Contender, Site, Subject } from "./subjects.ts";

const MINUTE = 60_000;
/** Signed in by one client process; the kernel limits what one may have open. */
const PER_CLIENT = 5_000;

/** Holds idle TLS sessions for so many minutes; tells their memory and how many of them are still there. */
export async function holdIdle(
  contender: Contender,
  site: Site,
  { sessions, minutes }: { readonly sessions: number; readonly minutes: number },
): Promise<void> {
  await using subject = await contender.start(site);
  await using clients = new AsyncDisposableStack();
  await pause(5_000);
  const before = memoryBytes(subject.pid);
  for (let left = sessions; left > 0; left -= PER_CLIENT) {
    const held = await job({ sessions: Math.min(left, PER_CLIENT), then: "hold" })(subject.ports);
    if (held) clients.use(held);
  }
  const report = async (minute: number): Promise<void> => {
    const each = (memoryBytes(subject.pid) - before) / sessions / 1024;
    console.log(
      `minute ${minute}: ${await openSessions(subject)} of ${sessions} sessions, ${each.toFixed(1)} KiB each`,
    );
  };
  await pause(5_000);
  await report(0);
  for (let minute = 1; minute <= minutes; minute += 1) {
    await pause(MINUTE);
    await report(minute);
  }
}

async function openSessions({ adminPort }: Subject): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${adminPort}/metrics`)).text();
  return [...text.matchAll(/^postern_sessions_open{.*} (\d+)$/gm)].reduce(
    (sum, [, count]) => sum + Number(count),
    0,
  );
}
