/**
 * What the policy costs by itself, with the default limits and the memory store: CPU for all asking points of a login,
 * and memory for a million distinct keys with offenders among them.
 */
import { fileURLToPath } from "node:url";
import { createFingerprints } from "../src/auth/fingerprint.ts";
import { loadConfig } from "../src/config/load.ts";
import { createPolicy, type PolicyOptions } from "../src/policy/engine.ts";
import { Teller } from "../src/policy/events/teller.ts";
import { MemoryStore } from "../src/policy/store/memory.ts";
import { WatchedStore } from "../src/policy/store/watched.ts";
import { Top } from "../src/policy/top/top.ts";
import { Refused } from "../src/refusal.ts";

/** Says nothing of limits, and so has the default ones. */
const CONFIG = fileURLToPath(new URL("../config/minimal.yaml", import.meta.url));

function newPolicy(watched = false) {
  const loaded = loadConfig(CONFIG);
  if (!loaded.ok) throw new Error("the example does not load");
  const { limits } = loaded.config.policy;
  const store = new MemoryStore();
  const policy = createPolicy({
    limits,
    mode: "enforce",
    exempt: ["127.0.0.0/8", "::1"],
    ipv6Prefix: 64,
    store: watched ? watch(store, limits) : store,
    observer: { wouldRefuse: () => {}, banned: () => {} },
  });
  return { policy, store };
}

/** As the gateway has it: with those who make events and know who does most. */
function watch(store: MemoryStore, limits: PolicyOptions["limits"]): WatchedStore {
  const teller = new Teller(() => {});
  const top = new Top();
  teller.change("gateway", { limits, mode: "enforce" });
  top.change(limits);
  return new WatchedStore(store, [top, teller]);
}

const address = (number: number): string =>
  `10.${(number >> 16) & 255}.${(number >> 8) & 255}.${number & 255}`;

async function loginCost(rounds: number, watched = false): Promise<{ login: number; mail: number }> {
  const { policy } = newPolicy(watched);
  const fingerprint = createFingerprints();
  const factsOf = (number: number) => ({
    ip: address(number % 50_000),
    listener: "imap-1143",
    protocol: "submission",
    user: `user${number % 20_000}@example.org`,
  });
  let cpu = process.cpuUsage();
  for (let number = 0; number < rounds; number += 1) {
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
  const login = microseconds(cpu) / rounds;
  cpu = process.cpuUsage();
  for (let number = 0; number < rounds; number += 1) {
    const facts = { ...factsOf(number), backend: "b" };
    await policy.message(facts)?.catch(ignore);
    await policy.recipient(facts)?.catch(ignore);
  }
  return { login, mail: microseconds(cpu) / rounds };
}

async function memory(guesses: number): Promise<{ keys: number; mb: number; forgotten: number }> {
  const { policy, store } = newPolicy();
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
  for (let number = 0; number < guesses; number += 1) await guess(address(number), `x${number}`, "abc");
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

const held = await memory(1_200_000);
await loginCost(20_000);
const { login, mail } = await loginCost(200_000);
const watched = await loginCost(200_000, true);
console.log(`all asking points of a login: ${login.toFixed(1)} µs of CPU, fingerprint included`);
console.log(`one message to one recipient: ${mail.toFixed(1)} µs of CPU`);
console.log(
  `with events and who does most: ${watched.login.toFixed(1)} µs and ${watched.mail.toFixed(1)} µs of CPU`,
);
console.log(
  `${held.keys} keys held: ${held.mb.toFixed(0)} MB resident, ${held.forgotten} of 1000 banned offenders forgotten`,
);
