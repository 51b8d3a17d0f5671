import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { LISTENER, openDoor } from "../support/door.ts";
import { startScriptedBackend } from "../support/scripted-backend.ts";
import { visit } from "../support/tls-visits.ts";

test("sessions are resumed, at once and after STARTTLS, at their own listener, and counted", async (t) => {
  const authority = await certificateAuthority();
  await using backend = await startScriptedBackend({ tls: "none" });
  await using door = await openDoor({
    authority,
    backends: { backend },
    users: { "alice@example.org": "pw" },
    config: { routes: [{ to: "backend" }] },
  });
  const { ports, trust } = door;
  for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
    await t.test(maxVersion, async () => {
      const tls = { ...trust, maxVersion };
      for (const [port, startTls, other] of [
        [ports.implicit, false, ports.starttls],
        [ports.starttls, true, ports.implicit],
      ] as const) {
        const { session, resumed } = await visit(port, tls, startTls);
        assert.ok(session && !resumed);
        const again = { ...tls, session };
        assert.equal((await visit(other, again, !startTls)).resumed, false);
        assert.equal((await visit(port, again, startTls)).resumed, true);
      }
      for (const listener of Object.values(LISTENER)) {
        const labels = { listener, version: maxVersion };
        const count = (more: Record<string, string>) =>
          door.gateway.metric("postern_tls_handshakes_total", { ...labels, ...more });
        assert.equal(await count({ resumed: "yes" }), 1);
        assert.equal(await count({ resumed: "no" }), 2);
        assert.equal(
          await count({
            cipher: maxVersion === "TLSv1.3" ? "TLS_AES_128_GCM_SHA256" : "ECDHE-RSA-AES128-GCM-SHA256",
          }),
          3,
        );
      }
    });
  }
});
