/**
 * What the policy costs by itself, with the default limits and the memory store: CPU for all asking points of a login,
 * in one process and in a worker that asks the supervisor (both processes' CPU), and memory for a million distinct keys
 * with offenders among them.
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { setImmediate as nextTurn } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { createFingerprints } from "../src/auth/fingerprint.ts";
import { loadConfig } from "../src/config/load.ts";
import { createPolicy, type Policy } from "../src/policy/engine.ts";
import { Teller } from "../src/policy/events/teller.ts";
import { MemoryStore } from "../src/policy/store/memory.ts";
import type { CounterStore } from "../src/policy/store/store.ts";
import { WatchedStore } from "../src/policy/store/watched.ts";
import { Top } from "../src/policy/top/top.ts";
import { Refused } from "../src/refusal.ts";
import { RemoteStore, type StoreAnswer, type StoreCall } from "../src/supervisor/remote-store.ts";
import { StoreDesk } from "../src/supervisor/store-desk.ts";

/** Says nothing of limits, and so has the default ones. */
const CONFIG = fileURLToPath(new URL("../config/minimal.yaml", import.meta.url));

function defaultLimits() {
  const loaded = loadConfig(CONFIG);
  if (!loaded.ok) throw new Error("the example does not load");
  return loaded.config.policy.limits;
}

function newPolicy(store: CounterStore) {
  return createPolicy({
    limits: defaultLimits(),
    mode: "enforce",
    exempt: ["127.0.0.0/8", "::1"],
    ipv6Prefix: 64,
    store,
    observer: { wouldRefuse: () => {}, delayed: () => {}, banned: () => {} },
  });
}

/** As the gateway has it: with those who make events and know who does most. */
function watched(store: MemoryStore): WatchedStore {
  const limits = defaultLimits();
  const teller = new Teller(() => {});
  const top = new Top();
  teller.change("gateway", { limits, mode: "enforce" });
  top.change(limits);
  return new WatchedStore(store, [top, teller]);
}

const address = (number: number): string =>
  `10.${(number >> 16) & 255}.${(number >> 8) & 255}.${number & 255}`;

const fingerprint = createFingerprints();

function factsOf(number: number) {
  const user = `user${number % 20_000}@example.org`;
  return { ip: address(number % 50_000), listener: "imap-1143", protocol: "submission", user };
}

async function logIn(policy: Policy, number: number): Promise<void> {
  const facts = factsOf(number);
  const { user, ...before } = facts;
  const seat = await policy.connection(before).catch(ignore);
  const credential = { mechanism: "PLAIN", authcid: user, password: `secret${number}` };
  const attempt = await policy.attempt(facts, undefined, fingerprint(credential));
  await attempt.settle(Promise.resolve(user));
  const entrance = await policy.login({ ...facts, backend: "b" });
  entrance.completed();
  await entrance[Symbol.asyncDispose]();
  await seat?.[Symbol.asyncDispose]();
}

async function loginCost(rounds: number): Promise<{ login: number; mail: number }> {
  const policy = newPolicy(watched(new MemoryStore()));
  let cpu = process.cpuUsage();
  for (let number = 0; number < rounds; number += 1) await logIn(policy, number);
  const login = microseconds(cpu) / rounds;
  cpu = process.cpuUsage();
  for (let number = 0; number < rounds; number += 1) {
    const facts = { ...factsOf(number), backend: "b" };
    await policy.message(facts)?.catch(ignore);
    await policy.recipient(facts)?.catch(ignore);
  }
  return { login, mail: microseconds(cpu) / rounds };
}

/** A worker: so many logins, so many of them at once; says what CPU they took here. */
async function runWorker(rounds: number, atOnce: number): Promise<void> {
  const remote = new RemoteStore((calls) => process.connected && process.send?.(calls));
  process.on("message", (answers) => remote.answered(answers as StoreAnswer[]));
  const policy = newPolicy(remote.store);
  const run = async (count: number): Promise<void> => {
    let number = 0;
    const one = async (): Promise<void> => {
      while (number < count) await logIn(policy, number++);
    };
    await Promise.all(Array.from({ length: atOnce }, one));
  };
  await run(rounds / 10);
  process.send?.("begin");
  const cpu = process.cpuUsage();
  await run(rounds);
  process.send?.(microseconds(cpu));
  process.disconnect();
}

/** The same, of both processes together. */
async function costThroughSupervisor(rounds: number, atOnce: number): Promise<number> {
  const worker: ChildProcess = fork(fileURLToPath(import.meta.url), [String(rounds), String(atOnce)], {
    serialization: "advanced",
  });
  const desk = new StoreDesk(watched(new MemoryStore()));
  let cpu = process.cpuUsage();
  let spent = 0;
  worker.on("message", (message) => {
    if (message === "begin") cpu = process.cpuUsage();
    else if (typeof message === "number") spent = message + microseconds(cpu);
    else void desk.serve(message as StoreCall[]).then((answers) => worker.send(answers));
  });
  await once(worker, "exit");
  return spent / rounds;
}

async function memory(guesses: number): Promise<{ keys: number; mb: number; forgotten: number }> {
  const store = new MemoryStore();
  const policy = newPolicy(store);
  const guess = async (ip: string, user: string, fingerprint: string) => {
    const facts = { ip, user, listener: "imap-1143", protocol: "imap" };
    const wrong = async (): Promise<never> => {
      await undefined;
      throw new Refused("badCredential", "wrong", { unknownName: true });
    };
    const attempt = await policy.attempt(facts, undefined, fingerprint);
    await attempt.settle(wrong()).catch(ignore);
  };
  const offenders = Array.from({ length: 1_000 }, (_, number) => `192.0.${number >> 8}.${number & 255}`);
  for (const ip of offenders)
    for (let tries = 0; tries < 20; tries += 1) await guess(ip, `victim${tries}-${ip}`, `${ip}${tries}`);
  // Each is a new address and a new name: three keys.
  for (let number = 0; number < guesses; number += 1) {
    await guess(address(number), `x${number}`, "abc");
    // As between packets: the collector's own tasks have their turn.
    if (number % 100 === 0) await nextTurn();
  }
  let forgotten = 0;
  for (const ip of offenders) {
    const answer = await policy.connection({ ip, listener: "imap-1143", protocol: "imap" }).catch(ignore);
    if (answer) forgotten += 1;
  }

  return { keys: store.size, mb: process.memoryUsage().rss / 1e6, forgotten };
}

function microseconds(since: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(since);
  return user + system;
}

function ignore(): undefined {
  return undefined;
}

async function report(): Promise<void> {
  const held = await memory(1_200_000);
  await loginCost(20_000);
  const { login, mail } = await loginCost(200_000);
  console.log(`all asking points of a login: ${login.toFixed(1)} µs of CPU, fingerprint included`);
  for (const atOnce of [1, 8, 64]) {
    const through = await costThroughSupervisor(50_000, atOnce);
    console.log(`the same through the supervisor, ${atOnce} at once: ${through.toFixed(1)} µs`);
  }
  console.log(`one message to one recipient: ${mail.toFixed(1)} µs of CPU`);
  console.log(
    `${held.keys} keys held: ${held.mb.toFixed(0)} MB resident, ${held.forgotten} of 1000 banned offenders forgotten`,
  );
}

const [rounds, atOnce] = process.argv.slice(2).map(Number);
if (rounds !== undefined && atOnce !== undefined) await runWorker(rounds, atOnce);
else await report();
