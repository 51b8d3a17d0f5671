import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as connectTcp } from "node:net";
import { test } from "node:test";
import { type ConnectionOptions, connect as connectTls } from "node:tls";
import { certificateAuthority } from "../support/certificates.ts";
import { openDoor } from "../support/door.ts";
import { startScriptedBackend } from "../support/scripted-backend.ts";
import { within } from "../support/waiting.ts";

/** Listens until a line begins so. */
async function hear(socket: NodeJS.EventEmitter, beginning: string): Promise<void> {
  let heard = "";
  while (!heard.split("\r\n").some((line) => line.startsWith(beginning))) {
    const [chunk] = (await within(5_000, beginning, once(socket, "data"))) as [Buffer];
    heard += chunk.toString("latin1");
  }
}

/** One visit under a name; at port 143 by STARTTLS. */
async function visit(port: number, startTls: boolean, tls: ConnectionOptions) {
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
  const seen = { names: socket.getPeerX509Certificate()?.subjectAltName, resumed: socket.isSessionReused() };
  socket.destroy();
  return { ...seen, session };
}

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
        const first = await visit(port, startTls, { ...tls, servername: "mail.one.example" });
        assert.equal(first.names, "DNS:mail.one.example");
        const second = await visit(port, startTls, { ...tls, servername: "MX.Two.Example" });
        assert.equal(second.names, "DNS:*.two.example");
        const stranger = await visit(port, startTls, { ...tls, servername: "else.example" });
        assert.equal(stranger.names, "DNS:mail.one.example");
        const session = first.session as Buffer;
        const elsewhere = { ...tls, session, servername: "mx.two.example" };
        assert.equal((await visit(port, startTls, elsewhere)).resumed, false);
        const again = { ...tls, session, servername: "mail.one.example" };
        assert.equal((await visit(port, startTls, again)).resumed, true);
      });
    }
  }
});
