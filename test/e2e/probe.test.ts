import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { certificateAuthority } from "../support/certificates.ts";
import { BACKEND_NAME } from "../support/door.ts";
import { startDovecot } from "../support/dovecot.ts";
import { freePort, freePorts } from "../support/ports.ts";
import { runProcess } from "../support/processes.ts";
import { startScriptedSmtp } from "../support/scripted-smtp.ts";
import { temporaryFolder } from "../support/temp.ts";

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

async function check(folder: Awaited<ReturnType<typeof temporaryFolder>>, backends: unknown) {
  await folder.write("users.yaml", "{}");
  const config = await folder.write(
    "postern.yaml",
    JSON.stringify({
      hostname: "door.example.org",
      listeners: [{ protocol: "imap", port: await freePort(), host: "127.0.0.1", requireTls: false }],
      authentication: { sources: [{ type: "file", path: "users.yaml" }] },
      backends,
    }),
  );
  const done = await runProcess(process.execPath, [MAIN, "check", "--probe", "--config", config]);
  const lines = done.stdout.split("\n").filter((line) => /^(?:alpha|beta|gamma) /.test(line));
  return { code: done.code, lines, all: done.stdout + done.stderr };
}

test("check --probe goes to every backend's every port and says what it found", async (t) => {
  const authority = await certificateAuthority();
  await using folder = await temporaryFolder();
  await folder.write("ca.pem", authority.ca);
  const [waiting = 0, closed = 0] = await freePorts(2);
  await using dovecot = await startDovecot({
    tls: "starttls",
    certificate: await authority.issue([BACKEND_NAME]),
    users: {},
    pop3: true,
    sieve: true,
    settings: `login_trusted_networks = 127.0.0.0/8
haproxy_trusted_networks = 127.0.0.0/8
service imap-login {
  inet_listener waiting {
    port = ${waiting}
    haproxy = yes
  }
}`,
  });
  await using smtp = await startScriptedSmtp();
  const trust = { ca: "ca.pem", serverName: BACKEND_NAME };
  const { plain, implicit } = dovecot.ports;
  const pop3 = dovecot.pop3Ports.implicit;
  const sieve = dovecot.sievePorts.plain;

  await t.test("all is well", async () => {
    const protocols = { imap: plain, pop3: { port: pop3, tls: "implicit" }, sieve };
    const { code, lines, all } = await check(folder, {
      alpha: { host: dovecot.host, trust, protocols },
      beta: { host: dovecot.host, trust, protocols: { imap: waiting } },
      gamma: { host: smtp.host, tls: "none", protocols: { smtp: smtp.port } },
    });
    assert.equal(code, 0, all);
    const tls = (how: string) =>
      `TLS ok \\(${how}, TLSv1\\.3, expires in \\d+ days\\), sees the client's address: `;
    for (const [at, expected] of [
      `^alpha imap ${plain}: ${tls("STARTTLS")}by ID, if login_trusted_networks has us$`,
      `^alpha pop3 ${pop3}: ${tls("implicit")}yes, by XCLIENT$`,
      `^alpha sieve ${sieve}: ${tls("STARTTLS")}yes, by XCLIENT$`,
      `^beta imap ${waiting}: ${tls("STARTTLS")}yes, by PROXY v2$`,
      `^gamma smtp ${smtp.port}: no TLS, sees the client's address: no: it offers us no way; Postfix: add us to .*`,
    ].entries())
      assert.match(lines[at] ?? "", new RegExp(expected), all);
    assert.equal(lines.length, 5);
  });
  await t.test("one cannot be reached, and one not be believed", async () => {
    const { code, lines, all } = await check(folder, {
      alpha: { host: dovecot.host, trust, protocols: { imap: closed } },
      beta: {
        host: dovecot.host,
        tls: "implicit",
        trust: { serverName: BACKEND_NAME },
        protocols: { imap: implicit },
      },
      gamma: { host: smtp.host, tls: "none", identity: "none", protocols: { smtp: smtp.port } },
    });
    assert.equal(code, 1, all);
    assert.match(lines[0] ?? "", new RegExp(`^alpha imap ${closed}: failed: .*ECONNREFUSED`), all);
    assert.match(lines[1] ?? "", new RegExp(`^beta imap ${implicit}: failed: .*certificate`), all);
    assert.match(lines[2] ?? "", /sees the client's address: no: identity is none$/);
  });
});
