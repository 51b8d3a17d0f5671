import { readdir, readFile, readlink, rename, writeFile } from "node:fs/promises";
import { get } from "node:http";
import { fileURLToPath } from "node:url";
import { freePort } from "./ports.ts";
import { startProcess } from "./processes.ts";
import { type TemporaryFolder, temporaryFolder } from "./temp.ts";
import { eventually } from "./waiting.ts";

/** An entry of users.yaml; a string is a password in clear text. */
export type User = string | (Readonly<Record<string, unknown>> & { readonly password: string });

export interface GatewayOptions {
  /**
   * postern.yaml, as a value or as text. Paths in it are relative to its folder. Where it has no `admin`, one on a
   * free port is added; where a value has no `authentication`, users.yaml is its source.
   */
  readonly config: Readonly<Record<string, unknown>> | string;
  /** users.yaml. */
  readonly users?: Readonly<Record<string, User>>;
  /** Further files, by name, beside postern.yaml. */
  readonly files?: Readonly<Record<string, string | Uint8Array>>;
  readonly name?: string;
  /** How many file descriptors each of its processes may have. */
  readonly descriptors?: number;
  /** Beside the environment of the tests. */
  readonly env?: NodeJS.ProcessEnv;
}

/** One line of the log. */
export type LogLine = Readonly<Record<string, unknown>>;

/** The account record: what the log says of a session as it closes. */
export interface AccountRecord extends LogLine {
  readonly msg: "session";
  readonly id: string;
  readonly listener: string;
  readonly protocol: string;
  readonly peer: unknown;
  readonly user?: string;
  readonly backend?: string;
  readonly outcome: string;
  readonly reason?: string;
  readonly durations: Readonly<Record<string, number>>;
  readonly bytes: { readonly in: number; readonly out: number };
  readonly durationMs: number;
}

/** The real gateway as a child process. */
export interface Gateway extends AsyncDisposable {
  readonly pid: number;
  readonly folder: TemporaryFolder;
  readonly adminPort: number;
  /** Everything it has written, as text. */
  output(): string;
  /** The log so far. */
  log(): LogLine[];
  /** The account records so far. */
  accounts(): AccountRecord[];
  /** Waits for an account record that fits. */
  account(fits: (record: AccountRecord) => boolean): Promise<AccountRecord>;
  /** The text of /metrics. */
  metrics(): Promise<string>;
  /** The sum of a metric's samples that carry these labels; a metric that is not there is an error. */
  metric(name: string, labels?: Readonly<Record<string, string>>): Promise<number>;
  /** Waits until a metric has this value. */
  metricIs(name: string, value: number, labels?: Readonly<Record<string, string>>): Promise<void>;
  /** Any path on the admin port. */
  admin(path: string): Promise<{ readonly status: number; readonly body: string }>;
  /** What its open file descriptors lead to. */
  descriptors(): Promise<string[]>;
  /** Resident memory, in bytes. */
  rss(): Promise<number>;
  /** Puts a new users.yaml in the old one's place, at once. */
  writeUsers(users: Readonly<Record<string, User>>): Promise<void>;
  signal(signal: NodeJS.Signals): void;
  /** TERM, and KILL after a while; gives the exit code. */
  stop(): Promise<number | null>;
}

/** Most tests start faster in one process; that the others do the same is seen by running them with this set. */
const WORKERS = Number(process.env["POSTERN_WORKERS"] ?? 0);

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

/** Each of its processes compiles the program, on a machine that runs other tests too. */
const START_MS = 30_000;

/** Starts it and waits until it says that it is ready. */
export async function startGateway(options: GatewayOptions): Promise<Gateway> {
  const folder = await temporaryFolder();
  const { text, adminPort } = await withAdmin(options.config);
  for (const [name, content] of Object.entries(options.files ?? {})) await folder.write(name, content);
  await folder.write("users.yaml", usersFile(options.users ?? {}));
  const config = await folder.write("postern.yaml", text);
  const limited = options.descriptors === undefined ? [] : ["prlimit", `--nofile=${options.descriptors}`];
  const [command = "", ...args] = [...limited, process.execPath, MAIN, "run", "--config", config];
  const child = await startProcess(command, args, {
    name: options.name ?? "gateway",
    cwd: folder.path,
    // Colours and the like are for people; what the tests' own runner sets is not for the gateway.
    env: { NO_COLOR: "1", NODE_OPTIONS: undefined, NODE_TEST_CONTEXT: undefined, ...options.env },
  });

  const admin = (path: string) => fetchText(adminPort, path);
  const metrics = async () => {
    const { status, body } = await admin("/metrics");
    if (status !== 200) throw new Error(`/metrics answered ${status}: ${body}`);
    return body;
  };
  const metric = async (name: string, labels: Readonly<Record<string, string>> = {}) =>
    sumOf(await metrics(), name, labels);
  const log = () =>
    child
      .lines()
      .map(parseLine)
      .filter((line) => line !== undefined);
  const accounts = () => log().filter((line): line is AccountRecord => line["msg"] === "session");

  await eventually(
    () => `the gateway to be ready\n${child.output()}`,
    async () => {
      if (!child.running) throw new Error(`the gateway did not start:\n${child.output()}`);
      return (await admin("/readyz").catch(() => undefined))?.status === 200;
    },
    { timeoutMs: START_MS },
  ).catch(async (error) => {
    // Nobody has it yet who could stop it, and the test's process would wait for it for ever.
    await child.kill();
    throw error;
  });

  const stop = async () => (await child.stop()).code;
  return {
    pid: child.pid,
    folder,
    adminPort,
    output: () => child.output(),
    log,
    accounts,
    account: (fits) =>
      eventually(
        () =>
          `a fitting account record among:\n${accounts()
            .map((record) => JSON.stringify(record))
            .join("\n")}`,
        () => accounts().find(fits),
      ),
    metrics,
    metric,
    async metricIs(name, value, labels) {
      let last: number | undefined;
      await eventually(
        () => `${name}${JSON.stringify(labels ?? {})} to be ${value}; it is ${last}`,
        async () => {
          last = await metric(name, labels);
          return last === value;
        },
      );
    },
    admin,
    async descriptors() {
      const names = await readdir(`/proc/${child.pid}/fd`);
      const targets = await Promise.all(
        // One that closes while we look is gone.
        names.map((name) => readlink(`/proc/${child.pid}/fd/${name}`).catch(() => undefined)),
      );
      return targets.filter((target) => target !== undefined);
    },
    async rss() {
      const status = await readFile(`/proc/${child.pid}/status`, "utf8");
      return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
    },
    async writeUsers(users) {
      await writeFile(folder.at("users.yaml.new"), usersFile(users));
      await rename(folder.at("users.yaml.new"), folder.at("users.yaml"));
    },
    signal: (signal) => child.signal(signal),
    stop,
    async [Symbol.asyncDispose]() {
      await stop();
      await folder.remove();
    },
  };
}

async function withAdmin(config: GatewayOptions["config"]): Promise<{ text: string; adminPort: number }> {
  const port = await freePort();
  if (typeof config === "string") {
    const given = /^admin:.*\bport:\s*(\d+)/m.exec(config);
    if (given) return { text: config, adminPort: Number(given[1]) };
    return { text: `${config}\nadmin: { host: 127.0.0.1, port: ${port} }\n`, adminPort: port };
  }
  const whole = {
    workers: WORKERS,
    admin: { host: "127.0.0.1", port },
    authentication: { sources: [{ type: "file", path: "users.yaml" }] },
    ...config,
  };
  // JSON is YAML.
  return { text: JSON.stringify(whole, undefined, 2), adminPort: (whole.admin as { port: number }).port };
}

function usersFile(users: Readonly<Record<string, User>>): string {
  const entries = Object.entries(users).map(([name, user]) => {
    const entry = typeof user === "string" ? { password: user } : user;
    const password = entry.password.startsWith("{") ? entry.password : `{PLAIN}${entry.password}`;
    return [name, { ...entry, password }];
  });
  return JSON.stringify(Object.fromEntries(entries), undefined, 2);
}

function parseLine(line: string): LogLine | undefined {
  return line.startsWith("{") ? (JSON.parse(line) as LogLine) : undefined;
}

/** A connection of its own each time, so that none stays open among those that a test counts. */
function fetchText(port: number, path: string): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const request = get({ host: "127.0.0.1", port, path, agent: false, timeout: 5_000 }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        body += chunk;
      });
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
      response.on("error", reject);
    });
    request.on("timeout", () => request.destroy(new Error(`no answer from ${path} within 5 s`)));
    request.on("error", reject);
  });
}

function sumOf(text: string, name: string, labels: Readonly<Record<string, string>>): number {
  if (!text.includes(`# TYPE ${name} `)) throw new Error(`no metric ${name} in:\n${text}`);
  const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  return text
    .split("\n")
    .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
    .filter((line) => wanted.every((label) => line.includes(label)))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" ") + 1)), 0);
}
