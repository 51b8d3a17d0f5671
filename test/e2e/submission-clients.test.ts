import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import type { Account } from "../support/clients.ts";
import { BACKEND_NAME } from "../support/door.ts";
import { startDovecot } from "../support/dovecot.ts";
import { message, sha256 } from "../support/mail.ts";
import { type Postfix, startPostfix, withoutPostfix } from "../support/postfix.ts";
import type { Finished } from "../support/processes.ts";
import { curlSend, msmtp, type Outgoing, smtplib, swaks } from "../support/smtp-clients.ts";
import { openSmtpDoor, plain, type SmtpDoor, talk } from "../support/smtp-door.ts";
import { temporaryFolder } from "../support/temp.ts";

const USER = "alice@example.org";
const PASSWORD = "right-one";
const HERE = "example.net";

/** The door, behind it a Postfix that asks a Dovecot for passwords, and nothing else than real servers. */
async function open(tls: "none" | "starttls" | "implicit" = "starttls") {
  const authority = await certificateAuthority();
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await temporaryFolder());
  const auth = folder.at("auth");
  stack.use(
    await startDovecot({
      tls: "none",
      users: { [USER]: PASSWORD },
      settings: `service auth {\n  unix_listener ${auth} {\n    mode = 0666\n  }\n}`,
    }),
  );
  const certificate = await authority.issue([BACKEND_NAME]);
  const postfix = stack.use(await startPostfix({ domains: [HERE], tls, certificate, auth }));
  const door = stack.use(
    await openSmtpDoor({
      authority,
      users: { [USER]: PASSWORD },
      backends: { postfix },
      config: { submission: { maxMessageSize: "90MiB" } },
    }),
  );
  const kept = stack.move();
  return { door, postfix, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

/** The newest message ends with these bytes, and only Postfix's own field stands before them. */
async function arrived(postfix: Postfix, count: number, sent: Buffer): Promise<void> {
  const kept = await postfix.keeps(HERE, count);
  const content = kept
    .map((each) => each.content)
    .find((each) => sha256(each.subarray(-sent.length)) === sha256(sent));
  assert.ok(content, `none of ${kept.length} messages is the one that was sent`);
  assert.match(content.subarray(0, -sent.length).toString("latin1"), /^Received: from .*\r\n$/s);
}

type Send = (account: Account, outgoing: Outgoing) => Promise<Finished>;
const PROGRAMS: Readonly<Record<string, Send>> = { swaks, msmtp, curl: curlSend, smtplib };

test("real programs send by 587 and 465, and what they send arrives", { skip: withoutPostfix }, async (t) => {
  await using place = await open();
  const { door, postfix } = place;
  let count = 0;
  for (const [name, send] of Object.entries(PROGRAMS)) {
    for (const tls of ["starttls", "implicit"] as const) {
      await t.test(`${name}, ${tls}`, async () => {
        const sent = Buffer.from(message(`from ${name}`, ".\r\n..\r\n.x\r\n\r\nMAIL FROM:<>\r\nQUIT\r\n"));
        const account = door.account(USER, PASSWORD, tls);
        const finished = await send(account, { from: USER, to: [`bob@${HERE}`], message: sent });
        assert.equal(finished.code, 0, `${finished.stdout}${finished.stderr}`);
        await arrived(postfix, ++count, sent);
      });
    }
    await t.test(`${name} with a wrong password`, async () => {
      const account = door.account(USER, "wrong");
      const finished = await send(account, {
        from: USER,
        to: [`bob@${HERE}`],
        message: Buffer.from(message("x")),
      });
      assert.notEqual(finished.code, 0);
      const words = `${finished.stdout}${finished.stderr}`;
      // curl tells no more than that it was refused.
      assert.match(words, name === "curl" ? /denied|535/ : /535[ -]5\.7\.8|535, b'5\.7\.8/, words);
    });
  }
  assert.equal((await postfix.kept(HERE)).length, count);
});

test("mail of every shape arrives as it was", { skip: withoutPostfix }, async (t) => {
  await using place = await open("implicit");
  const { door, postfix } = place;
  let count = 0;
  const head = message("shape").split("\r\n\r\n")[0] ?? "";
  const attachment = randomBytes(50_000_000).toString("base64").replace(/.{76}/g, "$&\r\n");
  const shapes: Readonly<Record<string, Buffer>> = {
    "an empty body": Buffer.from(`${head}\r\n\r\n`),
    "a line of 900": Buffer.from(`${head}\r\n\r\n${"y".repeat(900)}\r\n`),
    "8-bit": Buffer.from(`${head}\r\n\r\n\xfc\xe4\xc3\xbc\xff\x80\r\n`, "latin1"),
    dots: Buffer.from(`${head}\r\n\r\n.\r\n..\r\n...\r\n.a\r\n`),
    "a multipart with 50 MB attached": Buffer.from(
      `${head.replace("text/plain; charset=utf-8", 'multipart/mixed; boundary="=_b"')}\r\n\r\n--=_b\r\n` +
        "Content-Type: text/plain\r\n\r\nsee there\r\n--=_b\r\nContent-Type: application/octet-stream\r\n" +
        `Content-Transfer-Encoding: base64\r\n\r\n${attachment}\r\n--=_b--\r\n`,
    ),
  };
  for (const [what, sent] of Object.entries(shapes)) {
    await t.test(what, async () => {
      const outgoing = { from: USER, to: [`bob@${HERE}`], message: sent };
      const finished = await curlSend(door.account(USER, PASSWORD), outgoing);
      assert.equal(finished.code, 0, finished.stderr);
      await arrived(postfix, ++count, sent);
    });
  }
  await t.test("SMTPUTF8 addresses", async () => {
    const sent = Buffer.from(message("utf8"));
    const to = [`b\u00fcrger@${HERE}`];
    const outgoing = { from: "\u00e4lice@example.org", to, message: sent };
    const finished = await smtplib(door.account(USER, PASSWORD), outgoing, ["SMTPUTF8", "BODY=8BITMIME"]);
    assert.equal(finished.code, 0, finished.stderr);
    await arrived(postfix, ++count, sent);
    const kept = (await postfix.kept(HERE)).find(({ from }) => from !== USER);
    assert.deepEqual(
      [kept?.from, kept?.to].map((text) => Buffer.from(text ?? "", "latin1").toString()),
      [outgoing.from, ...to],
    );
  });
  await t.test("BDAT, in three chunks", async () => {
    const sent = message("chunks", ".\r\n..\r\nend\r\n");
    await using client = await door.signedIn(USER, PASSWORD);
    await talk(
      client,
      [`MAIL FROM:<${USER}> SIZE=${sent.length}`, "250 "],
      [`RCPT TO:<bob@${HERE}>`, "250 "],
    );
    const parts = [sent.slice(0, 100), sent.slice(100, 205), sent.slice(205)];
    for (const [at, part] of parts.entries())
      await client.sendRaw(`BDAT ${part.length}${at === parts.length - 1 ? " LAST" : ""}\r\n${part}`);
    for (const _ of parts) await client.expect("250 2.0.0 ");
    await talk(client, ["QUIT", "221 "]);
    await arrived(postfix, ++count, Buffer.from(sent));
  });
  await t.test("one message for many", async () => {
    const sent = Buffer.from(message("many"));
    const to = Array.from({ length: 30 }, (_, n) => `user${n}@${HERE}`);
    const finished = await smtplib(door.account(USER, PASSWORD), { from: USER, to, message: sent });
    assert.equal(finished.code, 0, finished.stderr);
    count += to.length;
    assert.deepEqual(
      (await postfix.keeps(HERE, count))
        .map((kept) => kept.to)
        .filter((each) => each.startsWith("user"))
        .sort(),
      to.sort(),
    );
  });
});

test("a stock Postfix behind the door is not smuggled to", { skip: withoutPostfix }, async (t) => {
  await using place = await open("none");
  const { door, postfix } = place;
  const forms = ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\n", "\n.\r", "\r.\r\n", "\r\n.\r"];
  forms.push("\r\n\0.\r\n", "\r\n.\0\r\n", "\r\n.\r\r\n", "\r\r\n.\r\r\n");
  for (const form of forms) {
    await t.test(JSON.stringify(form), async () => {
      await using client = await door.signedIn(USER, PASSWORD);
      await talk(
        client,
        [`MAIL FROM:<${USER}>`, "250 "],
        [`RCPT TO:<first@${HERE}>`, "250 "],
        ["DATA", "354 "],
      );
      const second = `MAIL FROM:<evil@example.org>\r\nRCPT TO:<second@${HERE}>\r\nDATA\r\nSubject: two\r\n\r\nx`;
      await client.sendRaw(`Subject: one\r\n\r\nbody${form}${second}\r\n.\r\n`);
      await client.expect(form.includes("\0") ? "250 " : "550 5.5.2 ");
      await talk(client, ["QUIT", "221 "]);
    });
  }
  const kept = await postfix.keeps(HERE, 2);
  await postfix.settled();
  assert.deepEqual(
    kept.map(({ to }) => to),
    [`first@${HERE}`, `first@${HERE}`],
  );
  assert.equal((await postfix.kept(HERE)).length, 2);
});

test("the backend's own users decide where it has others than the door", {
  skip: withoutPostfix,
}, async () => {
  await using place = await open("none");
  const other: SmtpDoor = await openSmtpDoor({
    authority: await certificateAuthority(),
    users: { [USER]: "not what Dovecot knows" },
    backends: { postfix: place.postfix },
  });
  await using door = other;
  await using client = await door.greetedInTls();
  await talk(client, [`AUTH PLAIN ${plain(USER, "not what Dovecot knows")}`, "535 5.7.8 "]);
});
