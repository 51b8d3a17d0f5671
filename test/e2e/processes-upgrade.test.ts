import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { type Door, openDoor } from "../support/door.ts";
import { signIn } from "../support/mail-program.ts";
import { gone, isAlive } from "../support/process-tree.ts";
import { startScriptedBackend } from "../support/scripted-backend.ts";
import { within } from "../support/waiting.ts";

const USER = "alice@example.org";

async function ask(door: Door): Promise<{ status: number; body: Record<string, unknown> }> {
  const url = `http://127.0.0.1:${door.gateway.adminPort}/api/v1/upgrade`;
  const answer = await within(40_000, "an answer", fetch(url, { method: "POST" }));
  return { status: answer.status, body: (await answer.json()) as Record<string, unknown> };
}

for (const workers of [0, 1]) {
  test(`with ${workers} workers another process takes over, and the old one ends with its last session`, async () => {
    await using store = await startScriptedBackend({ tls: "none" });
    await using door = await openDoor({
      authority: await certificateAuthority(),
      backends: { store },
      users: { [USER]: "pw" },
      config: { workers, routes: [{ to: "store" }] },
    });
    await using cleanup = new AsyncDisposableStack();
    const { gateway, ports, trust } = door;
    const program = () => signIn({ port: ports.implicit, tls: trust, user: USER, password: "pw" });
    const old = await program();

    const path = gateway.folder.at("postern.yaml");
    const good = await readFile(path, "utf8");
    await gateway.folder.write("postern.yaml", "nonsense");
    const refused = await ask(door);
    assert.equal(refused.status, 422);
    assert.match(String(refused.body["problems"]), /postern\.yaml:1:1: /);
    await (await program()).leave();
    await gateway.folder.write("postern.yaml", good);

    const { status, body } = await ask(door);
    assert.equal(status, 200, JSON.stringify(body));
    const heir = Number(/process (\d+) serves now/.exec(String(body["done"]))?.[1]);
    cleanup.defer(async () => {
      if (await isAlive(heir)) process.kill(heir, "SIGTERM");
      await gone(heir);
    });
    const young = await program();
    const { sessions } = JSON.parse((await gateway.admin("/api/v1/sessions")).body) as {
      sessions: unknown[];
    };
    assert.equal(sessions.length, 1, "the new process has the new session, and the old one the old");
    assert.ok(await isAlive(gateway.pid));
    await old.leave();
    await gone(gateway.pid);
    await young.leave();
    await (await program()).leave();
  });
}
