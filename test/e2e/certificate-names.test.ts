import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { openDoor } from "../support/door.ts";
import { startScriptedBackend } from "../support/scripted-backend.ts";
import { visit } from "../support/tls-visits.ts";

test("each host shows its own certificate, and resumes no other host's session", async (t) => {
  const authority = await certificateAuthority();
  const [one, wild] = await Promise.all([
    authority.issue(["mail.one.example"]),
    authority.issue(["*.two.example"]),
  ]);
  await using backend = await startScriptedBackend({ tls: "none" });
  await using door = await openDoor({
    authority,
    backends: { backend },
    users: { "alice@example.org": "pw" },
    files: { "one.pem": one.cert, "one.key": one.key, "two.pem": wild.cert, "two.key": wild.key },
    config: {
      routes: [{ to: "backend" }],
      tls: {
        certificates: [
          { cert: "one.pem", key: "one.key" },
          { cert: "two.pem", key: "two.key" },
        ],
      },
    },
  });
  for (const startTls of [false, true]) {
    for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
      await t.test(`${startTls ? "after STARTTLS" : "at once"}, ${maxVersion}`, async () => {
        const port = startTls ? door.ports.starttls : door.ports.implicit;
        const tls = { ca: authority.ca, maxVersion, checkServerIdentity: () => undefined };
        const first = await visit(port, { ...tls, servername: "mail.one.example" }, startTls);
        assert.equal(first.names, "DNS:mail.one.example");
        const second = await visit(port, { ...tls, servername: "MX.Two.Example" }, startTls);
        assert.equal(second.names, "DNS:*.two.example");
        const stranger = await visit(port, { ...tls, servername: "else.example" }, startTls);
        assert.equal(stranger.names, "DNS:mail.one.example");
        const session = first.session as Buffer;
        const elsewhere = { ...tls, session, servername: "mx.two.example" };
        assert.equal((await visit(port, elsewhere, startTls)).resumed, false);
        const again = { ...tls, session, servername: "mail.one.example" };
        assert.equal((await visit(port, again, startTls)).resumed, true);
      });
    }
  }
});
