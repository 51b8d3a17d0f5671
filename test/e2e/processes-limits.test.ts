import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { type Conversation, connect } from "../support/conversation.ts";
import { openDoor } from "../support/door.ts";
import { childrenOf } from "../support/process-tree.ts";
import { startScriptedBackend } from "../support/scripted-backend.ts";
import { eventually } from "../support/waiting.ts";

const USERS = { "alice@example.org": "pw" };
/** Room for 32 sessions in one process. */
const DESCRIPTORS = 128;
const ROOM = 32;
const BEYOND = 8;

for (const workers of [0, 1]) {
  test(`with ${workers} workers and few descriptors new clients wait, those inside go on, and it recovers`, async () => {
    await using store = await startScriptedBackend({ tls: "none" });
    await using door = await openDoor({
      authority: await certificateAuthority(),
      backends: { store },
      users: USERS,
      descriptors: DESCRIPTORS,
      config: { workers, routes: [{ to: "store" }], policy: { limits: [] } },
    });
    await using stack = new AsyncDisposableStack();
    const inside: Conversation[] = [];
    for (let n = 0; n < ROOM; n++) inside.push(stack.use(await door.signedIn("alice@example.org", "pw")));
    const waiting: Conversation[] = [];
    for (let n = 0; n < BEYOND; n++) waiting.push(stack.use(await connect({ port: door.ports.starttls })));
    await door.gateway.metricIs("postern_connections_waiting", BEYOND);
    for (const client of inside) {
      await client.send("n NOOP");
      await client.expectUntil("n OK ");
    }
    const said = (msg: string) => door.gateway.log().filter((line) => line["msg"] === msg).length;
    const full = "no process has room for more sessions; new connections wait";
    await eventually("the log to say so", () => said(full) === 1);
    for (const client of inside.slice(0, BEYOND)) client.vanish();
    for (const client of waiting) await client.expect("* OK ");
    await door.gateway.metricIs("postern_connections_waiting", 0);
    await eventually("the log to say so", () => said("there is room for new sessions again") === 1);
    assert.equal(said(full), 1);
    assert.equal(await door.gateway.metric("postern_connections_dropped_total"), 0);
  });
}

const uids = async (pid: number): Promise<string | undefined> =>
  /^Uid:\t(.*)$/m.exec(await readFile(`/proc/${pid}/status`, "utf8"))?.[1];

test("started as root it becomes the user that the configuration names, with all its processes", {
  skip: process.getuid?.() === 0 ? false : "only root can become somebody else",
}, async () => {
  const nobody = /^nobody:[^:]*:(\d+):/m.exec(await readFile("/etc/passwd", "utf8"))?.[1];
  await using store = await startScriptedBackend({ tls: "none" });
  await using door = await openDoor({
    authority: await certificateAuthority(),
    backends: { store },
    users: USERS,
    config: { workers: 1, user: "nobody", routes: [{ to: "store" }] },
  });
  const pids = [door.gateway.pid, ...(await childrenOf(door.gateway.pid, "worker"))];
  assert.equal(pids.length, 2);
  for (const pid of pids) assert.equal(await uids(pid), [nobody, nobody, nobody, nobody].join("\t"));
  await using client = await door.signedIn("alice@example.org", "pw");
  await client.send("n NOOP");
  await client.expectUntil("n OK ");
});
