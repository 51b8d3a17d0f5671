import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { BACKEND_NAME, openDoor } from "../support/door.ts";
import { startDovecot } from "../support/dovecot.ts";
import { beginIdle, message } from "../support/mail.ts";
import { startScriptedBackend } from "../support/scripted-backend.ts";

const PASSWORD = "secret";
/** Hostile inputs, 66: never a silent half-open session. */
const SOON_MS = 2_000;

test("clients in IDLE hear within two seconds that their backend is gone, and others hear nothing", async (t) => {
  const authority = await certificateAuthority();
  const certificate = await authority.issue([BACKEND_NAME]);
  const users = ["alice@example.org", "bob@example.org", "carol@example.org"];
  for (const tls of ["none", "starttls"] as const) {
    await t.test(`a backend by ${tls}`, async () => {
      const known = Object.fromEntries(users.map((user) => [user, PASSWORD]));
      const secure = tls === "none" ? {} : { certificate };
      await using doomed = await startDovecot({ name: "doomed", tls, ...secure, users: known });
      await using lasting = await startDovecot({ name: "lasting", tls, ...secure, users: known });
      for (const user of users) {
        await doomed.deliver(user, message("hello"));
        await lasting.deliver(user, message("hello"));
      }
      await using door = await openDoor({
        authority,
        backends: { doomed, lasting },
        users: known,
        config: { routes: [{ match: { user: "carol@example.org" }, to: "lasting" }, { to: "doomed" }] },
      });
      await using alice = await door.signedIn("alice@example.org", PASSWORD, { timeoutMs: SOON_MS });
      await using bob = await door.signedIn("bob@example.org", PASSWORD, { timeoutMs: SOON_MS });
      await using carol = await door.signedIn("carol@example.org", PASSWORD);
      for (const client of [alice, bob, carol]) await beginIdle(client);

      const killed = doomed.kill();
      for (const said of await Promise.all([alice.readToClose(), bob.readToClose()])) {
        assert.ok(
          said.every((line) => line.startsWith("* BYE")),
          said.join("\n"),
        );
      }
      await killed;

      await lasting.deliver("carol@example.org", message("pushed"));
      await carol.expect("* 2 EXISTS");
      await carol.send("DONE");
      await carol.expectUntil("idl OK ");
      await door.gateway.metricIs("postern_sessions_open", 1);
      const account = await door.gateway.account((record) => record.user === "alice@example.org");
      assert.equal(account.reason, "backend closed");
    });
  }
});

test("a backend that dies in the middle of a message finishes nothing", async () => {
  const authority = await certificateAuthority();
  await using backend = await startScriptedBackend({
    tls: "none",
    acts: { fetch: { say: "* 1 FETCH (BODY[] {1000}\r\nonly the beginning", next: "reset" } },
  });
  await using door = await openDoor({
    authority,
    backends: { backend },
    users: { "alice@example.org": PASSWORD },
    config: { routes: [{ to: "backend" }] },
  });
  await using client = await door.signedIn("alice@example.org", PASSWORD, { timeoutMs: SOON_MS });
  await client.send("f FETCH 1 BODY[]");
  await client.expect("* 1 FETCH (BODY[] {1000}");
  const rest = "only the beginning";
  assert.equal((await client.readExact(rest.length)).toString(), rest);
  await client.expectClosed();
});
