import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { type Conversation, connect } from "../support/conversation.ts";
import { BACKEND_NAME, openDoor } from "../support/door.ts";
import { startDovecot } from "../support/dovecot.ts";
import { startScriptedBackend } from "../support/scripted-backend.ts";

const USERS = { "alice@example.org": "pw" };

function inCode(line: string): string[] {
  return (/\[CAPABILITY ([^\]]+)\]/.exec(line)?.[1] ?? "").split(" ").filter(Boolean);
}

async function asked(client: Conversation): Promise<string[]> {
  await client.send("cap CAPABILITY");
  const lines = await client.expectUntil("cap OK ");
  return (lines.find((line) => line.startsWith("* CAPABILITY ")) ?? "").split(" ").slice(2).filter(Boolean);
}

test("what the backend offers is what the client is told", async (t) => {
  const authority = await certificateAuthority();
  const certificate = await authority.issue([BACKEND_NAME]);
  await using store = await startDovecot({ tls: "starttls", certificate, users: USERS });
  await using door = await openDoor({
    authority,
    backends: { store },
    users: USERS,
    config: { routes: [{ to: "store" }] },
  });
  await using direct = await connect({
    host: store.host,
    port: store.ports.implicit,
    tls: { ca: authority.ca, servername: BACKEND_NAME },
  });
  const theirsBefore = inCode(await direct.expect("* OK "));
  await direct.send("a LOGIN alice@example.org pw");
  await direct.expectUntil("a OK ");
  const theirsAfter = await asked(direct);

  await t.test("before the login: theirs, less what the door does by itself or cannot pass on", async () => {
    await using client = await connect({ port: door.ports.implicit, tls: door.trust });
    const greeted = inCode(await client.expect("* OK "));
    assert.deepEqual((await asked(client)).sort(), [...greeted].sort());
    assert.ok(theirsBefore.includes("LOGIN-REFERRALS"), "this Dovecot offers what the door must not");
    assert.ok(!greeted.includes("LOGIN-REFERRALS"));
    for (const capability of ["IMAP4rev1", "LITERAL+", "SASL-IR", "IDLE", "ENABLE", "ID", "AUTH=PLAIN"]) {
      assert.ok(greeted.includes(capability), `${capability} in ${greeted.join(" ")}`);
    }
    const invented = greeted.filter((each) => !theirsBefore.includes(each) && !/^AUTH=/.test(each));
    assert.deepEqual(invented, []);
  });

  await t.test("with the login's OK, and when asked after it: the backend's own", async () => {
    await using client = await door.greetedInTls();
    await client.send("a LOGIN alice@example.org pw");
    const ok = (await client.expectUntil("a OK ")).at(-1) ?? "";
    assert.deepEqual(inCode(ok).sort(), [...theirsAfter].sort());
    assert.deepEqual((await asked(client)).sort(), [...theirsAfter].sort());
  });

  await t.test("what is offered works: ENABLE, literals that do not wait, MOVE, UIDPLUS", async () => {
    await using client = await door.signedIn("alice@example.org", "pw");
    await client.send("a ENABLE CONDSTORE");
    await client.expectUntil("a OK ");
    await client.send("b CREATE Elsewhere");
    await client.expectUntil("b OK ");
    await client.send("c APPEND INBOX {21+}\r\nSubject: x\r\n\r\nhello\r\n");
    assert.match((await client.expectUntil(/^c /)).at(-1) ?? "", /^c OK \[APPENDUID /);
    await client.send("d SELECT INBOX");
    await client.expectUntil("d OK ");
    await client.send("e MOVE 1 Elsewhere");
    await client.expectUntil("e OK ");
    assert.equal((await store.messages("alice@example.org", "Elsewhere")).length, 1);
  });
});

test("before the login only what every backend has is promised", async () => {
  const authority = await certificateAuthority();
  await using rich = await startScriptedBackend({
    tls: "none",
    capabilities: "IMAP4rev1 SASL-IR LITERAL+ IDLE X-RICH",
  });
  await using poor = await startScriptedBackend({ tls: "none", capabilities: "IMAP4rev1 IDLE" });
  await using door = await openDoor({
    authority,
    backends: { rich, poor },
    users: USERS,
    config: { routes: [{ to: "rich" }] },
  });
  await using client = await door.greetedInTls();
  const told = await asked(client);
  assert.ok(told.includes("IDLE"), told.join(" "));
  assert.ok(!told.includes("X-RICH"), told.join(" "));
  assert.ok(!told.includes("LITERAL+"), told.join(" "));
});
