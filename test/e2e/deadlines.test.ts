import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { certificateAuthority } from "../support/certificates.ts";
import { connect } from "../support/conversation.ts";
import { type Door, openDoor } from "../support/door.ts";
import { startDovecot } from "../support/dovecot.ts";
import { beginIdle, message } from "../support/mail.ts";

const USERS = { "alice@example.org": "pw" };

async function timed(what: Promise<unknown>): Promise<number> {
  const start = performance.now();
  await what;
  return performance.now() - start;
}

test("before the login there is one deadline for everything, however the bytes come", async (t) => {
  const authority = await certificateAuthority();
  await using store = await startDovecot({ tls: "none", users: USERS });
  await using door = await openDoor({
    authority,
    backends: { store },
    users: USERS,
    config: { routes: [{ to: "store" }], timeouts: { handshake: "1s", login: "2s" } },
  });

  await t.test("silence, before TLS and in it", async () => {
    for (const enter of ["greeted", "secured", "greetedInTls"] as const) {
      await using client = await door[enter]();
      assert.match((await client.readToClose()).join("\n"), /^\* BYE /);
    }
  });

  await t.test("a byte now and then", async () => {
    await using client = await door.greetedInTls();
    let over = false;
    const closed = client.readToClose().finally(() => {
      over = true;
    });
    const ms = await timed(
      (async () => {
        while (!over) {
          await client.sendRaw("a");
          await pause(50);
        }
      })(),
    );
    assert.match((await closed).join("\n"), /^\* BYE /);
    assert.ok(ms > 1_000 && ms < 4_000, `${ms} ms`);
  });

  await t.test("a whole command now and then", async () => {
    await using client = await door.greetedInTls();
    const ms = await timed(
      (async () => {
        for (;;) {
          await client.send("n NOOP");
          const line = await client.expect(/^(n OK|\* BYE) /);
          if (line.startsWith("* BYE")) return;
          await pause(50);
        }
      })(),
    );
    assert.ok(ms > 1_000 && ms < 4_000, `${ms} ms`);
  });

  for (const [what, bytes] of Object.entries({
    "no ClientHello": "",
    "half a ClientHello": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
  })) {
    await t.test(`the handshake's own deadline: ${what}`, async () => {
      await using atOnce = await connect({ port: door.ports.implicit });
      await atOnce.sendRaw(bytes);
      const ms = await timed(atOnce.readToClose());
      assert.ok(ms > 500 && ms < 2_000, `${ms} ms`);
      await using later = await door.greeted();
      await later.send("a STARTTLS");
      await later.expect("a OK ");
      await later.sendRaw(bytes);
      const laterMs = await timed(later.readToClose());
      assert.ok(laterMs > 500 && laterMs < 2_000, `${laterMs} ms`);
    });
  }

  await t.test("who has signed in has all the time in the world", async () => {
    await using client = await door.signedIn("alice@example.org", "pw");
    await beginIdle(client);
    await pause(2_500);
    await store.deliver("alice@example.org", message("late"));
    await client.expect("* 1 EXISTS");
  });
});

test("after the login only a session in which nothing moves is ended, with a goodbye", async () => {
  const authority = await certificateAuthority();
  await using store = await startDovecot({ tls: "none", users: USERS });
  await using door: Door = await openDoor({
    authority,
    backends: { store },
    users: USERS,
    config: { routes: [{ to: "store" }], timeouts: { imapIdle: "2s" } },
  });
  await using lively = await door.signedIn("alice@example.org", "pw");
  await using still = await door.signedIn("alice@example.org", "pw");
  let over = false;
  const ended = still.readToClose().finally(() => {
    over = true;
  });
  const ms = await timed(
    (async () => {
      while (!over) {
        await lively.send("n NOOP");
        await lively.expectUntil("n OK ");
        await pause(100);
      }
    })(),
  );
  assert.match((await ended).at(-1) ?? "", /^\* BYE /);
  assert.ok(ms > 1_500 && ms < 6_000, `${ms} ms`);
  await lively.send("m NOOP");
  await lively.expectUntil("m OK ");
  const account = await door.gateway.account((record) => record.user === "alice@example.org");
  assert.equal(account.reason, "idle");
});
