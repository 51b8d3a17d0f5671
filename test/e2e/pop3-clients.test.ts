import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { BACKEND_NAME } from "../support/door.ts";
import { type Dovecot, startDovecot } from "../support/dovecot.ts";
import { bigMessage, message, sha256 } from "../support/mail.ts";
import {
  curlPop3,
  type Fetcher,
  fetched,
  fetchmail,
  getmail,
  mpop,
  poplib,
} from "../support/pop3-clients.ts";
import { openPop3Door, pop3Of } from "../support/pop3-door.ts";
import { temporaryFolder } from "../support/temp.ts";
import { eventually } from "../support/waiting.ts";

const USER = "alice@example.org";
const PASSWORD = ' p w"\\%s ';

const MAIL = [
  message("plain", "Grüße aus dem Postfach\r\n"),
  message("dots", ".\r\n..\r\n...\r\n.one\r\n\r\n.\r\n"),
  bigMessage("big", 300_000).toString("latin1"),
];

const lf = (text: string | Buffer) => text.toString("latin1").replaceAll("\r\n", "\n");
const sums = (texts: readonly (string | Buffer)[]) => texts.map((text) => sha256(lf(text))).sort();

async function fill(store: Dovecot, user = USER): Promise<void> {
  for (const each of MAIL) await store.deliver(user, Buffer.from(each, "latin1"));
}

for (const backendTls of ["none", "starttls", "implicit"] as const) {
  test(`curl and poplib read mail byte for byte through the door, backend by ${backendTls}`, async (t) => {
    const authority = await certificateAuthority();
    await using store = await startDovecot({
      pop3: true,
      tls: backendTls,
      ...(backendTls === "none" ? {} : { certificate: await authority.issue([BACKEND_NAME]) }),
      users: { [USER]: PASSWORD },
    });
    await fill(store);
    await using door = await openPop3Door({
      authority,
      backends: { store: pop3Of(store) },
      users: { [USER]: PASSWORD },
    });
    for (const tls of ["starttls", "implicit"] as const) {
      const account = door.account(USER, PASSWORD, tls);
      await t.test(`curl, ${tls}`, async () => {
        const bodies: Buffer[] = [];
        for (const [index] of MAIL.entries()) {
          const read = await curlPop3(account, String(index + 1));
          assert.equal(read.code, 0, read.stderr);
          bodies.push(read.body);
        }
        assert.deepEqual(
          bodies.map(sha256).sort(),
          MAIL.map((each) => sha256(Buffer.from(each, "latin1"))).sort(),
        );
        const listed = await curlPop3(account, "", ["--request", "UIDL"]);
        assert.equal(listed.body.toString().trim().split("\r\n").length, MAIL.length, listed.body.toString());
      });
      for (const [how, options] of [
        ["AUTH PLAIN", "AUTH=PLAIN"],
        ["AUTH LOGIN", "AUTH=LOGIN"],
        ["APOP", "AUTH=+APOP"],
      ] as const) {
        await t.test(`curl by ${how}, ${tls}`, async () => {
          const read = await curlPop3(account, "1", ["--login-options", options, "--verbose"]);
          assert.equal(read.code, 0, read.stderr);
          assert.ok(sums(MAIL).includes(sha256(lf(read.body))));
          assert.match(read.stderr, new RegExp(`^> ${how}`, "m"));
        });
      }
      await t.test(`poplib, ${tls}`, async () => {
        const read = await poplib(
          account,
          `print(json.dumps([hashlib.sha256(text(n + 1)).hexdigest() for n in range(mail.stat()[0])]))`,
        );
        assert.equal(read.code, 0, read.stderr);
        assert.deepEqual(
          (JSON.parse(read.stdout) as string[]).sort(),
          MAIL.map((each) => sha256(Buffer.from(each, "latin1"))).sort(),
        );
      });
      await t.test(`poplib by APOP, ${tls}`, async () => {
        const read = await poplib(
          account,
          "print(mail.stat()[0])",
          'mail.apop(account["user"], account["password"])',
        );
        assert.equal(read.code, 0, read.stderr);
        assert.equal(read.stdout.trim(), String(MAIL.length));
      });
    }
    await t.test("a wrong password and no other trouble is what the programs hear", async () => {
      const wrong = door.account(USER, "wrong");
      const curl = await curlPop3(wrong, "1");
      assert.equal(curl.code, 67, curl.stderr);
      const python = await poplib(wrong, "");
      assert.match(python.stderr, /error_proto: b'-ERR \[AUTH\] /);
      const apop = await poplib(wrong, "", 'mail.apop(account["user"], account["password"])');
      assert.match(apop.stderr, /error_proto: b'-ERR \[AUTH\] /);
    });
    await t.test("the backend has seen this user alone, and the door counts every session", async () => {
      assert.deepEqual([...new Set(store.logins())], [USER]);
      const logins = await door.gateway.metric("postern_logins_total", { outcome: "ok" });
      assert.equal(store.logins().length, logins);
      await door.gateway.metricIs("postern_sessions_open", 0);
    });
  });
}

const FETCHERS: readonly { user: string; fetch: Fetcher; tls: "starttls" | "implicit" }[] = [
  { user: "mpop.starttls", fetch: mpop, tls: "starttls" },
  { user: "mpop.implicit", fetch: mpop, tls: "implicit" },
  { user: "getmail.implicit", fetch: getmail, tls: "implicit" },
  { user: "fetchmail.starttls", fetch: fetchmail, tls: "starttls" },
  { user: "fetchmail.implicit", fetch: fetchmail, tls: "implicit" },
];

test("programs that leave mail on the server fetch each message once, and those that delete empty the mailbox", async (t) => {
  const authority = await certificateAuthority();
  const users = Object.fromEntries(FETCHERS.map(({ user }) => [user, "simple"]));
  await using store = await startDovecot({
    pop3: true,
    tls: "starttls",
    certificate: await authority.issue([BACKEND_NAME]),
    users,
  });
  await using door = await openPop3Door({ authority, backends: { store: pop3Of(store) }, users });
  for (const { user, fetch, tls } of FETCHERS) {
    const account = door.account(user, "simple", tls);
    await t.test(user, async () => {
      await fill(store, user);
      await using local = await temporaryFolder();
      for (const time of ["the first time", "the second time"]) {
        const { code, stdout, stderr } = await fetch(account, local, { keep: true });
        // fetchmail's 1 is "there was no new mail".
        assert.ok(code === 0 || (fetch === fetchmail && code === 1), `${time}: ${stdout}${stderr}`);
        assert.deepEqual(sums(await fetched(local)), sums(MAIL), `${time}: ${stdout}${stderr}`);
        assert.equal((await store.messages(user)).length, MAIL.length);
      }

      await using other = await temporaryFolder();
      const { code, stdout, stderr } = await fetch(account, other, { keep: false });
      assert.equal(code, 0, `${stdout}${stderr}`);
      assert.deepEqual(sums(await fetched(other)), sums(MAIL));
      await eventually("the mailbox to be empty", async () => (await store.messages(user)).length === 0);
    });
    await t.test(`${user}: a wrong password`, async () => {
      await using local = await temporaryFolder();
      const wrong = { ...account, password: "wrong" };
      const { code, stdout, stderr } = await fetch(wrong, local, { keep: true });
      assert.notEqual(code, 0);
      assert.match(
        `${stdout}${stderr}`,
        /authentication failed|authorization failure|credential\/login error/i,
      );
    });
  }
});
