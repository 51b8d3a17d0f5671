import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { curlAppend, curlRead, imaplib } from "../support/clients.ts";
import { BACKEND_NAME, openDoor } from "../support/door.ts";
import { startDovecot } from "../support/dovecot.ts";
import { bigMessage, message, sha256 } from "../support/mail.ts";
import { eventually } from "../support/waiting.ts";

const USER = "alice@example.org";
const PASSWORD = "secret";
const MiB = 1_048_576;

test("a message of 50 MB comes and goes whole", async (t) => {
  const authority = await certificateAuthority();
  const certificate = await authority.issue([BACKEND_NAME]);
  await using store = await startDovecot({ tls: "starttls", certificate, users: { [USER]: PASSWORD } });
  await using door = await openDoor({
    authority,
    backends: { store },
    users: { [USER]: PASSWORD },
    config: { routes: [{ to: "store" }] },
  });
  const mail = bigMessage("large", 50_000_000);
  const digest = sha256(mail);
  assert.ok(mail.length >= 50_000_000);

  await t.test("APPEND by curl", async () => {
    const sent = await curlAppend(door.account(USER, PASSWORD, "starttls"), mail);
    assert.equal(sent.code, 0, sent.stderr);
    assert.deepEqual((await store.messages(USER)).map(sha256), [digest]);
  });
  await t.test("FETCH by curl", async () => {
    const read = await curlRead(door.account(USER, PASSWORD, "implicit"), 1);
    assert.equal(read.code, 0, read.stderr);
    assert.equal(sha256(read.body), digest);
  });
  await t.test("FETCH and APPEND by imaplib", async () => {
    const script = [
      'mail.select("INBOX")',
      'whole = mail.fetch("1", "(BODY.PEEK[])")[1][0][1]',
      "print(hashlib.sha256(whole).hexdigest())",
      'print(mail.append("INBOX", None, None, whole)[0])',
    ].join("\n");
    const copied = await imaplib(door.account(USER, PASSWORD, "implicit"), script);
    assert.equal(copied.code, 0, copied.stderr);
    assert.deepEqual(copied.stdout.trim().split("\n"), [digest, "OK"]);
    assert.deepEqual((await store.messages(USER)).map(sha256), [digest, digest]);
  });
  await t.test("the bytes are counted, in both directions", async () => {
    await door.gateway.metricIs("postern_sessions_open", 0);
    for (const direction of ["in", "out"]) {
      const bytes = await door.gateway.metric("postern_bytes_total", { direction });
      assert.ok(bytes >= 2 * mail.length && bytes < 2.1 * mail.length, `${direction}: ${bytes}`);
    }
  });
});

test("readers that do not read cost the gateway no memory, and get their message whole in the end", async () => {
  const READERS = 60;
  const authority = await certificateAuthority();
  await using store = await startDovecot({ tls: "none", users: { [USER]: PASSWORD } });
  const mail = bigMessage("large", 20_000_000);
  await store.deliver(USER, mail);
  await using door = await openDoor({
    authority,
    backends: { store },
    users: { [USER]: PASSWORD },
    config: { routes: [{ to: "store" }] },
  });

  // Once without a stop: what the process takes for itself by then is not the readers'.
  const fetched = await curlRead(door.account(USER, PASSWORD), 1);
  assert.equal(sha256(fetched.body), sha256(mail));

  await using held = new AsyncDisposableStack();
  const readers = [];
  for (let n = 0; n < READERS; n++) {
    const client = held.use(await door.signedIn(USER, PASSWORD, { timeoutMs: 60_000 }));
    await client.send("s SELECT INBOX");
    await client.expectUntil("s OK ");
    readers.push(client);
  }
  const before = await door.gateway.rss();
  const movedBefore = await door.gateway.metric("postern_bytes_total", { direction: "out" });
  for (const client of readers) {
    client.pause();
    await client.send("f FETCH 1 BODY.PEEK[]");
  }

  // Everything that fits anywhere has been taken when no more bytes come in: buffers are full, and stay so.
  let moved = movedBefore;
  let unchanged = 0;
  let peak = 0;
  await eventually(
    () => `the gateway to stop reading from the backend; ${moved} bytes moved`,
    async () => {
      const now = await door.gateway.metric("postern_bytes_total", { direction: "out" });
      peak = Math.max(peak, await door.gateway.rss());
      unchanged = now === moved ? unchanged + 1 : 0;
      moved = now;
      return unchanged >= 10;
    },
    { everyMs: 100, timeoutMs: 30_000 },
  );
  assert.ok(moved > movedBefore, "no reader was sent anything");
  assert.ok(
    moved - movedBefore < READERS * mail.length * 0.75,
    `${moved - movedBefore} bytes went to readers that do not read`,
  );
  // On the way there is garbage beside what is held; both are bounded.
  const perReader = (rss: number) => (rss - before) / READERS / MiB;
  const settled = perReader(await door.gateway.rss());
  assert.ok(settled < 1, `a reader that does not read costs ${settled.toFixed(2)} MiB`);
  assert.ok(perReader(peak) < 2, `a reader cost up to ${perReader(peak).toFixed(2)} MiB on the way`);

  // Some read on; the others were never heard of again.
  for (const client of readers.slice(0, 3)) {
    client.resume();
    const line = await client.expect(/^\* 1 FETCH .*\{\d+\}$/);
    const whole = await client.readExact(Number(/\{(\d+)\}$/.exec(line)?.[1]));
    assert.equal(sha256(whole), sha256(mail));
    await client.expect(")");
    await client.expect("f OK ");
  }
  for (const client of readers.slice(3)) client.vanish();
  await door.gateway.metricIs("postern_sessions_open", 3);
});

test("a backend that does not read stops the client, not the gateway's memory", async () => {
  const authority = await certificateAuthority();
  await using store = await startDovecot({ tls: "none", users: { [USER]: PASSWORD } });
  await using door = await openDoor({
    authority,
    backends: { store },
    users: { [USER]: PASSWORD },
    config: { routes: [{ to: "store" }] },
  });
  const mail = bigMessage("large", 50_000_000);
  const small = message("small");
  await using client = await door.signedIn(USER, PASSWORD, { timeoutMs: 60_000 });
  await client.send(`w APPEND INBOX {${small.length}+}\r\n${small}`);
  await client.expectUntil("w OK ");
  const before = await door.gateway.rss();
  const movedBefore = await door.gateway.metric("postern_bytes_total", { direction: "in" });

  // The session's own process at the backend stands still, with its socket open.
  const stopped = await store.sessionProcesses();
  assert.equal(stopped.length, 1);
  for (const pid of stopped) process.kill(pid, "SIGSTOP");
  try {
    await client.send(`a APPEND INBOX {${mail.length}+}`);
    const sending = client.sendRaw(mail);
    let moved = movedBefore;
    let unchanged = 0;
    let peak = 0;
    await eventually(
      () => `the gateway to stop reading from the client; ${moved} bytes moved`,
      async () => {
        const now = await door.gateway.metric("postern_bytes_total", { direction: "in" });
        peak = Math.max(peak, await door.gateway.rss());
        unchanged = now === moved ? unchanged + 1 : 0;
        moved = now;
        return unchanged >= 10;
      },
      { everyMs: 100, timeoutMs: 30_000 },
    );
    assert.ok(moved > movedBefore, "nothing was taken from the client");
    assert.ok(
      moved - movedBefore < mail.length * 0.5,
      `${moved - movedBefore} bytes were taken for a backend that does not read`,
    );
    assert.ok(peak - before < 16 * MiB, `one writer costs ${Math.round((peak - before) / MiB)} MiB`);
    for (const pid of stopped) process.kill(pid, "SIGCONT");
    await sending;
    await client.send("");
    await client.expectUntil("a OK ");
  } finally {
    for (const pid of stopped) process.kill(pid, "SIGCONT");
  }
  assert.deepEqual((await store.messages(USER)).map(sha256).sort(), [sha256(small), sha256(mail)].sort());
});
