import assert from "node:assert/strict";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { mbsync } from "../support/clients.ts";
import { BACKEND_NAME, openDoor } from "../support/door.ts";
import { startDovecot } from "../support/dovecot.ts";
import { bigMessage, message, sha256 } from "../support/mail.ts";
import { temporaryFolder } from "../support/temp.ts";

const USER = "alice@example.org";
const PASSWORD = "secret";

/** What mbsync changes on its way: the line ends of a Maildir, and a header of its own. */
function fingerprint(mail: string | Buffer): string {
  const text = typeof mail === "string" ? mail : mail.toString("latin1");
  return sha256(Buffer.from(text.replaceAll("\r\n", "\n").replace(/^X-TUID: .*\n/m, ""), "latin1"));
}

async function fingerprintsIn(maildir: string): Promise<string[]> {
  const files = (await readdir(maildir, { recursive: true })).filter((file) => /^(cur|new)\//.test(file));
  return Promise.all(files.map(async (file) => fingerprint(await readFile(join(maildir, file)))));
}

test("mbsync carries mail both ways, every message whole", async () => {
  const authority = await certificateAuthority();
  const certificate = await authority.issue([BACKEND_NAME]);
  await using store = await startDovecot({ tls: "implicit", certificate, users: { [USER]: PASSWORD } });
  await using door = await openDoor({
    authority,
    backends: { store },
    users: { [USER]: PASSWORD },
    config: { routes: [{ to: "store" }] },
  });
  await using home = await temporaryFolder();
  const local = home.at("mail");

  // Far: small, large and odd ones in two mailboxes.
  const inbox = [
    ...Array.from({ length: 20 }, (_, n) => message(`far ${n}`)),
    bigMessage("far and large", 3_000_000),
  ];
  const work = [
    message("far, of dots", ".\r\n..\r\n...\r\n"),
    message("far, of one long line", `${"x".repeat(100_000)}\r\n`),
  ];
  for (const mail of inbox) await store.deliver(USER, mail);
  for (const mail of work) await store.deliver(USER, mail, "Work");

  // Near: a mailbox that the server has not got yet, and one more for its inbox.
  const letters = [
    message("near"),
    message("near, in 8 bits", "naïve café\r\n"),
    bigMessage("near and large", 3_000_000).toString("latin1"),
  ];
  for (const part of ["cur", "new", "tmp"]) await mkdir(join(local, "Letters", part), { recursive: true });
  for (const [n, mail] of letters.entries()) {
    await writeFile(
      join(local, "Letters", "cur", `100${n}.test.near:2,S`),
      mail.replaceAll("\r\n", "\n"),
      "latin1",
    );
  }

  const first = await mbsync(door.account(USER, PASSWORD, "starttls"), local);
  assert.equal(first.code, 0, first.stderr);
  assert.deepEqual((await fingerprintsIn(join(local, "INBOX"))).sort(), inbox.map(fingerprint).sort());
  assert.deepEqual((await fingerprintsIn(join(local, "Work"))).sort(), work.map(fingerprint).sort());
  const stored = await store.messages(USER, "Letters");
  assert.deepEqual(
    stored.map(fingerprint).sort(),
    letters.map((mail) => fingerprint(Buffer.from(mail, "latin1"))).sort(),
  );

  // And again, with changes on both sides since.
  const late = [message("far, later"), message("near, later")] as const;
  await store.deliver(USER, late[0]);
  await writeFile(join(local, "INBOX", "cur", "2000.test.near:2,S"), late[1].replaceAll("\r\n", "\n"));
  const second = await mbsync(door.account(USER, PASSWORD, "implicit"), local);
  assert.equal(second.code, 0, second.stderr);
  const all = [...inbox, ...late].map(fingerprint).sort();
  assert.deepEqual((await fingerprintsIn(join(local, "INBOX"))).sort(), all);
  assert.deepEqual((await store.messages(USER)).map(fingerprint).sort(), all);
});
