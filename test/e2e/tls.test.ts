import assert from "node:assert/strict";
import { test } from "node:test";
import { type ConnectionOptions, connect as connectTls } from "node:tls";
import { certificateAuthority } from "../support/certificates.ts";
import { connect } from "../support/conversation.ts";
import { openDoor } from "../support/door.ts";
import { startScriptedBackend } from "../support/scripted-backend.ts";
import { within } from "../support/waiting.ts";

const USERS = { "alice@example.org": "pw" };

test("TLS at the door: 1.2 and up, the right protocol, any name", async (t) => {
  const authority = await certificateAuthority();
  await using backend = await startScriptedBackend({ tls: "none" });
  await using door = await openDoor({
    authority,
    backends: { backend },
    users: USERS,
    config: { routes: [{ to: "backend" }] },
  });
  const port = door.ports.implicit;

  for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
    await t.test(`${version} is spoken, at once and after STARTTLS`, async () => {
      const tls = { ...door.trust, minVersion: version, maxVersion: version };
      await using client = await connect({ port, tls });
      await client.expect("* OK ");
      await using later = await door.greeted();
      await later.send("a STARTTLS");
      await later.expect("a OK ");
      await later.startTls(tls);
      await later.send("b LOGIN alice@example.org pw");
      await later.expectUntil("b OK ");
    });
  }
  for (const version of ["TLSv1", "TLSv1.1"] as const) {
    await t.test(`${version} is refused`, async () => {
      const old = { minVersion: version, maxVersion: version, ciphers: "DEFAULT@SECLEVEL=0" } as const;
      await assert.rejects(connect({ port, tls: { ...door.trust, ...old } }), /alert protocol version/);
    });
  }

  await t.test("another protocol by ALPN is refused, IMAP and none are not", async () => {
    await assert.rejects(
      connect({ port, tls: { ...door.trust, ALPNProtocols: ["h2", "http/1.1"] } }),
      /no application protocol|NO_APPLICATION_PROTOCOL/i,
    );
    for (const offer of [{ ALPNProtocols: ["h2", "imap"] }, {}]) {
      await using client = await connect({ port, tls: { ...door.trust, ...offer } });
      await client.expect("* OK ");
    }
  });

  const names = [
    "__proto__",
    "constructor",
    "..",
    "LOCALHOST",
    "localhost.",
    `${"x".repeat(63)}.`.repeat(3),
    "xn--.example",
  ];
  for (const name of names) {
    await t.test(`asked for ${name.slice(0, 20)}, it shows its one certificate`, async () => {
      const options: ConnectionOptions = {
        port,
        host: "127.0.0.1",
        ca: authority.ca,
        servername: name,
        checkServerIdentity: () => undefined,
      };
      const socket = connectTls(options);
      const shaken = Promise.withResolvers<void>();
      socket.once("secureConnect", shaken.resolve);
      socket.once("error", shaken.reject);
      await within(5_000, "the handshake", shaken.promise);
      assert.equal(socket.getPeerCertificate().subject.CN, "localhost");
      socket.destroy();
    });
  }

  await t.test("the door serves on", async () => {
    await using _client = await door.signedIn("alice@example.org", "pw");
    await door.gateway.metricIs("postern_sessions_open", 1);
    assert.equal(await door.gateway.metric("postern_session_errors_total"), 0);
  });
});

test("a hello that comes while the policy still makes its client wait is not lost", async () => {
  const authority = await certificateAuthority();
  await using backend = await startScriptedBackend({ tls: "none" });
  await using door = await openDoor({
    authority,
    backends: { backend },
    users: USERS,
    config: {
      routes: [{ to: "backend" }],
      policy: {
        exempt: [],
        limits: [{ name: "slow", count: "connections", per: "ip", limit: "1/1m", then: { delay: "200ms" } }],
      },
    },
  });
  for (let time = 0; time < 3; time += 1) {
    await using client = await door.greetedInTls();
    await client.send("a NOOP");
    await client.expect("a OK ");
  }
  assert.equal(await door.gateway.metric("postern_tls_handshakes_total"), 3);
});
