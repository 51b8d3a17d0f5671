import assert from "node:assert/strict";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { gzipSync } from "node:zlib";
import { HttpClient, type HttpClientOptions, HttpFailure } from "../../src/io/http-client.ts";

const OPTIONS = { timeoutMs: 2_000, connections: 2, maxPending: 4, maxAnswerBytes: 1_000 };

async function serve(t: TestContext, answer: RequestListener, options: Partial<HttpClientOptions> = {}) {
  const server: Server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.closeAllConnections());
  t.after(() => server.close());
  const client = new HttpClient({ ...OPTIONS, ...options });
  t.after(() => client[Symbol.asyncDispose]());
  const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/ask?command=allow`);
  return { server, url, client, ask: (body = "{}") => client.post(url, body, { "x-key": "secret" }) };
}

const failsAs =
  (kind: HttpFailure["kind"]) =>
  (error: unknown): boolean =>
    error instanceof HttpFailure && error.kind === kind;

test("what is asked arrives whole, and whatever status comes is an answer", async (t) => {
  const { ask } = await serve(t, async (request, response) => {
    const chunks = await request.toArray();
    response.writeHead(503).end(`${request.method} ${request.url} ${request.headers["x-key"]} ${chunks}`);
  });
  assert.deepEqual(await ask('{"a":1}'), {
    status: 503,
    body: 'POST /ask?command=allow secret {"a":1}',
  });
});

test("connections are kept", async (t) => {
  const { server, ask } = await serve(t, (_request, response) => response.end("yes"));
  let connections = 0;
  server.on("connection", () => {
    connections += 1;
  });
  for (let times = 0; times < 20; times += 1) await ask();
  assert.ok(connections <= 2, `${connections} connections`);
});

test("a redirect is an answer, and nobody goes there", async (t) => {
  const asked: (string | undefined)[] = [];
  const { ask } = await serve(t, (request, response) => {
    asked.push(request.url);
    response.writeHead(302, { location: "/elsewhere" }).end();
  });
  assert.equal((await ask()).status, 302);
  assert.deepEqual(asked, ["/ask?command=allow"]);
});

test("an answer beyond its size is cut off, packed ones are not unpacked", async (t) => {
  const { ask } = await serve(t, (_request, response) => {
    const write = (): void => {
      while (response.write(Buffer.alloc(65_536)));
      response.once("drain", write);
    };
    write();
  });
  await assert.rejects(ask(), failsAs("tooLarge"));
  const bomb = gzipSync(Buffer.alloc(500_000));
  const packed = await serve(t, (_request, response) =>
    response.writeHead(200, { "content-encoding": "gzip" }).end(bomb),
  );
  assert.ok((await packed.ask()).body.length <= 1_000);
});

test("silence, and a byte now and then, end at the time that one answer has", async (t) => {
  const silent = await serve(t, () => {}, { timeoutMs: 100 });
  await assert.rejects(silent.ask(), failsAs("timeout"));
  const slow = await serve(
    t,
    (_request, response) => {
      const drip = setInterval(() => response.write("."), 20);
      response.on("close", () => clearInterval(drip));
    },
    { timeoutMs: 200 },
  );
  const began = performance.now();
  await assert.rejects(slow.ask(), failsAs("timeout"));
  assert.ok(performance.now() - began < 1_500);
});

test("one more than may wait fails at once, and afterwards there is room again", async (t) => {
  const held: (() => void)[] = [];
  const { ask, client } = await serve(t, (_request, response) => {
    held.push(() => response.end("at last"));
  });
  const waiting = [ask(), ask(), ask(), ask()];
  await assert.rejects(ask(), failsAs("busy"));
  assert.equal(client.pending, 4);
  let answered = false;
  const all = Promise.all(waiting).finally(() => {
    answered = true;
  });
  while (!answered) {
    held.shift()?.();
    await new Promise(setImmediate);
  }
  assert.equal((await all).length, 4);
  assert.equal(client.pending, 0);
});

test("nobody there, a reset and what is no HTTP are failures and nothing worse", async (t) => {
  const { server, client, url, ask } = await serve(t, (request) => request.socket.destroy());
  await assert.rejects(ask(), failsAs("broken"));
  server.close();
  server.closeAllConnections();
  await assert.rejects(client.post(url, "{}", {}), failsAs("connect"));
});
