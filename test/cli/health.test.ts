import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { startAdmin } from "../../src/admin/server.ts";
import { freePort } from "../support/ports.ts";
import { runProcess } from "../support/processes.ts";

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

const health = (port: number) => runProcess(process.execPath, [MAIN, "health", "--port", String(port)]);

test("a gateway that serves is healthy, one that stops is not, and both say so", async () => {
  let reason: string | undefined;
  const metrics = { contentType: "text/plain", expose: async () => "" };
  const admin = await startAdmin({ host: "127.0.0.1", port: 0, metrics, notReady: () => reason });
  try {
    const serving = await health(admin.port);
    assert.deepEqual([serving.code, serving.stdout], [0, '{"status":"ready"}\n']);
    reason = "stopping";
    const stopping = await health(admin.port);
    assert.deepEqual([stopping.code, stopping.stdout], [1, '{"status":"not ready","reason":"stopping"}\n']);
  } finally {
    await admin.close();
  }
});

test("no gateway, or one that never answers, is unhealthy within seconds", async () => {
  const port = await freePort();
  const nobody = await health(port);
  assert.equal(nobody.code, 1);
  assert.match(nobody.stderr, new RegExp(`^no answer from 127\\.0\\.0\\.1, port ${port}: .*ECONNREFUSED`));

  await using mute = createServer(() => {}).listen(0, "127.0.0.1");
  await once(mute, "listening");
  const silence = await health((mute.address() as AddressInfo).port);
  mute.closeAllConnections();
  assert.equal(silence.code, 1);
  assert.match(silence.stderr, /^no answer from /);
});

test("an endless answer, and one that would move a terminal's cursor, do no harm", async () => {
  await using odd = createServer(({ socket }, response) => {
    const more = () => {
      while (!socket.destroyed && response.write("x".repeat(4_096)));
    };
    response.on("drain", more);
    more();
  }).listen(0, "127.0.0.1");
  await once(odd, "listening");
  const { code, stderr } = await health((odd.address() as AddressInfo).port);
  assert.equal(code, 1);
  assert.match(stderr, /no gateway's answer/);

  await using painter = createServer((_request, response) => response.end("\u001b[2Jready")).listen(
    0,
    "127.0.0.1",
  );
  await once(painter, "listening");
  const painted = await health((painter.address() as AddressInfo).port);
  assert.equal(painted.stdout, "\\u{1b}[2Jready\n");
});
