import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { after, test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { certificateAuthority } from "../support/certificates.ts";
import { type Conversation, connect } from "../support/conversation.ts";
import { startDovecot } from "../support/dovecot.ts";
import { startGateway } from "../support/gateway.ts";
import { freePorts } from "../support/ports.ts";
import { startScriptedSmtp } from "../support/scripted-smtp.ts";
import { eventually } from "../support/waiting.ts";
import { type ClientCertificate, openClientAuthority } from "../tls/client-authority.ts";

const authority = openClientAuthority();
after(() => authority[Symbol.dispose]());
const base64 = (text: string): string => Buffer.from(text).toString("base64");
const of = (user: string, more = {}): ClientCertificate =>
  authority.issue(user, { names: `email:${user}@example.org`, usage: "clientAuth", ...more });

const MASTER = { user: "gate", password: "master's" };

/** How each protocol says EXTERNAL with an authzid ("" for none), and how it is answered. */
const VOICES = {
  imap: {
    greeting: "* OK ",
    ask: "c CAPABILITY",
    end: "c OK ",
    offered: /AUTH=EXTERNAL/,
    external: (authzid: string) => `a AUTHENTICATE EXTERNAL ${base64(authzid) || "="}`,
    yes: "a OK ",
    no: "a NO [AUTHENTICATIONFAILED] ",
    notOffered: /^a (NO|BAD) /,
  },
  pop3: {
    greeting: "+OK ",
    ask: "CAPA",
    end: ".",
    offered: /SASL .*EXTERNAL/,
    external: (authzid: string) => `AUTH EXTERNAL ${base64(authzid) || "="}`,
    yes: "+OK ",
    no: "-ERR [AUTH] ",
    notOffered: "-ERR ",
  },
  submission: {
    greeting: "220 ",
    ask: "EHLO client.example.org",
    end: "250 ",
    offered: /AUTH .*EXTERNAL/,
    external: (authzid: string) => `AUTH EXTERNAL ${base64(authzid) || "="}`,
    yes: "235 ",
    no: "535 5.7.8 ",
    notOffered: "504 ",
  },
  sieve: {
    greeting: "OK ",
    ask: "CAPABILITY",
    end: "OK ",
    offered: /"SASL" ".*EXTERNAL/,
    external: (authzid: string) => `AUTHENTICATE "EXTERNAL" "${base64(authzid)}"`,
    yes: "OK ",
    no: "NO ",
    notOffered: "NO ",
  },
} as const;
type Voice = keyof typeof VOICES;

test("a client that shows a good certificate signs in by it, in every protocol, and nobody else does", async (t) => {
  const servers = await certificateAuthority();
  const own = await servers.issue(["localhost"]);
  await using dovecot = await startDovecot({
    tls: "none",
    users: { "alice@example.org": "hers", "bob@example.org": "his" },
    master: MASTER,
    pop3: true,
    sieve: true,
  });
  await using smtp = await startScriptedSmtp({ auth: true });
  const [imap = 0, pop3 = 0, submission = 0, sieve = 0, strict = 0] = await freePorts(5);
  const mallory = of("mallory");
  authority.revoke(mallory);
  const host = "127.0.0.1";
  const implicit = { host, tls: "implicit" };
  const backend = {
    host: dovecot.host,
    tls: "none",
    protocols: {
      imap: dovecot.port,
      pop3: dovecot.pop3Ports.plain,
      sieve: dovecot.sievePorts.plain,
    },
  };
  const login = { master: { ...MASTER, separator: "*" } };
  await using gateway = await startGateway({
    files: {
      "door.pem": own.cert,
      "door.key": own.key,
      "clients.pem": authority.ca,
      "revoked.pem": authority.crl(),
    },
    users: {
      "alice@example.org": "hers",
      "bob@example.org": { password: "his", protocols: ["pop3"] },
      "dora@example.org": { password: "hers", disabled: true },
      "far@example.org": { password: "his", networks: ["192.0.2.0/24"] },
      "paul@example.org": { password: "his", backend: "plainly" },
      "mallory@example.org": "hers",
    },
    config: {
      tls: {
        certificates: [{ cert: "door.pem", key: "door.key" }],
        clientCa: "clients.pem",
        clientCrl: "revoked.pem",
      },
      listeners: [
        { ...implicit, protocol: "imap", port: imap },
        { ...implicit, protocol: "pop3", port: pop3 },
        { ...implicit, protocol: "submission", port: submission },
        { host, protocol: "sieve", port: sieve },
        { ...implicit, protocol: "imap", port: strict, name: "strict", clientCertificate: "required" },
      ],
      backends: {
        stores: { ...backend, login },
        outgoing: { host: smtp.host, tls: "none", protocols: { submission: smtp.port }, login },
        plainly: backend,
      },
      routes: [{ match: { protocol: "submission" }, to: "outgoing" }, { to: "stores" }],
    },
  });
  const ports: Readonly<Record<Voice, number>> = { imap, pop3, submission, sieve };

  /** Past the greeting and TLS, with everything read that is offered. */
  const open = async (
    voice: Voice,
    certificate?: ClientCertificate,
  ): Promise<{ client: Conversation; offers: string }> => {
    const { greeting, ask, end } = VOICES[voice];
    const tls = { ca: servers.ca, servername: "localhost", ...certificate };
    const client = await connect({ port: ports[voice], ...(voice === "sieve" ? {} : { tls }) });
    await client.expectUntil(greeting);
    if (voice === "sieve") {
      await client.send("STARTTLS");
      await client.expect("OK ");
      await client.startTls(tls);
      await client.expectUntil("OK ");
    }
    await client.send(ask);
    return { client, offers: (await client.expectUntil(end)).join("\n") };
  };

  for (const voice of Object.keys(VOICES) as Voice[]) {
    const { offered, external, yes, no, notOffered } = VOICES[voice];

    await t.test(`${voice}: with a good certificate, as oneself`, async () => {
      for (const authzid of ["", "alice@example.org"]) {
        const { client, offers } = await open(voice, of("alice"));
        await using _client = client;
        assert.match(offers, offered);
        await client.send(external(authzid));
        await client.expectUntil(yes);
      }
    });

    await t.test(`${voice}: not as somebody else, not as nobody, not when disabled`, async () => {
      for (const [user, authzid] of [
        ["alice", "bob@example.org"],
        ["alice", "gate"],
        ["stranger", ""],
      ] as const) {
        await using client = (await open(voice, of(user))).client;
        await client.send(external(authzid));
        await client.expect(no);
      }
      await using client = (await open(voice, of("dora"))).client;
      await client.send(external(""));
      await client.expect(voice === "imap" ? "a NO [AUTHORIZATIONFAILED] " : no);
    });

    // Item 94.
    await t.test(`${voice}: no certificate, an expired one and a revoked one offer nothing`, async () => {
      for (const certificate of [undefined, of("alice", { expired: true }), mallory]) {
        const { client, offers } = await open(voice, certificate);
        await using _client = client;
        assert.doesNotMatch(offers, /EXTERNAL/);
        await client.send(external(""));
        await client.expect(notOffered);
      }
      const seen = { name: "mallory", verified: false, fault: "CERT_REVOKED" };
      await gateway.account((record) => isDeepStrictEqual(record["clientCertificate"], seen));
    });
  }

  await t.test("protocols and networks of a user hold for him, too", async () => {
    for (const user of ["bob", "far"]) {
      await using client = (await open("imap", of(user))).client;
      await client.send(VOICES.imap.external(""));
      await client.expect("a NO [AUTHORIZATIONFAILED] ");
    }
    await using client = (await open("pop3", of("bob"))).client;
    await client.send(VOICES.pop3.external(""));
    await client.expect("+OK ");
  });

  await t.test(
    "a backend that wants the client's own password can take nobody in by a certificate",
    async () => {
      await using client = (await open("imap", of("paul"))).client;
      await client.send(VOICES.imap.external(""));
      await client.expect("a NO [UNAVAILABLE] ");
      const line = await eventually("the refusal in the log", () =>
        gateway.log().find((one) => one["user"] === "paul@example.org" && one["msg"] === "refused"),
      );
      assert.match(String(line["reason"]), /wants a password, and EXTERNAL gave none/);
      assert.match(gateway.output(), /refuses who signs in by a certificate/);
    },
  );

  await t.test("where a certificate must be shown, nothing is said to who shows none", async () => {
    const tls = { ca: servers.ca, servername: "localhost" };
    const silent = await connect({ port: strict, tls }).then(
      async (client) => (await client.readToClose()).join(),
      () => "",
    );
    assert.equal(silent, "");
    await gateway.metricIs("postern_tls_handshake_failures_total", 1, {
      listener: "strict",
      cause: "clientCertificate",
    });
    await using client = await connect({ port: strict, tls: { ...tls, ...of("alice") } });
    await client.expect("* OK ");
  });

  await t.test("who is revoked while the gateway runs is no longer believed", async () => {
    const alice = of("alice");
    authority.revoke(alice);
    await writeFile(gateway.folder.at("revoked.pem"), authority.crl());
    await eventually("EXTERNAL to be gone", async () => {
      const { client, offers } = await open("imap", alice);
      await client[Symbol.asyncDispose]();
      return !offers.includes("EXTERNAL");
    });
    assert.ok(gateway.log().some((line) => line["msg"] === "authorities for clients' certificates taken"));
  });
});
