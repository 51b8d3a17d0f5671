import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { LISTENER, openDoor } from "../support/door.ts";
import { startDovecot } from "../support/dovecot.ts";
import { message, readMessage } from "../support/mail.ts";

const USERS = { "alice@example.org": "right" };

test("each session writes one account record, and the metrics add them up", async (t) => {
  const authority = await certificateAuthority();
  await using store = await startDovecot({ tls: "none", users: USERS });
  const mail = message("counted", `${"x".repeat(50_000)}\r\n`);
  await store.deliver("alice@example.org", mail);
  await using door = await openDoor({
    authority,
    backends: { store },
    users: USERS,
    config: { routes: [{ to: "store" }] },
  });

  await t.test("a session that signs in at its second try", async () => {
    await using client = await door.greetedInTls({ localAddress: "127.0.0.9" });
    await client.send("a LOGIN alice@example.org wrong");
    await client.expect("a NO ");
    await client.send("b LOGIN alice@example.org right");
    await client.expectUntil("b OK ");
    assert.equal((await readMessage(client)).toString(), mail);
    await door.gateway.metricIs("postern_sessions_open", 1, { listener: LISTENER.implicit });
    await client.send("c LOGOUT");
    await client.expectUntil("c OK ");
    await client.expectClosed();

    const account = await door.gateway.account((record) => record.peer === "127.0.0.9");
    assert.equal(account.listener, LISTENER.implicit);
    assert.equal(account.protocol, "imap");
    assert.equal(account.user, "alice@example.org");
    assert.equal(account.backend, "store");
    assert.equal(account.outcome, "ok");
    assert.equal(typeof account.reason, "string");
    assert.match(account.id, /\S{6,}/);
    assert.ok(
      account.bytes.out > mail.length && account.bytes.out < mail.length + 5_000,
      `${account.bytes.out} out`,
    );
    assert.ok(account.bytes.in > 50 && account.bytes.in < 1_000, `${account.bytes.in} in`);
    for (const stage of ["authenticating", "connecting", "relaying"]) {
      assert.ok((account.durations[stage] ?? -1) >= 0, `${stage} in ${JSON.stringify(account.durations)}`);
    }
    const inStages = Object.values(account.durations).reduce((sum, ms) => sum + ms, 0);
    assert.ok(
      Math.abs(inStages - account.durationMs) < 5,
      `${inStages} ms in stages of ${account.durationMs} ms`,
    );
    // What was said of this session before its end carries the same id.
    assert.ok(door.gateway.log().some((line) => line["msg"] === "refused" && line["id"] === account.id));
  });

  await t.test("a session that never tries", async () => {
    await using client = await door.greeted({ localAddress: "127.0.0.10" });
    await client.send("z LOGOUT");
    await client.expectUntil("z OK ");
    const account = await door.gateway.account((record) => record.peer === "127.0.0.10");
    assert.equal(account.listener, LISTENER.starttls);
    assert.equal(account.user, undefined);
    assert.notEqual(account.outcome, "ok");
  });

  await t.test("hostile names stay one line, escaped, and no label", async () => {
    await using client = await door.greetedInTls({ localAddress: "127.0.0.11" });
    const name = 'x\\\u001b[31m\u202e"level":60';
    await client.send(`a AUTHENTICATE PLAIN ${Buffer.from(`\0${name}\0pw`).toString("base64")}`);
    await client.expect(/^a (NO|BAD) /);
    await client.send("z LOGOUT");
    await client.expectUntil("z OK ");
    await door.gateway.account((record) => record.peer === "127.0.0.11");
    for (const character of ["\u001b", "\u202e"]) assert.ok(!door.gateway.output().includes(character));
    assert.doesNotMatch(await door.gateway.metrics(), /31m/);
  });

  await t.test("the metrics", async () => {
    const { gateway } = door;
    await gateway.metricIs("postern_sessions_open", 0);
    assert.equal(await gateway.metric("postern_connections_total", { listener: LISTENER.implicit }), 2);
    assert.equal(await gateway.metric("postern_connections_total", { listener: LISTENER.starttls }), 1);
    assert.equal(
      await gateway.metric("postern_logins_total", { listener: LISTENER.implicit, outcome: "ok" }),
      1,
    );
    assert.ok((await gateway.metric("postern_logins_total", { outcome: "badCredential" })) >= 1);
    assert.ok((await gateway.metric("postern_refusals_total", { kind: "badCredential" })) >= 1);
    const records = gateway.accounts();
    for (const direction of ["in", "out"] as const) {
      const sum = records.reduce((total, record) => total + record.bytes[direction], 0);
      assert.equal(await gateway.metric("postern_bytes_total", { direction }), sum);
    }
    assert.match(
      await gateway.metrics(),
      /^postern_stage_duration_seconds_count\{stage="authenticating"\} [1-9]/m,
    );
    assert.equal(await gateway.metric("postern_leases"), 0);
  });

  await t.test("health", async () => {
    assert.equal((await door.gateway.admin("/healthz")).status, 200);
    assert.equal((await door.gateway.admin("/readyz")).status, 200);
    assert.equal((await door.gateway.admin("/nothing-here")).status, 404);
  });
});
