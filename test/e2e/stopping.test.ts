import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { certificateAuthority } from "../support/certificates.ts";
import { connect } from "../support/conversation.ts";
import { openDoor } from "../support/door.ts";
import { startDovecot } from "../support/dovecot.ts";
import { beginIdle, bigMessage, sha256 } from "../support/mail.ts";
import { freePorts } from "../support/ports.ts";
import { startProcess } from "../support/processes.ts";
import { temporaryFolder } from "../support/temp.ts";
import { within } from "../support/waiting.ts";

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const USERS = { "alice@example.org": "pw", "bob@example.org": "pw" };

test("a stop says goodbye to everybody, and cuts nobody off in the middle of a message", async () => {
  const authority = await certificateAuthority();
  await using store = await startDovecot({ tls: "none", users: USERS });
  const mail = bigMessage("large", 20_000_000);
  await store.deliver("alice@example.org", mail);
  await using door = await openDoor({
    authority,
    backends: { store },
    users: USERS,
    config: { routes: [{ to: "store" }], timeouts: { drain: "20s" } },
  });
  await using stranger = await door.greeted();
  await using idling = await door.signedIn("bob@example.org", "pw");
  await beginIdle(idling);
  await using busy = await door.signedIn("alice@example.org", "pw");
  await busy.send("s SELECT INBOX");
  await busy.expectUntil("s OK ");
  await busy.send("f FETCH 1 BODY.PEEK[]");
  const line = await busy.expect(/^\* 1 FETCH .*\{\d+\}$/);

  const stopped = door.gateway.stop();
  for (const client of [stranger, idling]) {
    const said = await client.readToClose();
    assert.match(said.at(-1) ?? "", /^\* BYE /, client.transcript());
  }
  const whole = await busy.readExact(Number(/\{(\d+)\}$/.exec(line)?.[1]));
  assert.equal(sha256(whole), sha256(mail));
  await busy.expect(")");
  await busy.expect("f OK ");
  await busy.expect("* BYE ");
  await busy.expectClosed();
  assert.equal(await within(10_000, "the gateway to end", stopped), 0);
  await assert.rejects(connect({ port: door.ports.starttls }), { code: "ECONNREFUSED" });
  assert.equal(door.gateway.accounts().length, 3);
});

test("a stop does not wait longer than the drain time", async () => {
  const authority = await certificateAuthority();
  await using store = await startDovecot({ tls: "none", users: USERS });
  await store.deliver("alice@example.org", bigMessage("large", 30_000_000));
  await using door = await openDoor({
    authority,
    backends: { store },
    users: USERS,
    config: { routes: [{ to: "store" }], timeouts: { drain: "1s" } },
  });
  await using stuck = await door.signedIn("alice@example.org", "pw");
  await stuck.send("s SELECT INBOX");
  await stuck.expectUntil("s OK ");
  stuck.pause();
  await stuck.send("f FETCH 1 BODY.PEEK[]");
  assert.equal(await within(8_000, "the gateway to end", door.gateway.stop()), 0);
  stuck.resume();
  // In the middle of a literal no words of ours may come: they would be mail.
  const said = await stuck.readToClose();
  assert.ok(!said.some((line) => line.startsWith("* BYE")), "a goodbye inside a message");
});

test("a stop during the start is heeded: process 1 of a container would not end by the signal itself", async () => {
  // The start waits a while for a backend that says nothing.
  await using mute = createServer().listen(0, "127.0.0.1");
  await once(mute, "listening");
  const asked = once(mute, "connection");
  const [port = 0, adminPort = 0] = await freePorts(2);
  await using folder = await temporaryFolder();
  await folder.write("users.yaml", "{}\n");
  const config = {
    tls: { selfSigned: true },
    listeners: [{ protocol: "imap", port, tls: "implicit" }],
    authentication: { sources: [{ type: "file", path: "users.yaml" }] },
    backends: {
      store: { host: "127.0.0.1", tls: "none", protocols: { imap: (mute.address() as AddressInfo).port } },
    },
    admin: { port: adminPort },
  };
  const file = await folder.write("postern.yaml", JSON.stringify(config));
  await using gateway = await startProcess(process.execPath, [MAIN, "run", "--config", file]);
  const [socket] = await within(10_000, "the backend to be asked", asked);
  gateway.signal("SIGTERM");
  assert.deepEqual(await within(10_000, "the end", gateway.exited), { code: 0, signal: null });
  socket.destroy();
});
