import assert from "node:assert/strict";
import { test } from "node:test";
import { type HttpChallenger, listenForChallenges } from "../../../src/tls/acme/http-challenge.ts";
import { connect } from "../../support/conversation.ts";

const PROOF = { domain: "mail.example.org", token: "tok-en_1", keyAuthorization: "tok-en_1.thumb" };
const SIGNAL = new AbortController().signal;

/** The status line and the body that a request gets, and that the connection then ends. */
async function ask({ port }: HttpChallenger, request: string): Promise<{ status: string; body: string }> {
  await using client = await connect({ port });
  await client.sendRaw(request);
  const lines = await client.readToClose();
  return { status: lines[0] ?? "", body: lines.slice(lines.indexOf("") + 1).join("\n") };
}

const get = (path: string, method = "GET") => `${method} ${path} HTTP/1.1\r\nHost: mail.example.org\r\n\r\n`;

test("the proof is there while it is shown, and gone after it", async () => {
  await using http = await listenForChallenges({ port: 0, host: "127.0.0.1" });
  const path = `/.well-known/acme-challenge/${PROOF.token}`;
  {
    await using _shown = await http.present(PROOF, SIGNAL);
    const answer = await fetch(`http://127.0.0.1:${http.port}${path}`);
    assert.deepEqual([answer.status, await answer.text()], [200, PROOF.keyAuthorization]);
    assert.equal((await ask(http, get(path, "HEAD"))).status, "HTTP/1.1 200 OK");
    assert.match((await ask(http, get(path, "POST"))).status, / 404 /);
  }
  assert.match((await ask(http, get(path))).status, / 404 /);
});

for (const path of [
  "/",
  "/.well-known/acme-challenge/",
  "/.well-known/acme-challenge/__proto__",
  "/.well-known/acme-challenge/constructor",
  "/.well-known/acme-challenge/../../etc/passwd",
  "/.well-known/acme-challenge/tok-en_1/",
  "/.well-known/acme-challenge/tok-en_1?x",
  "/.well-known/acme-challenge/%74ok-en_1",
  "//.well-known/acme-challenge/tok-en_1",
  "http://mail.example.org/.well-known/acme-challenge/tok-en_1",
]) {
  test(`${path} is not found`, async () => {
    await using http = await listenForChallenges({ port: 0, host: "127.0.0.1" });
    await using _shown = await http.present(PROOF, SIGNAL);
    assert.deepEqual(await ask(http, get(path)), { status: "HTTP/1.1 404 Not Found", body: "" });
  });
}

for (const [what, request] of [
  ["headers without end", `GET / HTTP/1.1\r\nHost: x\r\n${"X: y\r\n".repeat(4_000)}\r\n`],
  ["no HTTP at all", "a001 LOGIN alice secret\r\n\r\n"],
  [
    "two answers to one framing",
    "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
  ],
  [
    "a body that is announced and never sent",
    "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n",
  ],
  ["a wish for another protocol", "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"],
  ["a tunnel", "CONNECT 127.0.0.1:25 HTTP/1.1\r\nHost: x\r\n\r\n"],
  [
    "a question before the body",
    "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
  ],
] as const) {
  test(`${what}: an error or nothing, and the connection is closed`, async () => {
    await using http = await listenForChallenges({ port: 0, host: "127.0.0.1" });
    const { status } = await ask(http, request);
    assert.doesNotMatch(status, / (1|2|3)\d\d /);
    assert.match((await ask(http, get("/"))).status, / 404 /);
  });
}

test("a client that never ends its request is sent away, and a stop waits for nobody", async () => {
  const http = await listenForChallenges({ port: 0, host: "127.0.0.1" });
  await using client = await connect({ port: http.port });
  await client.sendRaw("GET / HTTP/1.1\r\n");
  await http[Symbol.asyncDispose]();
  await client.readToClose().catch(() => {});
});
