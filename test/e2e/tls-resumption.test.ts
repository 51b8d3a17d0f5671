import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as connectTcp, type Socket } from "node:net";
import { test } from "node:test";
import { type ConnectionOptions, connect as connectTls } from "node:tls";
import { certificateAuthority } from "../support/certificates.ts";
import { LISTENER, openDoor } from "../support/door.ts";
import { startScriptedBackend } from "../support/scripted-backend.ts";
import { within } from "../support/waiting.ts";

interface Visit {
  readonly session: Buffer | undefined;
  readonly resumed: boolean;
}

/** Everything up to a line that begins so. */
async function hear(socket: Socket, beginning: string): Promise<void> {
  let heard = "";
  while (!heard.split("\r\n").some((line) => line.startsWith(beginning))) {
    const [chunk] = (await within(5_000, beginning, once(socket, "data"))) as [Buffer];
    heard += chunk.toString("latin1");
  }
}

/** TLS from the first byte, or after STARTTLS; then a command inside it. */
async function visit(port: number, tls: ConnectionOptions, startTls: boolean): Promise<Visit> {
  const tcp = connectTcp({ port, host: "127.0.0.1" });
  if (startTls) {
    await hear(tcp, "* OK ");
    tcp.write("a STARTTLS\r\n");
    await hear(tcp, "a OK ");
  }
  const socket = connectTls({ ...tls, socket: tcp });
  let session: Buffer | undefined;
  socket.on("session", (ticket) => {
    session = ticket;
  });
  socket.write("b NOOP\r\n");
  await hear(socket, "b OK ");
  const resumed = socket.isSessionReused();
  socket.destroy();
  return { session, resumed };
}

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
