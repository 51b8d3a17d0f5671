import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { openDoor } from "../support/door.ts";
import { runProcess } from "../support/processes.ts";
import { startScriptedBackend } from "../support/scripted-backend.ts";

/** Both programs make CRLF of it. */
const LOGOUT = "a NOOP\nb LOGOUT\n";

test("other people's TLS: OpenSSL's and GnuTLS's programs believe the door, and come again on a session", async (t) => {
  const authority = await certificateAuthority();
  await using backend = await startScriptedBackend({ tls: "none" });
  await using door = await openDoor({
    authority,
    backends: { backend },
    users: { "alice@example.org": "pw" },
    config: { routes: [{ to: "backend" }] },
  });
  const { ports, gateway } = door;
  const ca = await gateway.folder.write("clients-trust.pem", authority.ca);

  for (const [how, port, more] of [
    ["at once", ports.implicit, []],
    ["after STARTTLS", ports.starttls, ["-starttls", "imap"]],
  ] as const) {
    for (const version of ["-tls1_2", "-tls1_3"]) {
      await t.test(`openssl s_client ${version}, ${how}`, async () => {
        const saved = gateway.folder.at(`session${version}-${port}`);
        const visit = (session: string) => {
          const where = [
            "-connect",
            `127.0.0.1:${port}`,
            "-servername",
            "localhost",
            "-verify_hostname",
            "localhost",
          ];
          const args = ["s_client", ...where, "-CAfile", ca, "-verify_return_error", version, ...more];
          return runProcess("openssl", [...args, session, saved, "-ign_eof", "-crlf"], { input: LOGOUT });
        };
        const first = await visit("-sess_out");
        assert.equal(first.code, 0, first.stderr);
        assert.match(first.stdout, /^New, /m);
        assert.match(first.stdout, /^b OK /m);
        const second = await visit("-sess_in");
        assert.equal(second.code, 0, second.stderr);
        assert.match(second.stdout, /^Reused, /m);
      });
    }
  }

  for (const [priority, port, more] of [
    ["NORMAL:-VERS-ALL:+VERS-TLS1.3", ports.implicit, []],
    ["NORMAL:-VERS-ALL:+VERS-TLS1.2", ports.implicit, []],
    ["NORMAL", ports.starttls, ["--starttls-proto=imap"]],
  ] as const) {
    await t.test(`gnutls-cli ${priority} ${more.join("")}`, async () => {
      const trust = [`--x509cafile=${ca}`, `--priority=${priority}`, "--alpn=imap"];
      const finished = await runProcess(
        "gnutls-cli",
        [...trust, ...more, "--crlf", "-p", String(port), "localhost"],
        {
          input: LOGOUT,
        },
      );
      assert.equal(finished.code, 0, finished.stdout + finished.stderr);
      assert.match(finished.stdout, /The certificate is trusted/);
      // It leaves with the end of its input, and does not wait for answers.
      assert.match(finished.stdout, /Handshake was completed/);
    });
  }
  await t.test("gnutls-cli that wants another protocol is refused", async () => {
    const args = [`--x509cafile=${ca}`, "--alpn=h2", "-p", String(ports.implicit), "localhost"];
    const finished = await runProcess("gnutls-cli", args, { input: LOGOUT });
    assert.notEqual(finished.code, 0);
    assert.match(finished.stdout + finished.stderr, /No common application protocol|[Aa]lert \[120\]/);
  });
});
