import assert from "node:assert/strict";
import { test } from "node:test";
import { startGateway } from "../support/gateway.ts";
import { listenForNotify } from "../support/notify-socket.ts";
import { freePort } from "../support/ports.ts";
import { startScriptedBackend } from "../support/scripted-backend.ts";
import { temporaryFolder } from "../support/temp.ts";
import { eventually } from "../support/waiting.ts";

test("systemd hears READY when clients are served, and STOPPING with the time that a drain may take", async () => {
  await using folder = await temporaryFolder();
  await using socket = await listenForNotify(folder.at("notify"));
  await using backend = await startScriptedBackend({ tls: "none" });
  const port = await freePort();
  await using gateway = await startGateway({
    config: {
      tls: { selfSigned: true },
      listeners: [{ protocol: "imap", port, tls: "implicit", name: "imaps" }],
      backends: { store: { host: "127.0.0.1", tls: "none", protocols: { imap: backend.port } } },
      timeouts: { drain: "10m" },
    },
    env: { NOTIFY_SOCKET: socket.name },
  });
  const ready = await socket.hears("READY=1", ({ READY }) => READY === "1");
  assert.deepEqual(ready, { READY: "1", STATUS: "serving on imaps" });

  assert.equal(await gateway.stop(), 0);
  const [, stopping] = socket.told();
  assert.equal(stopping?.["STOPPING"], "1");
  assert.equal(stopping?.["EXTEND_TIMEOUT_USEC"], String((600 + 30) * 1_000_000));
  assert.equal(socket.told().length, 2);
});

test("systemd hears of a reload from its beginning to its end, and who took over", async () => {
  await using folder = await temporaryFolder();
  await using socket = await listenForNotify(folder.at("notify"));
  await using backend = await startScriptedBackend({ tls: "none" });
  const port = await freePort();
  await using gateway = await startGateway({
    config: {
      workers: 0,
      tls: { selfSigned: true },
      listeners: [{ protocol: "imap", port, tls: "implicit", name: "imaps" }],
      backends: { store: { host: "127.0.0.1", tls: "none", protocols: { imap: backend.port } } },
      timeouts: { drain: "1s" },
    },
    env: { NOTIFY_SOCKET: socket.name, WATCHDOG_USEC: "3000000000" },
  });
  await socket.hears("READY=1", ({ READY }) => READY === "1");
  gateway.signal("SIGHUP");
  await socket.hears("RELOADING=1", ({ RELOADING }) => RELOADING === "1");
  await eventually("READY=1 behind it", () => socket.told().at(-1)?.["READY"] === "1");
  gateway.signal("SIGUSR2");
  const { MAINPID } = await socket.hears("MAINPID", ({ MAINPID }) => MAINPID !== undefined);
  const heir = Number(MAINPID);
  assert.notEqual(heir, gateway.pid);
  await eventually("READY=1 of the new process", () => socket.told().at(-1)?.["READY"] === "1");
  assert.ok(socket.told().every(({ STOPPING }) => STOPPING === undefined));
  process.kill(heir, "SIGTERM");
  await socket.hears("STOPPING=1", ({ STOPPING }) => STOPPING === "1");
});
