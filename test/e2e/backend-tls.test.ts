import assert from "node:assert/strict";
import { createHash, X509Certificate } from "node:crypto";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { BACKEND_NAME, openDoor } from "../support/door.ts";
import { startDovecot } from "../support/dovecot.ts";
import {
  type ScriptedBackend,
  type ScriptedBackendOptions,
  startScriptedBackend,
} from "../support/scripted-backend.ts";

const USER = "alice@example.org";
const PASSWORD = "never in clear";

test("no password goes to a backend that cannot prove who it is", async (t) => {
  const authority = await certificateAuthority();
  const stranger = await certificateAuthority("Somebody else's authority");
  const right = await authority.issue([BACKEND_NAME]);
  const bad = {
    "of another name": await authority.issue(["other.example.net"]),
    "of a longer name": await authority.issue([`evil-${BACKEND_NAME}`, `${BACKEND_NAME}.evil.example`]),
    expired: await authority.issue([BACKEND_NAME], { expired: true }),
    "signed by itself": await authority.issue([BACKEND_NAME], { selfSigned: true }),
    "of a strange authority": await stranger.issue([BACKEND_NAME]),
  };
  const faults: { what: string; script: ScriptedBackendOptions }[] = [
    ...Object.entries(bad).flatMap(([what, certificate]) =>
      (["starttls", "implicit"] as const).map((tls) => ({
        what: `a certificate ${what}, ${tls}`,
        script: { tls, certificate },
      })),
    ),
    { what: "no STARTTLS", script: { tls: "starttls", certificate: right, offerStartTls: false } },
    {
      what: "no STARTTLS, and a password welcome in clear",
      script: {
        tls: "starttls",
        certificate: right,
        offerStartTls: false,
        capabilities: "IMAP4rev1 SASL-IR AUTH=PLAIN AUTH=LOGIN",
      },
    },
    {
      what: "STARTTLS offered and then refused",
      script: { tls: "starttls", certificate: right, acts: { starttls: { say: "{tag} NO not today\r\n" } } },
    },
    {
      what: "an OK to STARTTLS, and clear text after it",
      script: {
        tls: "starttls",
        certificate: right,
        acts: {
          starttls: { say: "{tag} OK begin\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n", next: "handshake" },
        },
      },
    },
    {
      what: "an OK to STARTTLS, and no handshake",
      script: { tls: "starttls", certificate: right, acts: { starttls: { say: "{tag} OK begin\r\n" } } },
    },
    {
      what: "STARTTLS answered by a close",
      script: { tls: "starttls", certificate: right, acts: { starttls: "close" } },
    },
  ];

  await using held = new AsyncDisposableStack();
  const backends: ScriptedBackend[] = [];
  for (const { script } of faults) backends.push(held.use(await startScriptedBackend(script)));
  const user = (n: number) => `user${n}@example.org`;
  await using door = await openDoor({
    authority,
    backends: Object.fromEntries(backends.map((backend, n) => [`backend${n}`, backend])),
    users: Object.fromEntries(
      backends.map((_, n) => [user(n), { password: PASSWORD, backend: `backend${n}` }]),
    ),
    config: { timeouts: { connect: "1s" } },
  });
  for (const [n, { what }] of faults.entries()) {
    await t.test(what, async () => {
      const backend = backends[n] as ScriptedBackend;
      const before = backend.connections;
      await using client = await door.greetedInTls();
      await client.send(`a LOGIN ${user(n)} "${PASSWORD}"`);
      await client.expect("a NO [UNAVAILABLE] ");
      await client.send("n NOOP");
      await client.expect("n OK ");
      assert.ok(backend.connections > before, "the backend was not even tried");
      assert.equal(backend.heard(PASSWORD), false, backend.transcript());
      assert.equal(backend.heard(user(n)), false, backend.transcript());
      assert.deepEqual(
        backend.commands().filter((name) => name === "LOGIN" || name === "AUTHENTICATE"),
        [],
      );
    });
  }

  await t.test("the same scripted backend with the right certificate does get it", async () => {
    for (const tls of ["starttls", "implicit"] as const) {
      await using backend = await startScriptedBackend({ tls, certificate: right });
      await using door = await openDoor({
        authority,
        backends: { backend },
        users: { [USER]: PASSWORD },
        config: { routes: [{ to: "backend" }] },
      });
      await using _client = await door.signedIn(USER, PASSWORD);
      assert.equal(backend.heard(PASSWORD), true, backend.transcript());
    }
  });
});

test("a Dovecot with a certificate of another name gets no login", async () => {
  const authority = await certificateAuthority();
  const certificate = await authority.issue(["other.example.net"]);
  await using store = await startDovecot({ tls: "starttls", certificate, users: { [USER]: PASSWORD } });
  await using door = await openDoor({
    authority,
    backends: { store },
    users: { [USER]: PASSWORD },
    config: { routes: [{ to: "store" }] },
  });
  await using client = await door.greetedInTls();
  await client.send(`a LOGIN ${USER} "${PASSWORD}"`);
  await client.expect("a NO [UNAVAILABLE] ");
  await store.logged(/imap-login: Info: Disconnected.*no auth attempts/);
  assert.deepEqual(store.logins(), []);
});

test("a backend may be trusted by its key, or blindly where the configuration says so", async (t) => {
  const authority = await certificateAuthority();
  const certificate = await authority.issue(["nobody.example"], { selfSigned: true });
  const spki = new X509Certificate(certificate.cert).publicKey.export({ type: "spki", format: "der" });
  const pin = `sha256/${createHash("sha256").update(spki).digest("base64")}`;
  const wrongPin = `sha256/${createHash("sha256").update("another key").digest("base64")}`;
  await using store = await startDovecot({ tls: "implicit", certificate, users: { [USER]: PASSWORD } });
  const cases = [
    { what: "its pin", trust: { pin }, reply: "a OK " },
    { what: "another pin", trust: { pin: wrongPin }, reply: "a NO [UNAVAILABLE] " },
    { what: "insecure", trust: { insecure: true }, reply: "a OK " },
  ];
  for (const { what, trust, reply } of cases) {
    await t.test(what, async () => {
      await using door = await openDoor({
        authority,
        backends: { store },
        backendKeys: { store: { trust } },
        users: { [USER]: PASSWORD },
        config: { routes: [{ to: "store" }] },
      });
      assert.equal(
        door.gateway.output().includes("believes any certificate"),
        what === "insecure",
        "said at each start",
      );
      // Twice: the second connection may resume the first one's TLS session.
      for (let time = 0; time < 2; time++) {
        await using client = await door.greetedInTls();
        await client.send(`a LOGIN ${USER} "${PASSWORD}"`);
        await client.expect(reply);
      }
    });
  }
});
