import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { connect } from "../support/conversation.ts";
import { openDoor } from "../support/door.ts";
import { startDovecot } from "../support/dovecot.ts";
import { type Balanced, startHaproxy } from "../support/haproxy.ts";
import { startScriptedSmtp } from "../support/scripted-smtp.ts";
import { openSmtpDoor, plain, talk } from "../support/smtp-door.ts";
import { eventually } from "../support/waiting.ts";

const USERS = { "alice@example.org": "right" };
/** HAProxy speaks to the gateway from here; its own clients come from elsewhere on loopback. */
const PROXY = "127.0.0.1";
const listenerKeys = { proxyProtocol: { from: [PROXY] } };
const headers = ["send-proxy", "send-proxy-v2"] as const;

/** A service for each version of the header. */
const both = (to: number, more: Partial<Balanced> = {}): Balanced[] =>
  headers.map((header) => ({ to, header, ...more }));

test("IMAP behind HAProxy, clear and in TLS, knows its clients by their own addresses", async () => {
  const authority = await certificateAuthority();
  await using store = await startDovecot({ tls: "none", users: USERS });
  await using door = await openDoor({
    authority,
    backends: { store },
    users: USERS,
    listenerKeys,
    config: {
      routes: [{ to: "store" }],
      policy: { exempt: [], limits: [{ name: "at-once", count: "connections", per: "ip", limit: 1 }] },
    },
  });
  await using haproxy = await startHaproxy([...both(door.ports.starttls), ...both(door.ports.implicit)]);
  const [v1 = 0, v2 = 0, v1InTls = 0, v2InTls = 0] = haproxy.ports;
  for (const [port, inTls, localAddress] of [
    [v1, false, "127.0.0.11"],
    [v2, false, "127.0.0.12"],
    [v1InTls, true, "127.0.0.13"],
    [v2InTls, true, "127.0.0.14"],
  ] as const) {
    const options = { port, ...(inTls && { tls: door.trust }) };
    await using client = await connect({ ...options, localAddress });
    await client.expect("* OK ");
    if (!inTls) {
      await client.send("a STARTTLS");
      await client.expect("a OK ");
      await client.startTls(door.trust);
    }
    await client.send("b LOGIN alice@example.org right");
    await client.expectUntil("b OK ");

    // The limit is this client's own, and others come in by the same proxy.
    const second = connect({ ...options, localAddress });
    // A bye in clear text would be no answer to a ClientHello.
    if (inTls) await assert.rejects(second, /disconnected before secure TLS/);
    else {
      await using refused = await second;
      await refused.expect("* BYE ");
    }
    await using other = await connect({ ...options, localAddress: "127.0.0.99" });
    await other.expect("* OK ");
    await other.send("z LOGOUT");
    await other.expectUntil("z OK ");

    await client.send("z LOGOUT");
    await client.expectUntil("z OK ");
    const record = await door.gateway.account(
      ({ peer, outcome }) => peer === localAddress && outcome === "ok",
    );
    assert.equal(record["via"], PROXY);
    assert.equal(record.user, "alice@example.org");
  }
});

test("submission behind HAProxy: STARTTLS, a password, and the client's address in the record", async () => {
  const authority = await certificateAuthority();
  await using backend = await startScriptedSmtp({ auth: true });
  await using door = await openSmtpDoor({ authority, users: USERS, backends: { backend }, listenerKeys });
  await using haproxy = await startHaproxy(both(door.ports.starttls));
  for (const [index, port] of haproxy.ports.entries()) {
    const localAddress = `127.0.0.${20 + index}`;
    await using client = await connect({ port, localAddress });
    await client.expect("220 ");
    await talk(client, ["EHLO x", "250 "], ["STARTTLS", "220 "]);
    await client.startTls(door.trust);
    await talk(
      client,
      ["EHLO x", "250 "],
      [`AUTH PLAIN ${plain("alice@example.org", "right")}`, "235 "],
      ["QUIT", "221 "],
    );
    const record = await door.gateway.account(({ peer }) => peer === localAddress);
    assert.equal(record["via"], PROXY);
    assert.equal(record.outcome, "ok");
  }
});

test("item 96: beside the proxy, others speak without a header, and may send none", async () => {
  const authority = await certificateAuthority();
  await using backend = await startScriptedSmtp({ auth: true });
  await using door = await openSmtpDoor({ authority, users: USERS, backends: { backend }, listenerKeys });
  await using client = await door.greeted({ localAddress: "127.0.0.30" });
  await client.sendRaw("PROXY TCP4 203.0.113.7 192.0.2.25 1 587\r\nEHLO x\r\n");
  await client.expectClosed();
  const record = await door.gateway.account(({ peer }) => peer === "127.0.0.30");
  assert.equal(record.outcome, "strayHeader");
  const labels = { listener: "submission", outcome: "stray" };
  assert.equal(await door.gateway.metric("postern_proxy_headers_total", labels), 1);

  await using silent = await connect({ port: door.ports.starttls, localAddress: PROXY });
  await silent.send("EHLO x");
  await silent.expectClosed();
  const said = () => /connect from this network without a proxy/.test(door.gateway.output());
  await eventually("the likely cause", said);
});

test("item 102: HAProxy's health checks find the gateway up, and leave no line in the log", async () => {
  const authority = await certificateAuthority();
  await using store = await startDovecot({ tls: "none", users: USERS });
  await using door = await openDoor({
    authority,
    backends: { store },
    users: USERS,
    listenerKeys,
    config: {
      routes: [{ to: "store" }],
      // Fewer than the checks.
      policy: { exempt: [], limits: [{ name: "connects", count: "connections", per: "ip", limit: "3/1m" }] },
    },
  });
  const checks = { checkMs: 50 };
  await using haproxy = await startHaproxy([
    ...both(door.ports.starttls, checks),
    ...both(door.ports.implicit, checks),
  ]);
  // A check that ends by a reset may take its header with it.
  const counted = async (listener: string): Promise<number> => {
    const outcomes = ["local", "left"].map((outcome) =>
      door.gateway.metric("postern_proxy_headers_total", { listener, outcome }),
    );
    return (await Promise.all(outcomes)).reduce((sum, count) => sum + count);
  };
  await eventually("many checks", async () => (await counted("clear")) > 20 && (await counted("tls")) > 20);
  const said = door.gateway.log().filter(({ level }) => Number(level) >= 30);
  assert.equal(said.at(-1)?.["msg"], "ready");
  assert.doesNotMatch(haproxy.output(), /DOWN/);
  await using client = await connect({ port: haproxy.ports[0] ?? 0, localAddress: "127.0.0.40" });
  await client.expect("* OK ");
});
