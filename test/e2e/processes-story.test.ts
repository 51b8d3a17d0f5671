import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { certificateAuthority } from "../support/certificates.ts";
import { connect } from "../support/conversation.ts";
import { type Door, openDoor } from "../support/door.ts";
import type { LogLine } from "../support/gateway.ts";
import { type MailProgram, signIn } from "../support/mail-program.ts";
import { freePort } from "../support/ports.ts";
import { childrenOf, gone } from "../support/process-tree.ts";
import { startScriptedBackend } from "../support/scripted-backend.ts";
import { eventually } from "../support/waiting.ts";

/** The full size is 1,000 sessions and 100 logins a second. */
const IDLE = Number(process.env["POSTERN_STORY_SESSIONS"] ?? 200);
const PER_SECOND = Number(process.env["POSTERN_STORY_LOGINS"] ?? 30);
const PASSWORD = "pw";
const RELOADS = 20;

/** Clients of many addresses, so that no one address runs out of ports. */
const from = (n: number): string => `127.0.1.${1 + (n % 200)}`;
const idler = (n: number): string => `idle${n}@example.org`;
const USERS = Object.fromEntries(
  Array.from({ length: IDLE }, (_, n) => [idler(n), PASSWORD]).concat([["new@example.org", PASSWORD]]),
);

/** A process that was ended by the test, from when it did no more work until it was gone for sure. */
interface Ended {
  readonly pid: number;
  readonly at: number;
}

/** Everybody who stays, and comes back when cut off. */
class Idlers {
  readonly drops: { readonly user: string; readonly pid: number; readonly heard: string }[] = [];
  readonly #door: Door;
  readonly #homes = new Map<string, number>();
  readonly #programs = new Map<string, MailProgram>();
  #over = false;

  constructor(door: Door) {
    this.#door = door;
  }

  async open(numbers: readonly number[]): Promise<void> {
    for (let at = 0; at < numbers.length; at += 20)
      await Promise.all(numbers.slice(at, at + 20).map((n) => this.#open(n)));
    await this.#locate();
  }

  /** Sessions there must be again after a death, each found in its worker. */
  async whole(): Promise<void> {
    await eventually("everybody to be back", () => this.#programs.size === IDLE, { timeoutMs: 20_000 });
    await this.#locate();
  }

  countIn(pid: number): number {
    return [...this.#homes.values()].filter((home) => home === pid).length;
  }

  leave(): void {
    this.#over = true;
    for (const program of this.#programs.values()) program.vanish();
  }

  async #open(n: number): Promise<void> {
    const user = idler(n);
    const { ports, trust } = this.#door;
    const program = await signIn({
      port: ports.implicit,
      tls: trust,
      user,
      password: PASSWORD,
      localAddress: from(n),
    });
    this.#programs.set(user, program);
    void program.closed.then((heard) => {
      this.#programs.delete(user);
      if (this.#over) return;
      this.drops.push({ user, pid: this.#homes.get(user) ?? 0, heard });
      void this.#open(n);
    });
  }

  async #locate(): Promise<void> {
    const { body } = await this.#door.gateway.admin("/api/v1/sessions?limit=100000");
    const { sessions } = JSON.parse(body) as { sessions: { user?: string; pid: number }[] };
    for (const { user, pid } of sessions) if (user) this.#homes.set(user, pid);
  }
}

/** New clients, one after the other at a steady rate, whatever becomes of those before. */
class Stream {
  readonly failures: { readonly began: number; readonly ended: number; readonly why: string }[] = [];
  readonly times: number[] = [];
  readonly #door: Door;
  readonly #underWay = new Set<Promise<void>>();
  readonly #timer: NodeJS.Timeout;
  #serial = 0;

  constructor(door: Door) {
    this.#door = door;
    this.#timer = setInterval(() => {
      const visit = this.#visit().finally(() => this.#underWay.delete(visit));
      this.#underWay.add(visit);
    }, 1000 / PER_SECOND);
  }

  get count(): number {
    return this.#serial;
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.#underWay);
  }

  async #visit(): Promise<void> {
    const began = performance.now();
    this.#serial += 1;
    const { ports, trust } = this.#door;
    try {
      const program = await signIn({
        port: ports.implicit,
        tls: trust,
        user: "new@example.org",
        password: PASSWORD,
        localAddress: from(this.#serial),
      });
      this.times.push(performance.now() - began);
      await program.leave();
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      this.failures.push({ began, ended: performance.now(), why });
    }
  }
}

test(`${IDLE} sessions and ${PER_SECOND} logins a second live through reloads, deaths and upgrades`, {
  timeout: 300_000,
}, async (t) => {
  await using store = await startScriptedBackend({ tls: "none" });
  const sessionsLimit = { policy: { limits: [] }, timeouts: { drain: "5m" } };
  await using door = await openDoor({
    authority: await certificateAuthority(),
    backends: { store },
    users: USERS,
    config: { workers: 2, routes: [{ to: "store" }], ...sessionsLimit },
  });
  const { gateway } = door;
  const written = await readFile(gateway.folder.at("postern.yaml"), "utf8");
  const supervisors = [gateway.pid];
  const current = (): number => supervisors.at(-1) ?? 0;
  const workers = (): Promise<number[]> => childrenOf(current(), "worker");
  const lines = (fits: (line: LogLine) => boolean): LogLine[] => gateway.log().filter(fits);
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(async () => {
    for (const pid of supervisors) if (pid !== gateway.pid) sendKill(pid, "SIGTERM");
    gateway.signal("SIGTERM");
    await gone(...supervisors);
  });

  const idlers = new Idlers(door);
  cleanup.defer(() => idlers.leave());
  await idlers.open(Array.from({ length: IDLE }, (_, n) => n));
  const stream = new Stream(door);
  cleanup.defer(() => stream.stop());
  const ended: Ended[] = [];
  const replacedIn: number[] = [];

  let reloads = 0;
  const reload = async (times: number): Promise<void> => {
    for (let n = 0; n < times; n++) {
      reloads += 1;
      process.kill(current(), "SIGHUP");
      await eventually(
        `reload ${reloads}`,
        () => lines(({ msg }) => String(msg).startsWith("reloaded: ")).length >= reloads,
      );
    }
  };
  const end = async (signal: "SIGKILL" | "SIGSTOP"): Promise<void> => {
    const all = await workers();
    const pid = all.reduce((most, one) => (idlers.countIn(one) > idlers.countIn(most) ? one : most));
    const deaths = lines(({ msg }) => msg === "a new worker is ready").length;
    const at = performance.now();
    ended.push({ pid, at });
    process.kill(pid, signal);
    await eventually(
      "a new worker",
      () => lines(({ msg }) => msg === "a new worker is ready").length > deaths,
      {
        timeoutMs: 15_000,
      },
    );
    if (signal === "SIGKILL") replacedIn.push(Math.round(performance.now() - at));
    await idlers.whole();
  };
  const upgrade = async (): Promise<void> => {
    process.kill(current(), "SIGUSR2");
    const isUpgrade = ({ msg }: LogLine): boolean => String(msg).startsWith("upgraded: ");
    await eventually("an upgrade", () => lines(isUpgrade).length >= supervisors.length, {
      timeoutMs: 30_000,
    });
    supervisors.push(Number(lines(isUpgrade).at(-1)?.["pid"]));
  };
  const another = await freePort();
  const withListener = async (present: boolean): Promise<void> => {
    const config = JSON.parse(written) as { listeners: object[] };
    if (present)
      config.listeners.push({ protocol: "imap", port: another, host: "127.0.0.1", name: "another" });
    await gateway.folder.write("postern.yaml", JSON.stringify(config));
    await reload(1);
  };

  await reload(5);
  await end("SIGKILL");
  await withListener(true);
  await using guest = await connect({ port: another });
  await guest.expect("* OK ");
  await end("SIGKILL");
  await upgrade();
  await reload(RELOADS - 12);
  await withListener(false);
  await assert.rejects(connect({ port: another }), { code: "ECONNREFUSED" });
  await end("SIGSTOP");
  await upgrade();
  await end("SIGKILL");
  await reload(5);
  await pause(500);
  await stream.stop();

  const excused = ({ began, ended: at }: (typeof stream.failures)[number]): boolean =>
    ended.some((one) => began <= one.at && at >= one.at);
  const failures = stream.failures.filter((failure) => !excused(failure));
  const strangers = idlers.drops.filter(({ pid }) => !ended.some((one) => one.pid === pid));
  const times = stream.times.sort((a, b) => a - b);
  const quantile = (part: number): number => Math.round(times[Math.floor(times.length * part)] ?? 0);
  t.diagnostic(
    `${stream.count} logins, ${stream.failures.length} cut with their worker, ${failures.length} failed; ` +
      `p50 ${quantile(0.5)} ms, p99 ${quantile(0.99)} ms, longest ${quantile(0.9999)} ms`,
  );
  t.diagnostic(
    `${idlers.drops.length} sessions dropped, ${strangers.length} of them for no reason; ${reloads} reloads; ` +
      `workers replaced in ${replacedIn.join(", ")} ms`,
  );
  assert.deepEqual(strangers, []);
  assert.deepEqual(failures, []);
  await guest.send("a NOOP");
  await guest.expect("a OK ");
});

function sendKill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // Gone already.
  }
}
