import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { connect } from "../support/conversation.ts";
import { type Door, openDoor } from "../support/door.ts";
import { type MailProgram, signIn } from "../support/mail-program.ts";
import { childrenOf, gone } from "../support/process-tree.ts";
import { startScriptedBackend } from "../support/scripted-backend.ts";
import { eventually } from "../support/waiting.ts";

const USERS = Object.fromEntries(Array.from({ length: 20 }, (_, n) => [`user${n}@example.org`, "pw"]));

async function openTwo(config: Readonly<Record<string, unknown>> = {}) {
  await using opening = new AsyncDisposableStack();
  const store = opening.use(await startScriptedBackend({ tls: "none" }));
  const door = opening.use(
    await openDoor({
      authority: await certificateAuthority(),
      backends: { store },
      users: USERS,
      config: { workers: 2, routes: [{ to: "store" }], policy: { exempt: [], limits: [] }, ...config },
    }),
  );
  const kept = opening.move();
  return {
    door,
    store,
    workers: () => childrenOf(door.gateway.pid, "worker"),
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

function everybody(door: Door): Promise<MailProgram[]> {
  const programs = Object.keys(USERS).map((user) =>
    signIn({ port: door.ports.implicit, tls: door.trust, user, password: "pw" }),
  );
  return Promise.all(programs);
}

interface Row {
  readonly id: string;
  readonly user: string;
  readonly pid: number;
}

async function rows(door: Door, query = ""): Promise<readonly Row[]> {
  const { status, body } = await door.gateway.admin(`/api/v1/sessions${query}`);
  assert.equal(status, 200, body);
  return (JSON.parse(body) as { sessions: Row[] }).sessions;
}

test("a worker that is killed takes its own sessions with it and nothing else, and is replaced", async (t) => {
  await using two = await openTwo({
    policy: { exempt: [], limits: [{ name: "open", count: "sessions", per: "user", limit: 1 }] },
  });
  const { door, workers } = two;
  const programs = await everybody(door);
  const [victim = 0] = await workers();
  const inside = await rows(door);
  const doomed = new Set(inside.filter(({ pid }) => pid === victim).map(({ user }) => user));
  assert.equal(inside.length, programs.length);
  assert.equal(doomed.size, programs.length / 2, "the load is spread evenly");
  const logins = await door.gateway.metric("postern_logins_total", { outcome: "ok" });
  // What a worker has counted is told once a second.
  await eventually(
    "a sign of life",
    async () => (await door.gateway.metric("process_cpu_seconds_total")) > 0,
  );

  const ended = new Set<string>();
  Object.keys(USERS).forEach((user, at) => void programs[at]?.closed.then(() => ended.add(user)));
  const killedAt = performance.now();
  process.kill(victim, "SIGKILL");
  // Whoever was inside may come back at once: a seat that nobody sits in is free.
  for (const user of doomed) {
    await eventually(`${user} to come back`, () =>
      signIn({ port: door.ports.implicit, tls: door.trust, user, password: "pw" }).catch(() => undefined),
    );
  }
  await door.gateway.metricIs("postern_workers", 2);
  t.diagnostic(
    `replaced in ${Math.round(performance.now() - killedAt)} ms, ${doomed.size} came back meanwhile`,
  );
  assert.deepEqual(ended, doomed);
  assert.equal((await workers()).includes(victim), false);
  assert.equal(await door.gateway.metric("postern_worker_deaths_total"), 1);
  assert.equal(await door.gateway.metric("postern_logins_total", { outcome: "ok" }), logins + doomed.size);
});

test("a worker that hangs is noticed and replaced, and nobody new waits for it", async () => {
  await using two = await openTwo();
  const { door, workers } = two;
  const [victim = 0] = await workers();
  process.kill(victim, "SIGSTOP");
  for (let n = 0; n < 10; n++) {
    await using client = await door.signedIn("user1@example.org", "pw");
    await client.send("z LOGOUT");
    await client.expectUntil("z OK ");
  }
  await eventually(
    "another worker",
    async () => {
      const now = await workers();
      return (
        now.length === 2 && !now.includes(victim) && (await door.gateway.metric("postern_workers")) === 2
      );
    },
    { timeoutMs: 15_000 },
  );
  const line = door.gateway.log().find(({ msg }) => msg === "a worker is gone; another takes its place");
  assert.equal(line?.["how"], "it gave no sign of life");
});

test("the supervisor's death ends the workers, with a goodbye to everybody", async () => {
  await using two = await openTwo();
  const { door, workers } = two;
  const programs = await everybody(door);
  const pids = await workers();
  process.kill(door.gateway.pid, "SIGKILL");
  const words = await Promise.all(programs.map(({ closed }) => closed));
  for (const word of words) assert.match(word, /^\* BYE /);
  await gone(...pids);
  await assert.rejects(connect({ port: door.ports.implicit }), { code: "ECONNREFUSED" });
});

test("sessions are listed and ended on every worker, by what is known of them", async () => {
  await using two = await openTwo();
  const { door } = two;
  const programs = await everybody(door);
  const all = await rows(door);
  assert.equal(new Set(all.map(({ pid }) => pid)).size, 2);
  assert.deepEqual(
    (await rows(door, "?user=user3@example.org")).map(({ user }) => user),
    ["user3@example.org"],
  );
  assert.equal((await rows(door, "?backend=nowhere")).length, 0);

  const kick = (body: object) =>
    fetch(`http://127.0.0.1:${door.gateway.adminPort}/api/v1/sessions/kick`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
  for (const nobody of [{}, { usr: "user3@example.org" }]) assert.equal((await kick(nobody)).status, 400);
  const began = performance.now();
  assert.deepEqual(await (await kick({ user: "user3@example.org" })).json(), { kicked: 1 });
  assert.match((await programs[3]?.closed) ?? "", /^\* BYE Ended by the administrator/);
  assert.ok(performance.now() - began < 1_000, "within a second");
  assert.deepEqual(await (await kick({ ip: "127.0.0.1", backend: "store" })).json(), { kicked: 19 });
  await Promise.all(programs.map(({ closed }) => closed));
  await door.gateway.metricIs("postern_sessions_open", 0);
  const refused = await fetch(`http://127.0.0.1:${door.gateway.adminPort}/api/v1/reload`, {
    method: "POST",
    headers: { origin: "http://page.example" },
  });
  assert.equal(refused.status, 403);
});
