import { freePort } from "./ports.ts";
import { type RunningProcess, runProcess, startProcess } from "./processes.ts";
import { temporaryFolder } from "./temp.ts";

export interface RedisOptions {
  readonly port?: number;
  /** Further arguments of redis-server. */
  readonly args?: readonly string[];
  /** How redis-cli is to reach it. */
  readonly cliArgs?: readonly string[];
}

/** A private redis-server, empty at each start, that keeps nothing. */
export interface RedisServer extends AsyncDisposable {
  readonly port: number;
  readonly url: string;
  readonly running: boolean;
  /** What redis-cli prints. */
  cli(...args: readonly string[]): Promise<string>;
  signal(signal: NodeJS.Signals): void;
  kill(): Promise<void>;
  /** The same port, and nothing in it. */
  restart(): Promise<void>;
}

export async function startRedis(options: RedisOptions = {}): Promise<RedisServer> {
  const port = options.port ?? (await freePort());
  const folder = await temporaryFolder();
  const cli = async (...args: readonly string[]): Promise<string> => {
    const { stdout } = await runProcess("redis-cli", [
      "-p",
      String(port),
      ...(options.cliArgs ?? []),
      ...args,
    ]);
    return stdout.trim();
  };
  const start = async (): Promise<RunningProcess> => {
    const own = ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    const child = await startProcess("redis-server", [...own, ...(options.args ?? [])], { cwd: folder.path });
    await child.waitFor(/Ready to accept connections/);
    return child;
  };
  let child = await start();
  return {
    port,
    url: `redis://127.0.0.1:${port}`,
    get running() {
      return child.running;
    },
    cli,
    signal: (signal) => child.signal(signal),
    async kill() {
      await child.kill();
    },
    async restart() {
      if (child.running) await child.kill();
      child = await start();
    },
    async [Symbol.asyncDispose]() {
      // One that stands still does not hear that it shall end.
      child.signal("SIGCONT");
      await child.kill();
      await folder.remove();
    },
  };
}
