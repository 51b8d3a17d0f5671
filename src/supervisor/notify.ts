import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { printable } from "../wire/printable.ts";

/**
 * What systemd is told of us, as sd_notify(3) has it. Each promise settles when that was said or given up, within
 * seconds, and never rejects: a service manager that does not listen is no reason to serve nobody.
 */
export interface ServiceManager extends AsyncDisposable {
  /** Started, or done with a reload. */
  ready(status: string): Promise<void>;
  /** This process, and not the one that was started first, is the service from now on. */
  tookOver(): Promise<void>;
  /** A reload begins; wait for this one, or it may be said in one breath with the `ready` behind it. */
  reloading(): Promise<void>;
  /** An orderly stop begins, and may take so many milliseconds: `TimeoutStopSec` need not know `timeouts.drain`. */
  stopping(ms: number): Promise<void>;
  /** The line that `systemctl status` shows. */
  status(text: string): Promise<void>;
}

const run = promisify(execFile);

/** Left after the drain for everything else to end, in milliseconds. */
const AFTER_DRAIN = 30_000;
/** systemd-notify itself waits 5 s at most for systemd to have read; one that takes longer is stuck. */
const PATIENCE = 8_000;
/** Pings in one watchdog period: one may get lost. */
const PINGS = 3;

/**
 * The service manager that started us, or one that hears nothing where there is none. `onProblem` hears why
 * something could not be said.
 */
export function serviceManager(env: NodeJS.ProcessEnv, onProblem: (problem: string) => void): ServiceManager {
  const socket = env["NOTIFY_SOCKET"];
  const voice = new Voice(
    socket ? (assignments) => systemdNotify(socket, env["PATH"], assignments, onProblem) : async () => {},
  );
  const watchdog = socket ? startWatchdog(env, voice) : undefined;
  return {
    ready: (status) => voice.say({ READY: "1", STATUS: printable(status) }),
    tookOver: () => voice.say({ MAINPID: String(process.pid) }),
    // The kernel's monotonic clock, which is what hrtime reads; systemd compares it with when it asked.
    reloading: () =>
      voice.say({
        RELOADING: "1",
        MONOTONIC_USEC: String(process.hrtime.bigint() / 1_000n),
        STATUS: "reloading",
      }),
    stopping: (ms) =>
      voice.say({
        STOPPING: "1",
        EXTEND_TIMEOUT_USEC: String((ms + AFTER_DRAIN) * 1_000),
        STATUS: "letting sessions end",
      }),
    status: (text) => voice.say({ STATUS: printable(text) }),
    async [Symbol.asyncDispose]() {
      clearInterval(watchdog);
      await voice.silence;
    },
  };
}

/**
 * Says "alive" from a timer of this event loop, so that a loop that no longer turns falls silent and systemd starts
 * us anew.
 */
function startWatchdog(env: NodeJS.ProcessEnv, voice: Voice): NodeJS.Timeout | undefined {
  const period = Number(env["WATCHDOG_USEC"]) / 1_000;
  // sd_watchdog_enabled(3): meant for one process, not for its children.
  const ours = (env["WATCHDOG_PID"] ?? String(process.pid)) === String(process.pid);
  if (!(period > 0) || !ours) return undefined;
  return setInterval(() => void voice.say({ WATCHDOG: "1" }), Math.max(period / PINGS, 1)).unref();
}

type Assignments = ReadonlyMap<string, string>;

/**
 * One datagram at a time, in order. What comes while one is under way goes together into the next, the newest of each
 * kind last: there "the last one wins" in systemd as well, and there is never more than one process and one message
 * waiting, however much there is to say.
 */
class Voice {
  readonly #send: (assignments: Assignments) => Promise<void>;
  readonly #waiting = new Map<string, string>();
  #speaking: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  constructor(send: (assignments: Assignments) => Promise<void>) {
    this.#send = send;
  }

  /** When nothing is left to say. */
  get silence(): Promise<void> {
    return this.#next ?? this.#speaking ?? Promise.resolve();
  }

  say(assignments: Readonly<Record<string, string>>): Promise<void> {
    for (const [name, value] of Object.entries(assignments)) {
      this.#waiting.delete(name);
      this.#waiting.set(name, value);
    }
    this.#next ??= (this.#speaking ?? Promise.resolve()).then(() => this.#speak());
    return this.#next;
  }

  #speak(): Promise<void> {
    const assignments = new Map(this.#waiting);
    this.#waiting.clear();
    this.#next = undefined;
    this.#speaking = this.#send(assignments);
    return this.#speaking;
  }
}

/**
 * Node has no datagram sockets of the unix kind, and a native addon for a few words a minute would be one more thing
 * to trust and to build; systemd's own program sends them for us, to paths and abstract names alike. It stays until
 * systemd has read them (BARRIER=1), because systemd looks up the sender among the unit's living processes: hence
 * `NotifyAccess=all` in the unit, the sender being our child. It gets no more of our environment than it needs.
 *
 * Starting it holds the event loop for some milliseconds, and for tens of them where this process has much memory: nothing for a process without sessions, and the reason for few pings in one with them.
 */
async function systemdNotify(
  socket: string,
  path: string | undefined,
  assignments: Assignments,
  onProblem: (problem: string) => void,
): Promise<void> {
  const words = [...assignments].map(([name, value]) => `${name}=${value}`);
  const env = { NOTIFY_SOCKET: socket, ...(path !== undefined && { PATH: path }) };
  try {
    await run("systemd-notify", words, { env, timeout: PATIENCE, killSignal: "SIGKILL" });
  } catch (error) {
    onProblem(`systemd was not told: ${error instanceof Error ? error.message.trim() : error}`);
  }
}
