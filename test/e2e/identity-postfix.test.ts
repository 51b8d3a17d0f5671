import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { BACKEND_NAME } from "../support/door.ts";
import { startDovecot } from "../support/dovecot.ts";
import { message } from "../support/mail.ts";
import { type Postfix, type PostfixOptions, startPostfix, withoutPostfix } from "../support/postfix.ts";
import { openSmtpDoor, plain, type SmtpDoor, talk } from "../support/smtp-door.ts";
import { temporaryFolder } from "../support/temp.ts";
import { eventually } from "../support/waiting.ts";

const DOMAIN = "north.example";
const CLIENT = "127.0.0.77";
const TRUSTING = "smtpd_authorized_xclient_hosts = 127.0.0.1";

const authority = await certificateAuthority();

async function postfixWith(settings: string, more: Partial<PostfixOptions> = {}): Promise<Postfix> {
  const certificate = await authority.issue([BACKEND_NAME]);
  return startPostfix({ domains: [DOMAIN], tls: "starttls", settings, certificate, ...more });
}

function doorBefore(postfix: Postfix, backendKeys: Readonly<Record<string, unknown>>): Promise<SmtpDoor> {
  return openSmtpDoor({
    authority,
    users: { "a+b=c d": "right-one" },
    backends: { postfix },
    backendKeys,
    domains: { postfix: DOMAIN },
  });
}

async function sendFrom(door: SmtpDoor, localAddress: string): Promise<void> {
  await using client = await door.fromServer({ localAddress });
  await talk(
    client,
    ["MAIL FROM:<a@far.example>", "250 "],
    [`RCPT TO:<bob@${DOMAIN}>`, "250 "],
    ["DATA", "354 "],
    [`${message("hello", "hi\r\n")}.`, "250 "],
    ["QUIT", "221 "],
  );
}

function logged(postfix: Postfix, pattern: RegExp): Promise<RegExpMatchArray> {
  return eventually(
    () => `${pattern} in:\n${postfix.log()}`,
    () => postfix.log().match(pattern) ?? undefined,
  );
}

test("Postfix sees the client by XCLIENT, inside TLS, with its own EHLO name", {
  skip: withoutPostfix,
}, async () => {
  await using postfix = await postfixWith(TRUSTING);
  await using door = await doorBefore(postfix, {});
  await sendFrom(door, CLIENT);
  await logged(postfix, /: client=unknown\[127\.0\.0\.77\]/);
  const [kept] = await postfix.keeps(DOMAIN, 1);
  const received = kept?.content.toString("latin1") ?? "";
  assert.match(received, /Received: from mx\.example\.com \(unknown \[127\.0\.0\.77\]\)/);
  assert.match(received, /with ESMTPS /);
});

for (const identity of ["proxy-v1", "proxy-v2", "auto"])
  test(`Postfix sees the client by a PROXY header: ${identity}`, { skip: withoutPostfix }, async () => {
    await using postfix = await postfixWith("smtpd_upstream_proxy_protocol = haproxy");
    await using door = await doorBefore(postfix, { identity });
    await sendFrom(door, CLIENT);
    await logged(postfix, /: client=unknown\[127\.0\.0\.77\]/);
    // Our own connections are understood too: what Postfix offers is known.
    await using client = await door.fromServer();
    await client.send("EHLO again.example");
    const offers = await client.expectUntil("250 ");
    assert.ok(
      offers.some((line) => line.endsWith("8BITMIME")),
      offers.join("\n"),
    );
  });

test("a relay that takes our word: nobody signs in there, and it hears who did here", {
  skip: withoutPostfix,
}, async () => {
  await using folder = await temporaryFolder();
  const auth = folder.at("auth");
  await using _dovecot = await startDovecot({
    tls: "none",
    users: {},
    settings: `service auth {\n  unix_listener ${auth} {\n    mode = 0666\n  }\n}`,
  });
  const certificate = await authority.issue([BACKEND_NAME]);
  await using postfix = await startPostfix({
    domains: [DOMAIN],
    tls: "starttls",
    certificate,
    auth,
    settings: TRUSTING,
  });
  await using door = await doorBefore(postfix, { login: "none", identity: "xclient" });
  await using client = await door.greetedInTls({ localAddress: CLIENT });
  await talk(
    client,
    [`AUTH PLAIN ${plain("a+b=c d", "wrong")}`, "535 "],
    [`AUTH PLAIN ${plain("a+b=c d", "right-one")}`, "235 "],
    ["MAIL FROM:<a@far.example>", "250 "],
    ["RCPT TO:<bob@elsewhere.example>", "250 "],
    ["DATA", "354 "],
    [`${message("hello", "hi\r\n")}.`, "250 "],
  );
  await logged(postfix, /client=unknown\[127\.0\.0\.77\], sasl_method=XCLIENT, sasl_username=a\+b=c d\n/);
});

test("a backend's no to the client itself reaches it as that no", { skip: withoutPostfix }, async (t) => {
  const refusing = `${TRUSTING}
smtpd_delay_reject = no
smtpd_client_restrictions = check_client_access inline:{ {127.0.0.77=554 5.7.1 not you} {127.0.0.78=450 4.7.1 not now} }`;
  await using postfix = await postfixWith(refusing);
  await using door = await doorBefore(postfix, { login: "none" });
  for (const [address, reply] of [
    [CLIENT, /^554 5\.7\.1 .*not you/],
    ["127.0.0.78", /^450 4\.7\.1 .*not now/],
  ] as const) {
    await t.test(`at port 25, from ${address}`, async () => {
      await using client = await door.fromServer({ localAddress: address });
      await talk(client, ["MAIL FROM:<a@far.example>", "250 "], [`RCPT TO:<bob@${DOMAIN}>`, reply]);
    });
    await t.test(`at AUTH, from ${address}`, async () => {
      await using client = await door.greetedInTls({ localAddress: address });
      await talk(client, [`AUTH PLAIN ${plain("a+b=c d", "right-one")}`, reply]);
    });
  }
  await t.test("and nobody else's", () => sendFrom(door, "127.0.0.79"));
});

test("a backend that can be told nothing else hears the client's EHLO name", {
  skip: withoutPostfix,
}, async (t) => {
  await using postfix = await postfixWith("");
  for (const [helo, name] of [
    ["client", "mx\\.example\\.com"],
    ["own", "door\\.example\\.org"],
  ] as const)
    await t.test(`helo: ${helo}`, async () => {
      await using door = await doorBefore(postfix, { helo });
      const before = (await postfix.kept(DOMAIN)).length;
      await sendFrom(door, CLIENT);
      const kept = await postfix.keeps(DOMAIN, before + 1);
      const found = kept.map(({ content }) => content.toString("latin1"));
      assert.ok(
        found.some((text) => new RegExp(`Received: from ${name} \\(`).test(text)),
        found.join("\n"),
      );
    });
});

test("identity xclient, and a backend that does not let us: mail waits, and the log says why", {
  skip: withoutPostfix,
}, async () => {
  await using postfix = await postfixWith("");
  await using door = await doorBefore(postfix, { identity: "xclient" });
  await using client = await door.fromServer({ localAddress: CLIENT });
  await talk(client, ["MAIL FROM:<a@far.example>", "250 "], [`RCPT TO:<bob@${DOMAIN}>`, "451 4.4.1 "]);
  const why = door.gateway
    .log()
    .filter((line) => JSON.stringify(line).includes("does not offer XCLIENT to us"));
  assert.ok(why.length > 0, door.gateway.output());
});

test("postscreen sees the client by a PROXY header", { skip: withoutPostfix }, async () => {
  const settings = `postscreen_upstream_proxy_protocol = haproxy
postscreen_greet_wait = 1s
postscreen_tls_security_level = may`;
  await using postfix = await postfixWith(settings, { postscreen: true });
  await using door = await doorBefore(postfix, { identity: "proxy-v2" });
  await sendFrom(door, CLIENT);
  await logged(postfix, /postscreen\[\d+\]: CONNECT from \[127\.0\.0\.77\]:\d+ to \[127\.0\.0\.1\]:\d+/);
  await logged(postfix, /: client=unknown\[127\.0\.0\.77\]/);
});
