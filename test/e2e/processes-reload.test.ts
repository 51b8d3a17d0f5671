import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:net";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { connect } from "../support/conversation.ts";
import { type Door, openDoor } from "../support/door.ts";
import { signIn } from "../support/mail-program.ts";
import { freePort } from "../support/ports.ts";
import { startScriptedBackend } from "../support/scripted-backend.ts";
import { eventually } from "../support/waiting.ts";

const USER = "alice@example.org";

interface Written {
  listeners: Record<string, unknown>[];
  [key: string]: unknown;
}

async function openReloading(workers: number) {
  await using opening = new AsyncDisposableStack();
  const authority = await certificateAuthority();
  const store = opening.use(await startScriptedBackend({ tls: "none" }));
  const door = opening.use(
    await openDoor({
      authority,
      backends: { store },
      users: { [USER]: "pw" },
      config: { workers, routes: [{ to: "store" }], policy: { limits: [] } },
    }),
  );
  const path = door.gateway.folder.at("postern.yaml");
  const good = JSON.parse(await readFile(path, "utf8")) as Written;
  const kept = opening.move();
  return {
    door,
    good,
    /** Writes this configuration and has it read; gives the lines of the log that answer. */
    async reload(config: object | string): Promise<string[]> {
      const text = typeof config === "string" ? config : JSON.stringify(config);
      await door.gateway.folder.write("postern.yaml", text);
      const before = answers(door).length;
      door.gateway.signal("SIGHUP");
      await eventually("an answer", () => answers(door).length > before);
      return answers(door).slice(before);
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

function answers(door: Door): string[] {
  return door.gateway.log().flatMap(({ msg, problem }) => {
    if (String(msg).startsWith("reloaded: ")) return String(msg);
    return msg === "not reloaded; everything stays as it was" ? String(problem) : [];
  });
}

/** Logins one after the other, until told to stop; gives how many there were and what went wrong. */
function visiting(door: Door) {
  const wrongs: string[] = [];
  let count = 0;
  let over = false;
  const done = (async () => {
    while (!over) {
      count += 1;
      const { ports, trust } = door;
      await signIn({ port: ports.implicit, tls: trust, user: USER, password: "pw" })
        .then((program) => program.leave())
        .catch((error: Error) => wrongs.push(error.message));
    }
  })();
  return {
    async [Symbol.asyncDispose]() {
      over = true;
      await done;
    },
    async stop(): Promise<{ count: number; wrongs: readonly string[] }> {
      over = true;
      await done;
      return { count, wrongs };
    },
  };
}

test("no broken file changes anything, whatever is wrong with it, and each is explained", async (t) => {
  await using two = await openReloading(2);
  const { door, good } = two;
  await using inside = await door.signedIn(USER, "pw");
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  await door.gateway.folder.write("other.key", privateKey.export({ type: "pkcs8", format: "pem" }));
  await door.gateway.folder.write("broken-users.yaml", `${USER}: { password: 5 }\n`);
  await using cleanup = new AsyncDisposableStack();
  const busy = createServer().listen(0, "127.0.0.1");
  cleanup.defer(() => void busy.close());
  await once(busy, "listening");
  const { port: taken } = busy.address() as { port: number };
  const [first = {}] = good.listeners;
  const broken: Readonly<Record<string, object | string>> = {
    "an unknown key": { ...good, listenrs: [] },
    "a listener twice": { ...good, listeners: [...good.listeners, first] },
    "a bad network": { ...good, policy: { exempt: ["10.0.0.0/99"] } },
    "a number in quotes": { ...good, workers: "2" },
    "not a number": JSON.stringify(good).replace('"workers":2', '"workers": .nan'),
    "a negative number": { ...good, workers: -1 },
    "a missing file": { ...good, tls: { certificates: [{ cert: "door.pem", key: "missing.key" }] } },
    "a wrong key": { ...good, tls: { certificates: [{ cert: "door.pem", key: "other.key" }] } },
    "broken users": { ...good, authentication: { sources: [{ type: "file", path: "broken-users.yaml" }] } },
    "a taken port": {
      ...good,
      listeners: [...good.listeners, { protocol: "imap", port: taken, host: "127.0.0.1", name: "late" }],
    },
    "no YAML": "listeners: [",
    nothing: "",
  };
  const visits = cleanup.use(visiting(door));
  for (const [what, file] of Object.entries(broken)) {
    const [problem = "", ...more] = await two.reload(file);
    assert.doesNotMatch(problem, /^reloaded/, what);
    t.diagnostic(`${what}: ${problem.replaceAll(door.gateway.folder.path, ".")}`);
    assert.ok(more.length <= 1, `${what}: ${more.join("\n")}`);
  }
  const { count, wrongs } = await visits.stop();
  assert.deepEqual(wrongs, [], `${count} logins`);
  const failed = Object.keys(broken).length;
  assert.equal(await door.gateway.metric("postern_reloads_total", { outcome: "failed" }), failed);
  await inside.send("n NOOP");
  await inside.expectUntil("n OK ");
  assert.deepEqual(await two.reload(good), ["reloaded: nothing has changed"]);
});

for (const workers of [0, 2]) {
  test(`with ${workers} workers a reload adds, renames and removes listeners, and touches no session`, async () => {
    await using two = await openReloading(workers);
    const { door, good } = two;
    await using inside = await door.signedIn(USER, "pw");
    await using visits = visiting(door);
    const port = await freePort();
    const late = { protocol: "imap", port, host: "127.0.0.1", name: "late" };
    assert.deepEqual(await two.reload({ ...good, listeners: [...good.listeners, late] }), [
      "reloaded: listener late added",
    ]);
    await using guest = await connect({ port });
    await guest.expect("* OK ");

    const renamed = good.listeners.map((one) => (one["name"] === "tls" ? { ...one, name: "secure" } : one));
    const timeouts = { login: "30s" };
    assert.deepEqual(await two.reload({ ...good, listeners: renamed, timeouts, workers: 5 }), [
      "reloaded: listener tls removed, listener late removed, listener secure added, timeouts changed, " +
        "workers needs a restart",
    ]);
    await assert.rejects(connect({ port }), { code: "ECONNREFUSED" });
    await eventually(
      "sessions under the new name",
      async () => (await door.gateway.metric("postern_connections_total", { listener: "secure" })) > 0,
    );
    assert.deepEqual((await visits.stop()).wrongs, []);
    for (const client of [inside, guest]) {
      await client.send("n NOOP");
      await client.expectUntil("n OK ");
    }
  });
}
