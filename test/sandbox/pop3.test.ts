import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Sandbox } from "../../src/sandbox/sandbox.ts";
import { certificateAuthority } from "../support/certificates.ts";
import { type Conversation, connect } from "../support/conversation.ts";
import { eventually } from "../support/waiting.ts";
import { fillInbox, sandboxFor } from "./support.ts";

async function greeted(t: TestContext, sandbox: Sandbox): Promise<Conversation> {
  const client = await connect({ port: sandbox.pop3Port });
  t.after(() => client[Symbol.asyncDispose]());
  await client.expect("+OK north ready");
  return client;
}

async function signedIn(t: TestContext, sandbox: Sandbox): Promise<Conversation> {
  const client = await greeted(t, sandbox);
  await client.sendRaw("USER alice\r\nPASS wonder\r\n");
  await client.expect("+OK");
  await client.expect("+OK Logged in");
  return client;
}

async function lines(client: Conversation, command: string): Promise<string[]> {
  await client.send(command);
  await client.expect("+OK");
  return (await client.expectUntil(/^\.$/)).slice(0, -1);
}

const inboxOf = (sandbox: Sandbox) => sandbox.store.account("alice")?.inbox.messages.map(({ uid }) => uid);

test("signing in, by every way there is", async (t) => {
  const sandbox = await sandboxFor(t);
  const plain = (text: string) => Buffer.from(text).toString("base64");
  const client = await greeted(t, sandbox);
  for (const [said, reply] of [
    ["PASS x", "-ERR"],
    ["USER alice", "+OK"],
    ["PASS wrong", "-ERR [AUTH] "],
    ["USER nobody", "+OK"],
    ["PASS wonder", "-ERR [AUTH] "],
    ["STAT", "-ERR"],
    ["NOOP", "-ERR"],
    ["STLS", "-ERR"],
    ["AUTH CRAM-MD5", "-ERR"],
    ["AUTH PLAIN !!!", "-ERR"],
    [`AUTH PLAIN ${plain("\0alice\0wrong")}`, "-ERR [AUTH] "],
    ["AUTH PLAIN", "+ "],
    ["*", "-ERR"],
    ["auth plain", "+ "],
    [plain("\0alice\0wonder"), "+OK"],
    ["USER alice", "-ERR"],
    ["NOOP", "+OK"],
  ] as const) {
    await client.send(said);
    await client.expect(reply);
  }
  const other = await greeted(t, sandbox);
  assert.deepEqual(await lines(other, "AUTH"), ["PLAIN"]);
  assert.ok((await lines(other, "CAPA")).includes("SASL PLAIN"));
});

test("STAT, LIST, UIDL, RETR and TOP, with dots stuffed", async (t) => {
  const sandbox = await sandboxFor(t);
  const mails = ["Subject: a\r\n\r\n.\r\n..x\r\ny.\r\n", "Subject: b\r\n\r\nno end", ""];
  for (const mail of mails) sandbox.store.account("alice")?.inbox.append(Buffer.from(mail));
  const client = await signedIn(t, sandbox);
  await client.send("STAT");
  await client.expect(`+OK 3 ${mails.join("").length + 2}`);
  assert.deepEqual(await lines(client, "LIST"), [
    `1 ${mails[0]?.length}`,
    `2 ${(mails[1]?.length ?? 0) + 2}`,
    "3 0",
  ]);
  assert.deepEqual(await lines(client, "RETR 1"), ["Subject: a", "", "..", "...x", "y."]);
  assert.deepEqual(await lines(client, "RETR 2"), ["Subject: b", "", "no end"]);
  assert.deepEqual(await lines(client, "RETR 3"), []);
  assert.deepEqual(await lines(client, "TOP 1 0"), ["Subject: a", ""]);
  assert.deepEqual(await lines(client, "TOP 1 2"), ["Subject: a", "", "..", "...x"]);
  assert.deepEqual(await lines(client, "TOP 2 9"), ["Subject: b", "", "no end"]);
  const ids = await lines(client, "UIDL");
  assert.equal(new Set(ids.map((line) => line.split(" ")[1])).size, 3);
  await client.send("UIDL 2");
  await client.expect(`+OK ${ids[1]}`);
  const again = await signedIn(t, sandbox);
  assert.deepEqual(await lines(again, "UIDL"), ids, "the same in every session");
  for (const bad of [
    "RETR",
    "RETR 0",
    "RETR 4",
    "RETR x",
    "RETR 1e0",
    "TOP 1",
    "TOP 1 -1",
    "LIST 9",
    "UIDL 0",
  ]) {
    await client.send(bad);
    await client.expect("-ERR");
  }
});

test("DELE deletes at QUIT, and only then", async (t) => {
  const sandbox = await sandboxFor(t);
  fillInbox(sandbox, 4);
  const vanishing = await signedIn(t, sandbox);
  await vanishing.send("DELE 1");
  await vanishing.expect("+OK");
  vanishing.end();
  await vanishing.expectClosed();
  assert.deepEqual(inboxOf(sandbox), [1, 2, 3, 4]);

  const client = await signedIn(t, sandbox);
  for (const [said, reply] of [
    ["DELE 2", "+OK"],
    ["DELE 2", "-ERR"],
    ["RETR 2", "-ERR"],
    ["RSET", "+OK"],
    ["DELE 1", "+OK"],
    ["DELE 4", "+OK"],
    ["STAT", /^\+OK 2 /],
  ] as const) {
    await client.send(said);
    await client.expect(reply);
  }
  assert.deepEqual(
    (await lines(client, "LIST")).map((line) => line.split(" ")[0]),
    ["2", "3"],
  );
  fillInbox(sandbox, 1);
  await client.send("QUIT");
  await client.expect("+OK");
  await client.expectClosed();
  assert.deepEqual(inboxOf(sandbox), [2, 3, 5], "what came meanwhile stays");
  await eventually("everybody to be gone", () => sandbox.sessions() === 0);
});

test("STLS, once and with nothing behind it", async (t) => {
  const authority = await certificateAuthority();
  const sandbox = await sandboxFor(t, { tls: await authority.issue(["localhost"]) });
  const client = await greeted(t, sandbox);
  assert.ok((await lines(client, "CAPA")).includes("STLS"));
  await client.send("STLS");
  await client.expect("+OK");
  await client.startTls({ ca: authority.ca, servername: "localhost" });
  assert.ok(!(await lines(client, "CAPA")).includes("STLS"));
  await client.send("STLS");
  await client.expect("-ERR");

  const injected = await greeted(t, sandbox);
  await injected.sendRaw("STLS\r\nUSER alice\r\n");
  await injected.expect("-ERR");
  await injected.expectClosed();
});

test("a line without end, and twenty bad commands, end the session", async (t) => {
  const sandbox = await sandboxFor(t);
  const endless = await greeted(t, sandbox);
  await endless.sendRaw("x".repeat(20_000));
  await endless.expect("-ERR");
  await endless.expectClosed();
  const bad = await greeted(t, sandbox);
  await bad.sendRaw("NONE\r\n".repeat(30));
  assert.equal((await bad.readToClose()).length, 20);
});
