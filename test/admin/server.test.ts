import assert from "node:assert/strict";
import { once } from "node:events";
import { get } from "node:http";
import { connect, createServer } from "node:net";
import { type TestContext, test } from "node:test";
import { type AdminOptions, startAdmin } from "../../src/admin/server.ts";
import { within } from "../support/waiting.ts";

const TOKEN = "open sesame";

async function admin(t: TestContext, options: Partial<AdminOptions> = {}) {
  const server = await startAdmin({
    host: "127.0.0.1",
    port: 0,
    metrics: { contentType: "text/plain; version=0.0.4", expose: async () => "postern_up 1\n" },
    notReady: () => undefined,
    ...options,
  });
  t.after(() => server.close());
  return {
    server,
    ask: (path: string, headers: Record<string, string> = {}) =>
      within(
        3_000,
        path,
        new Promise<{ status: number; type: string; body: string; challenge: string | undefined }>(
          (resolve, reject) => {
            const request = get(
              { host: "127.0.0.1", port: server.port, path, headers, agent: false },
              (response) => {
                let body = "";
                response.setEncoding("utf8");
                response.on("data", (text: string) => {
                  body += text;
                });
                response.on("end", () =>
                  resolve({
                    status: response.statusCode ?? 0,
                    type: response.headers["content-type"] ?? "",
                    body,
                    challenge: response.headers["www-authenticate"],
                  }),
                );
              },
            );
            request.on("error", reject);
          },
        ),
      ),
  };
}

test("metrics are for Prometheus to read", async (t) => {
  const { ask } = await admin(t);
  const { status, type, body } = await ask("/metrics");
  assert.deepEqual({ status, body }, { status: 200, body: "postern_up 1\n" });
  assert.match(type, /^text\/plain; version=0\.0\.4/);
});

test("where a token is set, metrics want it, and health does not", async (t) => {
  const { ask } = await admin(t, { token: TOKEN });
  for (const authorization of [
    undefined,
    "",
    "Bearer",
    "Bearer ",
    `Bearer ${TOKEN}x`,
    `Bearer ${TOKEN.slice(1)}`,
    `Basic ${TOKEN}`,
    TOKEN,
  ]) {
    const { status, body, challenge } = await ask(
      "/metrics",
      authorization === undefined ? {} : { authorization },
    );
    assert.equal(status, 401, String(authorization));
    assert.equal(challenge, "Bearer");
    assert.doesNotMatch(body, /postern_up|sesame/);
  }
  assert.equal((await ask("/metrics", { authorization: `Bearer ${TOKEN}` })).status, 200);
  assert.equal((await ask("/healthz")).status, 200);
  assert.equal((await ask("/readyz")).status, 200);
});

test("ready says whether, and why not; healthy stays healthy", async (t) => {
  let reason: string | undefined = "stopping";
  const { ask } = await admin(t, { notReady: () => reason });
  const no = await ask("/readyz");
  assert.equal(no.status, 503);
  assert.match(no.body, /stopping/);
  assert.equal((await ask("/healthz")).status, 200);
  reason = undefined;
  assert.equal((await ask("/readyz")).status, 200);
});

test("metrics that cannot be made are a 500 without details, and the next question is answered", async (t) => {
  let broken = true;
  const { ask } = await admin(t, {
    metrics: {
      contentType: "text/plain",
      expose: async () => {
        if (broken) throw new Error("deep inside");
        return "fine";
      },
    },
  });
  assert.equal((await ask("/metrics")).status, 500);
  broken = false;
  assert.equal((await ask("/metrics")).body, "fine");
});

test("other paths are not there", async (t) => {
  const { ask } = await admin(t);
  for (const path of ["/", "/metrics/", "/../metrics", "/%2e%2e/etc/passwd", "/__proto__"]) {
    assert.equal((await ask(path)).status, 404, path);
  }
});

test("garbage is answered or closed, and harms nobody", async (t) => {
  const { server, ask } = await admin(t);
  for (const bytes of [
    "\x16\x03\x01\0\0",
    "GET / HTTP/9\r\n\r\n",
    `GET /${"x".repeat(100_000)} HTTP/1.1\r\n\r\n`,
    "a LOGIN b c\r\n",
  ]) {
    const socket = connect(server.port, "127.0.0.1");
    socket.on("error", () => {});
    socket.resume();
    socket.end(bytes);
    await within(
      3_000,
      "the admin port to close",
      new Promise<void>((resolve) => socket.once("close", () => resolve())),
    );
  }
  assert.equal((await ask("/healthz")).status, 200);
});

test("a port that is taken is an error of the start", async (t) => {
  const holder = createServer().listen(0, "127.0.0.1");
  await once(holder, "listening");
  t.after(() => holder.close());
  await assert.rejects(admin(t, { port: (holder.address() as { port: number }).port }), /EADDRINUSE/);
});

test("close ends connections that are kept alive too", async (t) => {
  const { server } = await admin(t);
  const socket = connect(server.port, "127.0.0.1");
  t.after(() => socket.destroy());
  socket.write("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
  await within(3_000, "an answer", once(socket, "data"));
  await within(3_000, "the close", server.close());
});
