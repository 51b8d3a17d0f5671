import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { BACKEND_NAME } from "../support/door.ts";
import { startDovecot } from "../support/dovecot.ts";
import { message } from "../support/mail.ts";
import { freePort } from "../support/ports.ts";
import { startScriptedSmtp } from "../support/scripted-smtp.ts";
import { smtplib } from "../support/smtp-clients.ts";
import { openSmtpDoor, plain, talk } from "../support/smtp-door.ts";

const USER = "alice@example.org";
const PASSWORD = "right-one";

test("Dovecot's submission service behind the door: signed in there, and relayed from there", async (t) => {
  const authority = await certificateAuthority();
  await using relay = await startScriptedSmtp();
  const port = await freePort();
  await using dovecot = await startDovecot({
    tls: "starttls",
    certificate: await authority.issue([BACKEND_NAME]),
    users: { [USER]: PASSWORD },
    settings: `protocols = $protocols submission
submission_relay_host = 127.0.0.1
submission_relay_port = ${relay.port}
submission_relay_trusted = no
service submission-login {
  inet_listener submission {
    port = ${port}
  }
}`,
  });
  await using door = await openSmtpDoor({
    authority,
    users: { [USER]: PASSWORD },
    backends: { dovecot: { host: dovecot.host, port, tls: "starttls" } },
  });
  relay.forget();

  await t.test("a message, and what it looks like at the end", async () => {
    const sent = message("through two", ".\r\n..x\r\n\r\n");
    const outgoing = { from: USER, to: ["bob@example.net", "carol@example.net"], message: Buffer.from(sent) };
    const finished = await smtplib(door.account(USER, PASSWORD, "starttls"), outgoing, ["BODY=8BITMIME"]);
    assert.equal(finished.code, 0, finished.stderr);
    const [taken] = relay.taken;
    assert.ok(taken);
    assert.deepEqual(
      taken.rcpts.map((line) => line.split(">")[0]),
      ["RCPT TO:<bob@example.net", "RCPT TO:<carol@example.net"],
    );
    // Dovecot passes content on by BDAT, behind a field of its own.
    const raw = taken.raw.toString("latin1");
    const stuffed = `${sent.replaceAll("\r\n.", "\r\n..")}.\r\n`;
    assert.ok(raw.endsWith(taken.by === "bdat" ? sent : stuffed), raw);
  });
  await t.test("a password that Dovecot does not know", async () => {
    await using client = await door.greetedInTls();
    await talk(client, [`AUTH PLAIN ${plain(USER, "wrong")}`, "535 5.7.8 "]);
    assert.deepEqual(dovecot.logins(), [USER]);
  });
  await t.test("its relay is down", async () => {
    await relay.stop();
    await using client = await door.greetedInTls();
    await client.send(`AUTH PLAIN ${plain(USER, PASSWORD)}`);
    assert.match(await client.expect(/^\d{3}/), /^(454 4\.7\.0|235) /);
  });
});
