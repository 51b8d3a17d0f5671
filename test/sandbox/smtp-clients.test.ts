import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { Sandbox } from "../../src/sandbox/sandbox.ts";
import { certificateAuthority } from "../support/certificates.ts";
import { bigMessage, message, sha256 } from "../support/mail.ts";
import { runProcess } from "../support/processes.ts";
import { temporaryFolder } from "../support/temp.ts";
import { sandboxFor } from "./support.ts";

/** With TLS; gives the authority's file too. */
async function secured(t: TestContext): Promise<{ sandbox: Sandbox; ca: string; folder: string }> {
  const authority = await certificateAuthority();
  const folder = await temporaryFolder();
  t.after(() => folder[Symbol.asyncDispose]());
  const ca = join(folder.path, "ca.pem");
  await writeFile(ca, authority.ca);
  const sandbox = await sandboxFor(t, {
    accounts: [
      { name: "alice@example.org", password: "wonder" },
      { name: "bob@example.org", password: "builder" },
    ],
    tls: await authority.issue(["localhost", "127.0.0.1"]),
  });
  return { sandbox, ca, folder: folder.path };
}

function inbox(sandbox: Sandbox, user: string): Buffer[] {
  return sandbox.store.account(user)?.inbox.messages.map(({ raw }) => raw) ?? [];
}

/** Without the three lines that the server put on top. */
function asSent(raw: Buffer | undefined): Buffer {
  const trace = /^Return-Path: .*\r\nReceived: .*\r\n\t.*\r\n/.exec(raw?.toString("latin1", 0, 2000) ?? "");
  return raw?.subarray(trace?.[0].length) ?? assert.fail("there is no message");
}

const SMTPLIB = `
import json, smtplib, ssl, sys
port, ca, path = int(sys.argv[1]), sys.argv[2], sys.argv[3]
said = {}
with smtplib.SMTP("127.0.0.1", port, local_hostname="laptop", timeout=20) as smtp:
    smtp.starttls(context=ssl.create_default_context(cafile=ca))
    smtp.ehlo()
    said["features"] = sorted(smtp.esmtp_features)
    try:
        smtp.login("alice@example.org", "wrong")
    except smtplib.SMTPAuthenticationError as error:
        said["wrong"] = error.smtp_code
    smtp.user, smtp.password = "alice@example.org", "wonder"
    said["login"] = smtp.auth("LOGIN", smtp.auth_login)[0]
    said["some"] = smtp.sendmail("alice@example.org", ["bob@example.org", "carol@example.org"], open(path, "rb").read())
    said["some"] = {name: code for name, (code, _) in said["some"].items()}
    try:
        smtp.sendmail("alice@example.org", ["carol@example.org"], "x")
    except smtplib.SMTPRecipientsRefused as error:
        said["none"] = error.recipients["carol@example.org"][0]
    smtp.sendmail("alice@example.org", ["alice@example.org"], "Subject: me\\n\\n.\\n..\\nno end")
    said["noop"] = smtp.noop()[0]
print(json.dumps(said))
`;

test("Python's smtplib signs in inside TLS, and hears of each recipient", async (t) => {
  const { sandbox, ca, folder } = await secured(t);
  const letter = message("from smtplib", ".dots\r\n..\r\n.\r\nDone.\r\n");
  const path = join(folder, "letter.eml");
  await writeFile(path, letter);
  const { stdout, stderr } = await runProcess("python3", [
    "-c",
    SMTPLIB,
    String(sandbox.submissionPort),
    ca,
    path,
  ]);
  assert.equal(stderr, "");
  assert.deepEqual(JSON.parse(stdout), {
    features: ["8bitmime", "auth", "chunking", "enhancedstatuscodes", "pipelining", "size", "smtputf8"],
    wrong: 535,
    login: 235,
    some: { "carol@example.org": 550 },
    none: 550,
    noop: 250,
  });
  assert.equal(asSent(inbox(sandbox, "bob@example.org")[0]).toString("latin1"), letter);
  const own = asSent(inbox(sandbox, "alice@example.org")[0]).toString("latin1");
  assert.equal(own, "Subject: me\r\n\r\n.\r\n..\r\nno end\r\n");
});

test("curl sends, as a user and as a server", async (t) => {
  const { sandbox, ca, folder } = await secured(t);
  const big = bigMessage("big", 5_000_000);
  const path = join(folder, "big.eml");
  await writeFile(path, big);
  const envelope = ["--mail-from", "alice@example.org", "--mail-rcpt", "bob@example.org", "-T", path];
  const submission = await runProcess("curl", [
    ...["-sS", "--ssl-reqd", "--cacert", ca, "-u", "alice@example.org:wonder"],
    `smtp://127.0.0.1:${sandbox.submissionPort}`,
    ...envelope,
  ]);
  assert.deepEqual([submission.code, submission.stderr], [0, ""]);
  const smtp = await runProcess("curl", ["-sS", `smtp://127.0.0.1:${sandbox.smtpPort}`, ...envelope]);
  assert.deepEqual([smtp.code, smtp.stderr], [0, ""]);
  const sent = inbox(sandbox, "bob@example.org").map((raw) => sha256(asSent(raw)));
  assert.deepEqual(sent, [sha256(big), sha256(big)]);
});

test("curl without a password, or with a wrong one, sends nothing", async (t) => {
  const { sandbox } = await secured(t);
  const url = `smtp://127.0.0.1:${sandbox.submissionPort}`;
  const envelope = ["--mail-from", "alice@example.org", "--mail-rcpt", "bob@example.org", "-T", "-"];
  const input = "Subject: x\r\n\r\nx\r\n";
  // 55 is a refused MAIL, 67 a refused login.
  assert.equal((await runProcess("curl", ["-s", url, ...envelope], { input })).code, 55);
  const wrong = ["-s", url, "-u", "alice@example.org:builder", ...envelope];
  assert.equal((await runProcess("curl", wrong, { input })).code, 67);
  assert.deepEqual(inbox(sandbox, "bob@example.org"), []);
});
