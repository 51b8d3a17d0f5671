import { setTimeout as pause } from "node:timers/promises";
import { runProcess } from "../test/support/processes.ts";
import type { ClientJob } from "./peers/client.ts";
import { cpuSeconds, memoryBytes } from "./process-tree.ts";
import {
  type Contender,
  PASSWORD,
  type Ports,
  type Site,
  type Subject,
  startPeer,
  USERS,
} from "./subjects.ts";

export interface Sizes {
  readonly rounds: number;
  readonly logins: number;
  readonly warmUp: number;
  /** Of each of the sessions that transfer at the same time. */
  readonly transferBytes: number;
  readonly idleSessions: number;
  /** Of 10 KB each. */
  readonly messages: number;
  /** Until buffers have been given back and garbage collected. */
  readonly settleMs: number;
}

/** What one measurement of one gateway gave. */
export interface Sample {
  /** In the metric's unit. */
  readonly value: number;
  /** The same with the helper process that the gateway asks, where it has one. */
  readonly withHelper: number;
}

export type Metric = keyof typeof metrics;

interface Measurement {
  readonly title: string;
  readonly unit: string;
  take(contender: Contender, site: Site, sizes: Sizes): Promise<Sample>;
}

const CONCURRENCY = 16;
const TRANSFERS = 4;
const GIB = 1024 ** 3;
const CLIENT_TIMEOUT = 120_000;

export const metrics = {
  login: login("CPU per TLS login", false),
  resumed: login("CPU per resumed TLS login", true),
  download: transfer("download", "CPU per GiB down"),
  upload: transfer("upload", "CPU per GiB up"),
  submitted: submission("CPU per submitted 10 KB message", 10_000),
  submittedBig: submission("CPU per GiB submitted", 20_000_000),
  relayed: delivery("CPU per relayed 10 KB message", 10_000, true),
  relayedAlone: delivery("CPU per relayed 10 KB message, one a session", 10_000, false),
  relayedBig: delivery("CPU per GiB relayed", 20_000_000, true),
  memory: {
    title: "Memory per idle session",
    unit: "KiB",
    take: memoryOf,
  },
} satisfies Record<string, Measurement>;

function login(title: string, resume: boolean): Measurement {
  return {
    title,
    unit: "ms",
    take: (contender, site, { warmUp, logins }) =>
      cpuOf(contender, site, {
        warmUp: job({ sessions: warmUp, resume }),
        work: job({ sessions: logins, resume }),
        per: logins / 1000,
      }),
  };
}

function transfer(direction: "download" | "upload", title: string): Measurement {
  const work = { sessions: TRANSFERS, concurrency: TRANSFERS, then: direction };
  return {
    title,
    unit: "s",
    take: (contender, site, { transferBytes }) =>
      cpuOf(contender, site, {
        warmUp: job({ ...work, bytes: Math.floor(transferBytes / 8) }),
        work: job({ ...work, bytes: transferBytes }),
        per: (TRANSFERS * transferBytes) / GIB,
      }),
  };
}

/** Messages over TLS from users who sign in, many in a session. */
function submission(title: string, bytes: number): Measurement {
  const { count, per, unit } = messagesOf(bytes);
  return {
    title,
    unit,
    take: (contender, site, sizes) => {
      const send = (messages: number): Work => {
        const sessions = Math.min(CONCURRENCY, messages);
        return job({ then: "send", sessions, bytes, messages: Math.ceil(messages / sessions) }, "submission");
      };
      const messages = count(sizes);
      return cpuOf(contender, site, {
        warmUp: send(Math.ceil(messages / 4)),
        work: send(messages),
        per: per(messages),
      });
    },
  };
}

/** Messages from other servers, by Postfix's smtp-source. */
function delivery(title: string, bytes: number, kept: boolean): Measurement {
  const { count, per, unit } = messagesOf(bytes);
  return {
    title,
    unit,
    take: (contender, site, sizes) => {
      const messages = count(sizes);
      const work = (amount: number) => smtpSource(amount, bytes, kept);
      return cpuOf(contender, site, {
        warmUp: work(Math.ceil(messages / 4)),
        work: work(messages),
        per: per(messages),
      });
    },
  };
}

/** How many messages of a size a measurement takes, and what its value is divided by. */
function messagesOf(bytes: number) {
  const big = bytes > 1_000_000;
  return {
    unit: big ? "s" : "ms",
    count: ({ messages, transferBytes }: Sizes) =>
      big ? Math.ceil((TRANSFERS * transferBytes) / bytes) : messages,
    per: (messages: number) => (big ? (messages * bytes) / GIB : messages / 1000),
  };
}

/** What is done to a gateway. */
type Work = (ports: Ports) => Promise<AsyncDisposable | undefined>;

function smtpSource(messages: number, bytes: number, kept: boolean): Work {
  return async ({ smtp }) => {
    const sessions = String(Math.min(CONCURRENCY, messages));
    const sizes = ["-s", sessions, "-m", String(messages), "-l", String(bytes)];
    const args = [...(kept ? ["-d"] : []), ...sizes, "-f", "a@far.test", "-t", "x@bench.test"];
    const { code, stderr } = await runProcess("smtp-source", [...args, `127.0.0.1:${smtp}`], {
      timeoutMs: CLIENT_TIMEOUT,
    });
    if (code !== 0) throw new Error(`smtp-source: ${stderr}`);
    return undefined;
  };
}

type Job = Omit<ClientJob, "port">;

/** Our own client, at the port of its protocol. */
export function job(special: Partial<Job>, protocol: "imap" | "submission" = "imap"): Work {
  const plain = { sessions: 0, concurrency: CONCURRENCY, users: USERS, password: PASSWORD };
  const work: Job = { ...plain, then: "leave", resume: false, bytes: 0, messages: 0, ...special };
  return async (ports) => {
    const argument = { ...work, port: ports[protocol] } satisfies ClientJob;
    const client = await startPeer("client", JSON.stringify(argument));
    await client.waitFor(/^done$/m, CLIENT_TIMEOUT);
    return client;
  };
}

/** CPU of a fresh gateway for `work`, divided by `per`. */
async function cpuOf(
  contender: Contender,
  site: Site,
  { warmUp, work, per }: { warmUp: Work; work: Work; per: number },
): Promise<Sample> {
  await using subject = await contender.start(site);
  await perform(subject, warmUp);
  await pause(300);
  const before = cpuNow(subject);
  await perform(subject, work);
  // What closing the last sessions costs is part of it.
  await pause(300);
  const after = cpuNow(subject);
  const value = (after.own - before.own) / per;
  return { value, withHelper: value + (after.helper - before.helper) / per };
}

function cpuNow({ pid, helperPid }: Subject): { own: number; helper: number } {
  return { own: cpuSeconds(pid), helper: helperPid === undefined ? 0 : cpuSeconds(helperPid) };
}

async function memoryOf(contender: Contender, site: Site, sizes: Sizes): Promise<Sample> {
  const { idleSessions, warmUp, settleMs } = sizes;
  await using subject = await contender.start(site);
  await perform(subject, job({ sessions: warmUp }));
  await pause(settleMs);
  const before = memoryBytes(subject.pid);
  await using _client = await job({ sessions: idleSessions, then: "hold" })(subject.ports);
  await pause(settleMs);
  const value = (memoryBytes(subject.pid) - before) / idleSessions / 1024;
  return { value, withHelper: value };
}

async function perform({ ports }: Subject, work: Work): Promise<void> {
  await using _client = await work(ports);
}
