import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { type Conversation, connect } from "../support/conversation.ts";
import { BACKEND_NAME, openDoor } from "../support/door.ts";
import { type Dovecot, startDovecot } from "../support/dovecot.ts";
import { startGateway } from "../support/gateway.ts";
import { message } from "../support/mail.ts";
import { freePorts } from "../support/ports.ts";
import { startScriptedSmtp } from "../support/scripted-smtp.ts";
import { plain, talk } from "../support/smtp-door.ts";

const USER = "alice@example.org";
const PASSWORD = "right-one";
const CLIENT = "127.0.0.77";
const PROTOCOLS = ["imap", "pop3", "submission", "sieve", "lmtp"] as const;
type Protocol = (typeof PROTOCOLS)[number];
type Ports = Readonly<Record<Protocol, number>>;

/** A Dovecot that trusts us, with two ports for each protocol: one as usual, and one that waits for a PROXY header. */
async function trustingDovecot(
  relayPort: number,
): Promise<{ dovecot: Dovecot; usual: Ports; waiting: Ports }> {
  const [submission = 0, lmtp = 0, ...ports] = await freePorts(7);
  const waiting = Object.fromEntries(PROTOCOLS.map((name, at) => [name, ports[at] ?? 0])) as Ports;
  const listener = (name: string, port: number, haproxy: boolean) =>
    `  inet_listener ${name} {\n    port = ${port}\n    haproxy = ${haproxy ? "yes" : "no"}\n  }\n`;
  const service = (name: string, protocol: Protocol, more = "") =>
    `service ${name} {\n${listener(`${protocol}-waiting`, waiting[protocol], true)}${more}}\n`;
  const dovecot = await startDovecot({
    tls: "none",
    users: { [USER]: PASSWORD },
    pop3: true,
    sieve: true,
    settings: `login_trusted_networks = 127.0.0.0/8
haproxy_trusted_networks = 127.0.0.0/8
protocols = $protocols submission lmtp
submission_relay_host = 127.0.0.1
submission_relay_port = ${relayPort}
submission_relay_trusted = no
mail_max_userip_connections = 2
${service("imap-login", "imap")}${service("pop3-login", "pop3")}${service("managesieve-login", "sieve")}
${service("submission-login", "submission", listener("submission", submission, false))}
${service("lmtp", "lmtp", listener("lmtp", lmtp, false))}`,
  });
  const usual = {
    imap: dovecot.ports.plain,
    pop3: dovecot.pop3Ports.plain,
    sieve: dovecot.sievePorts.plain,
    submission,
    lmtp,
  };
  return { dovecot, usual, waiting };
}

/** A gateway of all protocols before it, and a client of it. */
async function gatewayBefore(dovecot: Dovecot, backendPorts: Ports, identity: string, host = "127.0.0.1") {
  const [imap = 0, pop3 = 0, submission = 0, sieve = 0, smtp = 0] = await freePorts(5);
  const ports = { imap, pop3, submission, sieve, smtp };
  const gateway = await startGateway({
    users: { [USER]: PASSWORD },
    config: {
      hostname: "door.example.org",
      listeners: Object.entries(ports).map(([protocol, port]) => ({
        protocol,
        port,
        host,
        requireTls: false,
      })),
      backends: { dovecot: { host: dovecot.host, tls: "none", protocols: backendPorts, identity } },
      routes: [{ match: { recipient: USER }, to: "dovecot" }, { to: "dovecot" }],
    },
  });
  const come = (protocol: keyof typeof ports, localAddress = host === "::1" ? host : CLIENT) =>
    connect({ host, port: ports[protocol], localAddress, name: `the door, ${protocol}` });
  return { gateway, come };
}

type Come = Awaited<ReturnType<typeof gatewayBefore>>["come"];

async function imapSession(come: Come, from?: string, forged = ""): Promise<Conversation> {
  const client = await come("imap", from);
  await client.expect("* OK ");
  if (forged) {
    await client.send(`i ID (${forged} "name" "Mutt")`);
    await client.expectUntil("i OK ");
  }
  await client.send(`a LOGIN ${USER} ${PASSWORD}`);
  return client;
}

/** One session of each protocol, as somebody from the client's address. */
const SESSIONS: Readonly<Record<Protocol, (come: Come) => Promise<void>>> = {
  async imap(come) {
    await using client = await imapSession(come);
    await client.expectUntil("a OK ");
  },
  async pop3(come) {
    await using client = await come("pop3");
    await client.expect("+OK");
    for (const line of [`USER ${USER}`, `PASS ${PASSWORD}`]) {
      await client.send(line);
      await client.expect("+OK");
    }
  },
  async submission(come) {
    await using client = await come("submission");
    await client.expect("220 ");
    await talk(client, ["EHLO laptop.example.org", "250 "], [`AUTH PLAIN ${plain(USER, PASSWORD)}`, "235 "]);
  },
  async sieve(come) {
    await using client = await come("sieve");
    await client.expectUntil("OK ");
    await client.send(`AUTHENTICATE "PLAIN" "${plain(USER, PASSWORD)}"`);
    await client.expectUntil("OK ");
  },
  async lmtp(come) {
    await using client = await come("smtp");
    await client.expect("220 ");
    await talk(
      client,
      ["EHLO mx.far.example", "250 "],
      ["MAIL FROM:<a@far.example>", "250 "],
      [`RCPT TO:<${USER}>`, "250 "],
      ["DATA", "354 "],
      [`${message("hello", "hi\r\n")}.`, "250 "],
      ["QUIT", "221 "],
    );
  },
};

const SEEN: Readonly<Record<Protocol, RegExp>> = {
  imap: /imap-login: Info: Login: user=<alice@example\.org>.* rip=127\.0\.0\.77, .*session=<(.*)>/,
  pop3: /pop3-login: Info: Login: user=<alice@example\.org>.* rip=127\.0\.0\.77, .*session=<(.*)>/,
  submission:
    /submission-login: Info: Login: user=<alice@example\.org>.* rip=127\.0\.0\.77, .*session=<(.*)>/,
  sieve: /managesieve-login: Info: Login: user=<alice@example\.org>.* rip=127\.0\.0\.77, .*session=<(.*)>/,
  lmtp: /lmtp\(\d+\): Info: (?:C|Disc)onnect from 127\.0\.0\.77/,
};

test("Dovecot sees the client, in every protocol and by every way that it has", async (t) => {
  await using relay = await startScriptedSmtp();
  const { dovecot, usual, waiting } = await trustingDovecot(relay.port);
  await using _dovecot = dovecot;
  for (const [ports, identity, what] of [
    [usual, "auto", "XCLIENT and ID"],
    [waiting, "proxy-v1", "PROXY, version 1"],
    [waiting, "proxy-v2", "PROXY, version 2"],
    [waiting, "auto", "what it waits for"],
  ] as const) {
    const { gateway, come } = await gatewayBefore(dovecot, ports, identity);
    await using _gateway = gateway;
    for (const protocol of PROTOCOLS)
      await t.test(`${what}: ${protocol}`, async () => {
        const before = dovecot.log().length;
        await SESSIONS[protocol](come);
        const seen = await dovecot.logged(
          new RegExp(`^[\\s\\S]{${before}}[\\s\\S]*?${SEEN[protocol].source}`),
        );
        if (protocol === "lmtp" || identity !== "auto" || ports === waiting) return;
        const record = await gateway.account((one) => one.protocol === protocol);
        assert.equal(seen[1], record.id);
      });
  }
});

test("Dovecot sees an IPv6 client as one", async (t) => {
  await using relay = await startScriptedSmtp();
  const { dovecot, usual, waiting } = await trustingDovecot(relay.port);
  await using _dovecot = dovecot;
  for (const [ports, identity] of [
    [usual, "auto"],
    [waiting, "proxy-v1"],
    [waiting, "proxy-v2"],
  ] as const) {
    const { gateway, come } = await gatewayBefore(dovecot, ports, identity, "::1");
    await using _gateway = gateway;
    for (const protocol of PROTOCOLS)
      await t.test(`${identity}: ${protocol}`, async () => {
        const before = dovecot.log().length;
        await SESSIONS[protocol](come);
        const seen = SEEN[protocol].source.replace("127\\.0\\.0\\.77", "::1");
        await dovecot.logged(new RegExp(`^[\\s\\S]{${before}}[\\s\\S]*?${seen}`));
      });
  }
});

test("Dovecot's sessions for each user and address: told of the client, it counts clients", async (t) => {
  await using relay = await startScriptedSmtp();
  const { dovecot, usual } = await trustingDovecot(relay.port);
  await using _dovecot = dovecot;
  const said = async (client: Conversation) => (await client.expectUntil(/^a /)).at(-1) ?? "";
  for (const [identity, fromElsewhere] of [
    ["auto", /^a OK /],
    ["none", /^a NO \[(?:LIMIT|UNAVAILABLE)\] /],
  ] as const)
    await t.test(`identity ${identity}`, async () => {
      const { gateway, come } = await gatewayBefore(dovecot, usual, identity);
      await using _gateway = gateway;
      await using first = await imapSession(come);
      assert.match(await said(first), /^a OK /);
      await using second = await imapSession(come);
      assert.match(await said(second), /^a OK /);
      await using third = await imapSession(come);
      assert.match(await said(third), /^a NO \[(?:LIMIT|UNAVAILABLE)\] /);
      await using other = await imapSession(come, "127.0.0.78");
      assert.match(await said(other), fromElsewhere);
    });
});

test("nobody speaks for the client but us: what a client says in ID is not taken for ours", async (t) => {
  await using relay = await startScriptedSmtp();
  const { dovecot, usual } = await trustingDovecot(relay.port);
  await using _dovecot = dovecot;
  const forged = '"x-originating-ip" "10.9.8.7" "X-Originating-IP" "10.9.8.7" "x-session-id" "forged"';
  for (const [identity, address] of [
    ["auto", CLIENT],
    ["none", "127.0.0.1"],
  ] as const)
    await t.test(`identity ${identity}, before the login and after it`, async () => {
      const { gateway, come } = await gatewayBefore(dovecot, usual, identity);
      await using _gateway = gateway;
      const before = dovecot.log().length;
      await using client = await imapSession(come, CLIENT, forged);
      await client.expectUntil("a OK ");
      await client.send(`b ID (${forged})`);
      await client.expectUntil("b OK ");
      const login = await dovecot.logged(new RegExp(`^[\\s\\S]{${before}}[\\s\\S]*? rip=(\\S+), .*\\n`));
      assert.equal(login[1], address);
      const sessions = await dovecot.addresses();
      assert.deepEqual(sessions, [address]);
      assert.ok(!/10\.9\.8\.7|forged/.test(dovecot.log().slice(before)), dovecot.log());
    });
});

test("a PROXY header goes before TLS, and tells what the client's own TLS is", async (t) => {
  const authority = await certificateAuthority();
  const [implicit = 0, starttls = 0] = await freePorts(2);
  await using dovecot = await startDovecot({
    tls: "implicit",
    certificate: await authority.issue([BACKEND_NAME]),
    users: { [USER]: PASSWORD },
    settings: `haproxy_trusted_networks = 127.0.0.0/8
service imap-login {
  inet_listener waiting-tls {
    port = ${implicit}
    ssl = yes
    haproxy = yes
  }
  inet_listener waiting {
    port = ${starttls}
    haproxy = yes
  }
}`,
  });
  for (const [tls, port] of [
    ["implicit", implicit],
    ["starttls", starttls],
  ] as const)
    for (const identity of ["auto", "proxy-v1", "proxy-v2"])
      await t.test(`${tls}, ${identity}`, async () => {
        await using door = await openDoor({
          authority,
          backends: { dovecot: { host: dovecot.host, port, tls } },
          backendKeys: { dovecot: { identity } },
          users: { [USER]: PASSWORD },
        });
        const before = dovecot.log().length;
        await using _client = await door.signedIn(USER, PASSWORD, { localAddress: CLIENT });
        await dovecot.logged(
          new RegExp(`^[\\s\\S]{${before}}[\\s\\S]*? Login: user=.* rip=127\\.0\\.0\\.77, .*TLS`),
        );
      });
});
