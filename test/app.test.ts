import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { type TestContext, test } from "node:test";
import { pino } from "pino";
import { type Postern, StartError, startPostern } from "../src/app.ts";
import { parseConfig } from "../src/config/load.ts";
import type { Config } from "../src/config/schema.ts";
import { BindError } from "../src/listen/listener.ts";
import { type Conversation, connect } from "./support/conversation.ts";
import { freePort } from "./support/ports.ts";
import { startScriptedBackend } from "./support/scripted-backend.ts";
import { temporaryFolder } from "./support/temp.ts";
import { eventually, within } from "./support/waiting.ts";

interface Given {
  readonly users?: string;
  readonly more?: Record<string, unknown>;
  readonly backendPort?: number;
}

async function config(t: TestContext, { users, more, backendPort = 1 }: Given = {}): Promise<Config> {
  const folder = await temporaryFolder();
  t.after(() => folder.remove());
  await folder.write("users.yaml", users ?? 'alice@example.org: { password: "{PLAIN}secret" }\n');
  const written = {
    hostname: "door.example.org",
    workers: 0,
    listeners: [{ protocol: "imap", port: 0, host: "127.0.0.1", name: "front", requireTls: false }],
    authentication: { sources: [{ type: "file", path: "users.yaml" }] },
    backends: { north: { host: "127.0.0.1", tls: "none", protocols: { imap: backendPort } } },
    admin: { port: 0 },
    ...more,
  };
  const loaded = parseConfig(JSON.stringify(written), folder.at("postern.yaml"), {});
  assert.ok(loaded.ok, JSON.stringify(loaded));
  return loaded.config;
}

async function start(
  t: TestContext,
  given: Given = {},
): Promise<{ postern: Postern; log: Record<string, unknown>[] }> {
  const log: Record<string, unknown>[] = [];
  const logger = pino({ level: "trace" }, { write: (line: string) => log.push(JSON.parse(line)) });
  const postern = await startPostern(await config(t, given), logger);
  t.after(() => postern.close());
  return { postern, log };
}

const frontOf = (postern: Postern): number => postern.listeners[0]?.port ?? 0;

async function signIn(port: number): Promise<Conversation> {
  const client = await connect({ port });
  await client.expect("* OK ");
  await client.send("a LOGIN alice@example.org secret");
  await client.expect("a OK ");
  return client;
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  server.listen(port, "127.0.0.1");
  try {
    await once(server, "listening");
  } catch {
    return false;
  }
  server.close();
  await once(server, "close");
  return true;
}

test("a configuration becomes a gateway, and its users land on their backend", async (t) => {
  await using backend = await startScriptedBackend({ tls: "none" });
  const { postern } = await start(t, { backendPort: backend.port });
  await using client = await signIn(frontOf(postern));
  await client.send("b SELECT INBOX");
  await client.expectUntil("b OK ");
  assert.ok(backend.heard("secret"));
});

test("the first greeting already says what the backend offers", async (t) => {
  await using backend = await startScriptedBackend({ tls: "none", capabilities: "IMAP4rev1 X-OWN" });
  const { postern } = await start(t, { backendPort: backend.port });
  await using client = await connect({ port: frontOf(postern) });
  await client.expect(/^\* OK \[CAPABILITY IMAP4rev1 X-OWN /);
});

test("close says goodbye to everybody, and gives the ports back", async (t) => {
  await using backend = await startScriptedBackend({ tls: "none" });
  const { postern } = await start(t, { backendPort: backend.port, more: { timeouts: { drain: "1s" } } });
  const ports = [frontOf(postern), postern.adminPort];
  await using inside = await signIn(frontOf(postern));
  await using waiting = await connect({ port: frontOf(postern) });
  await waiting.expect("* OK ");
  const closed = postern.close();
  await waiting.expect("* BYE Shutting down");
  await inside.expect("* BYE Shutting down");
  for (const client of [inside, waiting]) {
    await client.expectClosed();
    client.end();
  }
  await within(8_000, "the gateway to stop", closed);
  for (const port of ports) assert.ok(await isFree(port), `port ${port}`);
  await eventually("the backend's connections to end", () => backend.open === 0);
});

test("close cuts those who do not leave when asked", async (t) => {
  await using backend = await startScriptedBackend({ tls: "none" });
  const { postern } = await start(t, { backendPort: backend.port, more: { timeouts: { drain: "1s" } } });
  await using client = await signIn(frontOf(postern));
  client.pause();
  await within(12_000, "the gateway to stop", postern.close());
});

test("a port that is taken stops the start, and nothing is left running", async (t) => {
  const holder = createServer().listen(0, "127.0.0.1");
  await once(holder, "listening");
  t.after(() => holder.close());
  const taken = (holder.address() as { port: number }).port;
  const first = await freePort();
  const listener = { protocol: "imap", host: "127.0.0.1", requireTls: false };
  await assert.rejects(
    start(t, {
      more: {
        listeners: [
          { ...listener, name: "one", port: first },
          { ...listener, name: "two", port: taken },
        ],
      },
    }),
    (error) =>
      error instanceof BindError && /two/.test(error.message) && error.message.includes(String(taken)),
  );
  assert.ok(await isFree(first), "the first listener's port");
});

test("an admin port that is taken stops the start too", async (t) => {
  const holder = createServer().listen(0, "127.0.0.1");
  await once(holder, "listening");
  t.after(() => holder.close());
  const first = await freePort();
  await assert.rejects(
    start(t, {
      more: {
        listeners: [{ protocol: "imap", host: "127.0.0.1", requireTls: false, port: first }],
        admin: { port: (holder.address() as { port: number }).port },
      },
    }),
    (error) => error instanceof StartError && /admin/.test(error.message),
  );
  assert.ok(await isFree(first), "the listener's port");
});

test("a file of users that is broken stops the start in an operator's words", async (t) => {
  await assert.rejects(
    start(t, { users: "alice@example.org: { passwort: x }\n" }),
    (error) => error instanceof StartError && /users\.yaml:\d+:\d+/.test(error.message),
  );
});

test("the metrics on the admin port count what the listeners do", async (t) => {
  await using backend = await startScriptedBackend({ tls: "none" });
  const { postern } = await start(t, { backendPort: backend.port });
  await using client = await signIn(frontOf(postern));
  const text = async (): Promise<string> =>
    (await fetch(`http://127.0.0.1:${postern.adminPort}/metrics`)).text();
  assert.match(await text(), /^postern_sessions_open\{listener="front"\} 1$/m);
  client.vanish();
  await eventually("the session to end", async () =>
    /^postern_sessions_open\{listener="front"\} 0$/m.test(await text()),
  );
});

test("a thousand logins leave no socket, no timer and no lease behind", async (t) => {
  await using backend = await startScriptedBackend({ tls: "none" });
  const { postern, log } = await start(t, {
    backendPort: backend.port,
    more: {
      policy: {
        exempt: [],
        limits: [
          { name: "open", count: "sessions", per: "user", limit: 100 },
          { name: "at-once", count: "connections", per: "ip", limit: 100 },
        ],
      },
    },
  });
  const resources = (): string[] =>
    process
      .getActiveResourcesInfo()
      .filter((name) => name !== "Immediate")
      .toSorted();
  const one = async (number: number): Promise<void> => {
    await using client = await signIn(frontOf(postern));
    if (number % 4 === 0) client.vanish();
    else if (number % 4 === 1) client.end();
    else {
      await client.send("z LOGOUT");
      await client.readToClose();
    }
  };
  await Promise.all(Array.from({ length: 20 }, (_, number) => one(number)));
  const records = () => log.filter((line) => line["msg"] === "session").length;
  await eventually("the first sessions to end", () => records() === 20);
  const before = resources();
  for (let round = 1; round < 50; round += 1) {
    await Promise.all(Array.from({ length: 20 }, (_, number) => one(number)));
  }
  await eventually(
    () => `a thousand records; there are ${records()}`,
    () => records() === 1_000,
  );
  await eventually(
    () => `nothing to be left: ${resources()} instead of ${before}`,
    () => resources().length <= before.length,
  );
  const metrics = await (await fetch(`http://127.0.0.1:${postern.adminPort}/metrics`)).text();
  assert.match(metrics, /^postern_leases 0$/m);
  assert.match(metrics, /^postern_sessions_open\{listener="front"\} 0$/m);
  await eventually("the backend's connections to end", () => backend.open === 0);
});
