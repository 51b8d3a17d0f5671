import { spawn } from "node:child_process";
import { once } from "node:events";
import type { Readable } from "node:stream";
import { clearAtExit } from "./leftovers.ts";
import { PATIENCE_MS, within } from "./waiting.ts";

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface ProcessOptions {
  /** How the output names it. */
  readonly name?: string;
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Leads a process group of its own, which `kill` ends whole: a server whose children are not to outlive it. */
  readonly group?: boolean;
}

/** A child that stays until it is stopped. */
export interface RunningProcess extends AsyncDisposable {
  readonly pid: number;
  readonly exited: Promise<Exit>;
  readonly running: boolean;
  /** Everything it has written so far, standard output and standard error as they came. */
  output(): string;
  /** The lines of standard output alone. */
  lines(): string[];
  /** The first match in its output, past or to come. */
  waitFor(pattern: RegExp, timeoutMs?: number): Promise<RegExpMatchArray>;
  signal(signal: NodeJS.Signals): void;
  /** KILL, sent before this returns, to the whole group where it leads one; gives how it ended. */
  kill(): Promise<Exit>;
  /** TERM, and KILL if that is not heard; gives how it ended. */
  stop(graceMs?: number): Promise<Exit>;
}

export async function startProcess(
  command: string,
  args: readonly string[],
  options: ProcessOptions = {},
): Promise<RunningProcess> {
  const name = options.name ?? command;
  const { child, text, stdout } = await launch(command, args, options);
  const pid = child.pid as number;
  const exited = new Promise<Exit>((resolve) => {
    child.once("close", (code, signal) => resolve({ code, signal }));
  });
  let running = true;
  // The kernel signals a group as one: a child that is being forked dies too, which a walk over children misses.
  const sendKill = () => process.kill(options.group ? -pid : pid, "SIGKILL");
  // Kept when it has ended, too: a failed test is to show what its peers said.
  clearAtExit(() => {
    if (running) sendKill();
    if (process.exitCode) console.error(`--- ${name}\n${tail(text())}\n---`);
  });
  child.once("exit", () => {
    running = false;
  });

  const stop = async (graceMs = PATIENCE_MS): Promise<Exit> => {
    if (running) child.kill("SIGTERM");
    const killer = setTimeout(() => child.kill("SIGKILL"), graceMs);
    try {
      return await within(graceMs + PATIENCE_MS, `the end of ${name}`, exited);
    } finally {
      clearTimeout(killer);
    }
  };

  return {
    pid,
    exited,
    get running() {
      return running;
    },
    output: text,
    lines: () => stdout().split("\n").filter(Boolean),
    async waitFor(pattern, timeoutMs = PATIENCE_MS) {
      const found = Promise.withResolvers<RegExpMatchArray>();
      const look = () => {
        const match = text().match(pattern);
        if (match) found.resolve(match);
      };
      const ended = exited.then((exit): never => {
        look();
        throw new Error(`${name} ended (${describe(exit)}) without ${pattern}:\n${tail(text())}`);
      });
      child.stdout.on("data", look);
      child.stderr.on("data", look);
      try {
        look();
        const what = () => `${pattern} from ${name}:\n${tail(text())}`;
        return await within(timeoutMs, what, Promise.race([found.promise, ended]));
      } finally {
        child.stdout.off("data", look);
        child.stderr.off("data", look);
      }
    },
    signal(signal) {
      if (running) child.kill(signal);
    },
    kill() {
      if (running) sendKill();
      // Not before nobody holds its output any more: children of its own have ended then, too.
      return within(PATIENCE_MS, `the end of ${name}`, exited);
    },
    stop,
    async [Symbol.asyncDispose]() {
      await stop();
    },
  };
}

export interface Finished extends Exit {
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end, within bounds. A bad exit code is an answer, not an error. */
export async function runProcess(
  command: string,
  args: readonly string[],
  options: ProcessOptions & { readonly input?: string | Uint8Array; readonly timeoutMs?: number } = {},
): Promise<Finished> {
  const { child, text, stdout, stderr } = await launch(command, args, options);
  // A program that ends without reading its input is no error of ours.
  child.stdin.on("error", () => {});
  child.stdin.end(options.input ?? "");
  const takeBack = clearAtExit(() => child.kill("SIGKILL"));
  try {
    const what = () => `the end of ${options.name ?? command}:\n${tail(text())}`;
    const [code, signal] = await within(options.timeoutMs ?? 30_000, what, once(child, "close"));
    return { code, signal, stdout: stdout(), stderr: stderr() };
  } catch (error) {
    child.kill("SIGKILL");
    throw error;
  } finally {
    takeBack();
  }
}

async function launch(command: string, args: readonly string[], options: ProcessOptions) {
  // The parent-death signal: nothing outlives a test process, not even one that was killed.
  const child = spawn("setpriv", ["--pdeathsig", "TERM", "--", command, ...args], {
    cwd: options.cwd,
    detached: options.group ?? false,
    env: { ...process.env, ...options.env },
    stdio: ["pipe", "pipe", "pipe"],
  });
  await once(child, "spawn");
  const all: string[] = [];
  const collect = (stream: Readable) => {
    const own: string[] = [];
    stream.setEncoding("utf8");
    stream.on("data", (chunk: string) => {
      own.push(chunk);
      all.push(chunk);
    });
    return () => own.join("");
  };
  return { child, stdout: collect(child.stdout), stderr: collect(child.stderr), text: () => all.join("") };
}

/** As much as a person reads of a failure. */
function tail(text: string, lines = 30, width = 240): string {
  const last = text.trimEnd().split("\n").slice(-lines);
  return last.map((line) => (line.length > width ? `${line.slice(0, width)}…` : line)).join("\n");
}

function describe(exit: Exit): string {
  return exit.signal ? `killed by ${exit.signal}` : `exit code ${exit.code}`;
}
