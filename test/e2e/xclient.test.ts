import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { type Conversation, connect } from "../support/conversation.ts";
import { startNginxMail } from "../support/nginx-mail.ts";
import { runProcess } from "../support/processes.ts";
import { startScriptedSmtp } from "../support/scripted-smtp.ts";
import { openSmtpDoor, plain, talk } from "../support/smtp-door.ts";

const USER = "alice@example.org";
const PASSWORD = "s3cret right";
/** The proxy; the tests' other clients come from elsewhere on loopback. */
const PROXY = "127.0.0.1";
const proxy = { localAddress: PROXY };
const trusted = { xclient: { from: [PROXY] } };

async function open(policy: Readonly<Record<string, unknown>> = { limits: [] }) {
  const authority = await certificateAuthority();
  const backend = await startScriptedSmtp({ auth: true });
  const door = await openSmtpDoor({
    authority,
    users: { [USER]: PASSWORD, "near@example.org": { password: PASSWORD, networks: ["127.0.0.0/8"] } },
    backends: { backend },
    domains: { backend: "example.net" },
    listenerKeys: { ...trusted, requireTls: false },
    mxKeys: trusted,
    config: { policy },
  });
  return {
    backend,
    door,
    async [Symbol.asyncDispose]() {
      await door[Symbol.asyncDispose]();
      await backend[Symbol.asyncDispose]();
    },
  };
}

async function ehlo(client: Conversation): Promise<string[]> {
  await client.send("EHLO relay.example.org");
  return (await client.expectUntil("250 ")).map((line) => line.slice(4));
}

const message = async (client: Conversation) =>
  talk(
    client,
    ["MAIL FROM:<a@example.com>", "250 "],
    ["RCPT TO:<b@example.net>", "250 "],
    ["DATA", "354 "],
    ["Subject: x\r\n\r\nx\r\n.", "250 "],
    ["QUIT", "221 "],
  );

test("a listed host is offered XCLIENT, and its client begins anew", async () => {
  await using place = await open();
  const { backend, door } = place;
  await using client = await door.fromServer(proxy);
  const offered = (await ehlo(client)).find((line) => line.startsWith("XCLIENT"));
  assert.equal(offered, "XCLIENT NAME ADDR PORT PROTO HELO DESTADDR DESTPORT");
  await talk(
    client,
    ["XCLIENT HELO=mx.example.com PROTO=ESMTP", "220 "],
    ["MAIL FROM:<a@example.com>", "503 "],
    ["XCLIENT NAME=mx.example.com ADDR=203.0.113.7 PORT=40000", "220 "],
    ["MAIL FROM:<a@example.com>", "503 "],
  );
  assert.ok(!(await ehlo(client)).some((line) => line.startsWith("XCLIENT")), "and it is the client's turn");
  await talk(client, ["XCLIENT ADDR=203.0.113.8", "550 5.7.0 "]);
  await message(client);
  const record = await door.gateway.account(({ listener }) => listener === "mx");
  assert.equal(record.peer, "203.0.113.7");
  assert.equal(record["via"], PROXY);
  assert.equal(record.outcome, "ok");
  assert.equal(backend.taken.length, 1);
});

test("item 28: nobody else is offered it, or believed", async () => {
  await using place = await open();
  const { door } = place;
  for (const port of [door.ports.mx, door.ports.starttls]) {
    await using client = await connect({ port, localAddress: "127.0.0.9" });
    await client.expect("220 ");
    assert.ok(!(await ehlo(client)).some((line) => line.startsWith("XCLIENT")));
    await talk(client, ["XCLIENT ADDR=203.0.113.7", "550 5.7.0 "], ["QUIT", "221 "]);
  }
  // The listener of port 465 trusts nobody.
  await using inside = await door.greetedInTls(proxy);
  await talk(inside, ["XCLIENT ADDR=203.0.113.7", "550 5.7.0 "]);
});

test("item 29: what is no XCLIENT changes nothing", async () => {
  await using place = await open();
  const { door } = place;
  await using client = await door.fromServer(proxy);
  await talk(
    client,
    ["XCLIENT", "501 5.5.4 "],
    ["XCLIENT ADDR=010.0.0.1", "501 5.5.4 "],
    ["XCLIENT HELO=a+00b ADDR=203.0.113.7", "501 5.5.4 "],
    ["XCLIENT ADDR=203.0.113.7 LOGIN=alice@example.org", "550 5.7.0 "],
    ["MAIL FROM:<a@example.com>", "250 "],
    ["XCLIENT ADDR=203.0.113.7", "503 5.5.1 "],
    ["QUIT", "221 "],
  );
});

test("limits count the client that is named, and refuse it in words", async () => {
  await using place = await open({
    exempt: [],
    limits: [
      { name: "at-once", count: "connections", per: "ip", limit: 1 },
      { name: "guesses", count: "authFailures", per: "ip", limit: "2/10m", then: { ban: "1h" } },
    ],
  });
  const { door } = place;
  const named = async (address: string, heard: string) => {
    const client = await door.greeted(proxy);
    await talk(client, [`XCLIENT ADDR=${address}`, heard]);
    return client;
  };
  await using first = await named("203.0.113.7", "220 ");
  await using other = await named("203.0.113.8", "220 ");
  await using again = await named("203.0.113.7", "421 4.7.0 ");
  await again.expectClosed();

  await ehlo(first);
  for (const wrong of ["wrong", "worse"]) await talk(first, [`AUTH PLAIN ${plain(USER, wrong)}`, "535 "]);
  await talk(first, ["QUIT", "221 "]);
  await using banned = await named("203.0.113.7", "421 4.7.0 ");
  await banned.expectClosed();
  await ehlo(other);
  await talk(other, [`AUTH PLAIN ${plain(USER, PASSWORD)}`, "235 "]);
  const record = await door.gateway.account(({ outcome }) => outcome === "banned");
  assert.equal(record.peer, "203.0.113.7");
  assert.equal(record["via"], PROXY);
});

test("a client that is named as this machine is none of it", async () => {
  await using place = await open({
    exempt: ["127.0.0.0/8"],
    limits: [{ name: "at-once", count: "connections", per: "ip", limit: 1 }],
  });
  const { door } = place;
  for (const address of ["127.0.0.1", "[UNAVAILABLE]"]) {
    await using first = await door.greeted(proxy);
    await talk(first, [`XCLIENT ADDR=${address}`, "220 "]);
    await ehlo(first);
    // The password is right; the network is claimed.
    await talk(first, [
      `AUTH PLAIN ${plain("near@example.org", PASSWORD)}`,
      "535 5.7.8 This account may not",
    ]);
    await using second = await door.greeted(proxy);
    await talk(second, [`XCLIENT ADDR=${address}`, "421 "]);
    await talk(first, ["QUIT", "221 "]);
    await first.expectClosed();
  }
  await using direct = await door.greeted(proxy);
  await ehlo(direct);
  await talk(direct, [`AUTH PLAIN ${plain("near@example.org", PASSWORD)}`, "235 "]);
});

test("what was said before STARTTLS is forgotten, and may be said again", async () => {
  await using place = await open();
  const { door } = place;
  await using client = await door.greeted(proxy);
  await talk(client, ["XCLIENT ADDR=203.0.113.66", "220 "], ["EHLO x", "250 "], ["STARTTLS", "220 "]);
  await client.startTls(door.trust);
  assert.ok((await ehlo(client)).some((line) => line.startsWith("XCLIENT")));
  await talk(client, ["XCLIENT ADDR=203.0.113.7", "220 "]);
  await ehlo(client);
  await talk(client, [`AUTH PLAIN ${plain(USER, PASSWORD)}`, "235 "], ["QUIT", "221 "]);
  const record = await door.gateway.account(({ user }) => user === USER);
  assert.equal(record.peer, "203.0.113.7");
});

test("a command behind XCLIENT in one packet is the client's", async () => {
  await using place = await open();
  const { door } = place;
  await using client = await door.fromServer(proxy);
  await client.sendRaw("XCLIENT ADDR=203.0.113.7\r\nEHLO mx.example.com\r\n");
  await client.expect("220 ");
  await client.expectUntil("250 ");
  await message(client);
  assert.equal((await door.gateway.account(({ outcome }) => outcome === "ok")).peer, "203.0.113.7");
});

test("swaks names a client by XCLIENT, and by a PROXY header", async () => {
  const authority = await certificateAuthority();
  await using backend = await startScriptedSmtp({});
  await using door = await openSmtpDoor({
    authority,
    backends: { backend },
    domains: { backend: "example.net" },
    listenerKeys: { proxyProtocol: { from: [PROXY] } },
    mxKeys: trusted,
  });
  const swaks = async (...args: string[]) => {
    const { code, stdout } = await runProcess("swaks", ["--server", PROXY, "--helo", "x.example", ...args]);
    assert.equal(code, 0, stdout);
  };
  const mail = ["--from", "a@example.com", "--to", "b@example.net"];
  await swaks(
    "--port",
    `${door.ports.mx}`,
    ...mail,
    "--xclient-addr",
    "203.0.113.7",
    "--xclient-name",
    "mx.example.com",
  );
  const named = await door.gateway.account(({ listener }) => listener === "mx");
  assert.equal(named.peer, "203.0.113.7");

  const claim = [
    "--proxy-source-port",
    "4000",
    "--proxy-dest",
    "192.0.2.25",
    "--proxy-dest-port",
    "25",
    "--quit",
    "EHLO",
  ];
  const v1 = ["--proxy-version", "1", "--proxy-family", "TCP4", "--proxy-source", "203.0.113.1"];
  const v2 = ["--proxy-version", "2", "--proxy-family", "AF_INET", "--proxy-source", "203.0.113.2"];
  for (const version of [v1, v2]) await swaks("--port", `${door.ports.starttls}`, ...version, ...claim);
  for (const peer of ["203.0.113.1", "203.0.113.2"])
    assert.equal((await door.gateway.account((record) => record.peer === peer))["via"], PROXY);
});

test("nginx in front of port 25 names its clients, and limits know them", async () => {
  await using place = await open({
    exempt: [],
    limits: [{ name: "messages", count: "messages", per: "ip", limit: "1/1h" }],
  });
  const { backend, door } = place;
  await using nginx = await startNginxMail(door.ports.mx);
  const send = async (localAddress: string, heard: string) => {
    await using client = await connect({ port: nginx.port, localAddress });
    await client.expect("220 nginx.example.org ");
    await talk(
      client,
      ["EHLO mx.example.com", "250 "],
      ["MAIL FROM:<a@example.com>", "250 "],
      ["RCPT TO:<b@example.net>", heard],
    );
    if (!heard.startsWith("250")) return;
    await talk(client, ["DATA", "354 "], ["Subject: x\r\n\r\nx\r\n.", "250 "], ["QUIT", "221 "]);
  };
  await send("127.0.0.51", "250 ");
  await send("127.0.0.52", "250 ");
  await send("127.0.0.51", "450 4.7.1 ");
  assert.equal(backend.taken.length, 2);
  for (const peer of ["127.0.0.51", "127.0.0.52"]) {
    const record = await door.gateway.account((one) => one.peer === peer && one.outcome === "ok");
    assert.equal(record["via"], PROXY);
  }
});
