import assert from "node:assert/strict";
import { mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { curlCommand, curlRead, imapflow, imaplib, mbsync, muttRead } from "../support/clients.ts";
import { BACKEND_NAME, openDoor } from "../support/door.ts";
import { startDovecot } from "../support/dovecot.ts";
import { message } from "../support/mail.ts";
import { temporaryFolder } from "../support/temp.ts";
import { within } from "../support/waiting.ts";

const USER = "alice@example.org";
const PASSWORD = 'p w"\\%s';

test("real mail programs read real mail through the door", async (t) => {
  const authority = await certificateAuthority();
  const certificate = await authority.issue([BACKEND_NAME]);
  await using store = await startDovecot({ tls: "starttls", certificate, users: { [USER]: PASSWORD } });
  const mail = message("a real one", "Grüße aus dem Postfach\r\n.\r\n..two dots, and a last line\r\n");
  await store.deliver(USER, mail);
  await using door = await openDoor({
    authority,
    backends: { store },
    users: { [USER]: PASSWORD },
    config: { routes: [{ to: "store" }] },
  });

  for (const tls of ["starttls", "implicit"] as const) {
    const account = door.account(USER, PASSWORD, tls);

    await t.test(`curl, ${tls}`, async () => {
      const listed = await curlCommand(account, 'LIST "" *');
      assert.equal(listed.code, 0, listed.stderr);
      assert.match(listed.stdout, /^\* LIST \(.*\) "?.?"? INBOX\r$/m);
      const read = await curlRead(account, 1);
      assert.equal(read.code, 0, read.stderr);
      assert.equal(read.body.toString(), mail);
    });

    await t.test(`mutt, ${tls}`, async () => {
      const seen = await muttRead(account);
      assert.equal(seen.message, mail.replaceAll("\r\n", "\n"), seen.stdout);
      assert.equal(seen.code, 0);
    });

    await t.test(`imaplib, ${tls}`, async () => {
      const read = await imaplib(
        account,
        'mail.select("INBOX")\nprint(json.dumps(mail.fetch("1", "(BODY.PEEK[])")[1][0][1].decode()))',
      );
      assert.equal(read.code, 0, read.stderr);
      assert.equal(JSON.parse(read.stdout), mail);
    });

    await t.test(`imapflow, ${tls}`, async () => {
      await using client = imapflow(account);
      await within(10_000, "imapflow to connect", client.connect());
      await client.mailboxOpen("INBOX");
      const read = await within(10_000, "imapflow to fetch", client.fetchOne("1", { source: true }));
      assert.ok(read);
      assert.equal(read.source?.toString(), mail);
    });

    await t.test(`mbsync, ${tls}`, async () => {
      await using home = await temporaryFolder();
      await mkdir(home.at("mail"));
      const synced = await mbsync(account, home.at("mail"));
      assert.equal(synced.code, 0, synced.stderr);
      const files = (await readdir(home.at("mail", "INBOX"), { recursive: true })).filter((file) =>
        /^(cur|new)./.test(file),
      );
      assert.equal(files.length, 1);
      const local = await readFile(join(home.at("mail", "INBOX"), files[0] ?? ""), "utf8");
      assert.equal(local.replace(/^X-TUID: .*\n/m, ""), mail.replaceAll("\r\n", "\n"));
    });
  }

  await t.test("the backend has seen this user alone, and the door counts every session", async () => {
    assert.deepEqual([...new Set(store.logins())], [USER]);
    for (const listener of ["clear", "tls"]) {
      await door.gateway.metricIs("postern_sessions_open", 0, { listener });
      const logins = await door.gateway.metric("postern_logins_total", { listener, outcome: "ok" });
      assert.ok(logins >= 5, `${logins} logins at ${listener}`);
    }
    assert.equal(store.logins().length, await door.gateway.metric("postern_logins_total", { outcome: "ok" }));
  });
});
