import { setTimeout as pause } from "node:timers/promises";
import type { ClientJob } from "./peers/client.ts";
import { cpuSeconds, memoryBytes } from "./process-tree.ts";
import { type Contender, PASSWORD, type Site, type Subject, startPeer, USERS } from "./subjects.ts";

export interface Sizes {
  readonly rounds: number;
  readonly logins: number;
  readonly warmUp: number;
  /** Of each of the sessions that transfer at the same time. */
  readonly transferBytes: number;
  readonly idleSessions: number;
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

type Job = Omit<ClientJob, "port">;

function job(special: Partial<Job>): Job {
  return {
    sessions: 0,
    concurrency: CONCURRENCY,
    users: USERS,
    password: PASSWORD,
    then: "leave",
    resume: false,
    bytes: 0,
    ...special,
  };
}

/** CPU of a fresh gateway for `work`, divided by `per`. */
async function cpuOf(
  contender: Contender,
  site: Site,
  { warmUp, work, per }: { warmUp: Job; work: Job; per: number },
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
  await using _client = await startClient(subject, job({ sessions: idleSessions, then: "hold" }));
  await pause(settleMs);
  const value = (memoryBytes(subject.pid) - before) / idleSessions / 1024;
  return { value, withHelper: value };
}

async function perform(subject: Subject, work: Job): Promise<void> {
  await using _client = await startClient(subject, work);
}

/** Starts the clients and waits until they have done their work. */
async function startClient({ port }: Subject, work: Job) {
  const client = await startPeer("client", JSON.stringify({ ...work, port } satisfies ClientJob));
  await client.waitFor(/^done$/m, CLIENT_TIMEOUT);
  return client;
}
