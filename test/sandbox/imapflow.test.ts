import assert from "node:assert/strict";
import { once } from "node:events";
import { type TestContext, test } from "node:test";
import { ImapFlow } from "imapflow";
import { fillWithSampleMail } from "../../src/sandbox/sample-mail.ts";
import type { Sandbox } from "../../src/sandbox/sandbox.ts";
import { certificateAuthority } from "../support/certificates.ts";
import { sandboxFor } from "./support.ts";

async function flow(t: TestContext, sandbox: Sandbox, ca?: string): Promise<ImapFlow> {
  const client = new ImapFlow({
    host: "127.0.0.1",
    port: sandbox.imapPort,
    secure: false,
    auth: { user: "alice", pass: "wonder" },
    logger: false,
    ...(ca && { tls: { ca } }),
  });
  t.after(() => client.close());
  await client.connect();
  return client;
}

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

test("imapflow lists, fetches and searches the sample mail", async (t) => {
  const sandbox = await sandboxFor(t);
  fillWithSampleMail(sandbox.store, "alice", "north");
  const client = await flow(t, sandbox);
  const uses = (await client.list()).map(({ path, specialUse }) => [path, specialUse]);
  assert.deepEqual(Object.fromEntries(uses), {
    INBOX: "\\Inbox",
    Drafts: "\\Drafts",
    Sent: "\\Sent",
    Trash: "\\Trash",
    Junk: "\\Junk",
    Archive: "\\Archive",
  });
  using _lock = { [Symbol.dispose]: (await client.getMailboxLock("INBOX")).release };
  const messages = await all(
    client.fetch("1:*", { envelope: true, bodyStructure: true, flags: true, source: true }),
  );
  assert.deepEqual(
    messages.map(({ envelope, bodyStructure }) => [envelope?.subject, bodyStructure?.type]),
    [
      ["A very small picture", "multipart/mixed"],
      ["Grüße from the café ⚓", "multipart/alternative"],
      ["Your mailbox lives on north", "text/plain"],
    ],
  );
  const { content } = await client.download("1", "2");
  assert.ok(content);
  const picture = Buffer.concat(await all<Buffer>(content));
  assert.equal(picture.toString("latin1", 1, 4), "PNG");
  assert.deepEqual(await client.search({ subject: "café" }), [2]);
  assert.deepEqual(await client.search({ body: "boats", seen: false }), [2]);
});

test("imapflow appends, flags, moves and deletes", async (t) => {
  const sandbox = await sandboxFor(t);
  const client = await flow(t, sandbox);
  await client.mailboxCreate("Plans/Été");
  assert.ok(sandbox.store.account("alice")?.find("Plans/&AMk-t&AOk-"));
  await client.mailboxOpen("Plans/Été");
  const appended = await client.append("Plans/Été", "Subject: swim\r\n\r\nevery day\r\n", ["\\Seen"]);
  assert.ok(appended && appended.uid === 1);
  assert.ok(await client.messageFlagsAdd("1", ["$Important"]));
  const moved = await client.messageMove("1", "Archive");
  assert.ok(moved);
  assert.deepEqual([...(moved.uidMap ?? [])], [[1, 1]]);
  await client.mailboxOpen("Archive");
  const [message] = await all(client.fetch("1", { flags: true }));
  assert.deepEqual([...(message?.flags ?? [])].sort(), ["$Important", "\\Recent", "\\Seen"]);
  assert.ok(await client.messageDelete("1"));
  assert.equal(sandbox.store.account("alice")?.get("Archive").messages.length, 0);
});

test("imapflow in TLS hears of new mail while it idles", async (t) => {
  const authority = await certificateAuthority();
  const sandbox = await sandboxFor(t, { tls: await authority.issue(["127.0.0.1"]) });
  const client = await flow(t, sandbox, authority.ca);
  assert.equal(client.secureConnection, true);
  await client.mailboxOpen("INBOX");
  const idling = client.idle();
  const exists = once(client, "exists", { signal: AbortSignal.timeout(5000) });
  sandbox.store.account("alice")?.inbox.append(Buffer.from("Subject: new\r\n\r\n"));
  const [{ count }] = await exists;
  assert.equal(count, 1);
  await client.logout();
  await idling;
});
