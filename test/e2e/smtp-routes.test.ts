import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { certificateAuthority } from "../support/certificates.ts";
import { connect } from "../support/conversation.ts";
import { freePort } from "../support/ports.ts";
import { type Act, type ScriptedSmtpOptions, startScriptedSmtp } from "../support/scripted-smtp.ts";
import { openSmtpDoor, talk } from "../support/smtp-door.ts";

/** The story of a session (src/session/run-session.ts) has still to learn these. */
const BODY = "Subject: x\r\n\r\nhello\r\n.";

/** Two backends, north for north.example and south for south.example. */
async function twoBackends(
  options: { north?: ScriptedSmtpOptions; south?: ScriptedSmtpOptions } = {},
  config: Readonly<Record<string, unknown>> = {},
) {
  const authority = await certificateAuthority();
  const north = await startScriptedSmtp(options.north ?? {});
  const south = await startScriptedSmtp(options.south ?? {});
  const door = await openSmtpDoor({
    authority,
    backends: { north, south },
    speaks: ["smtp"],
    domains: { north: ["north.example", "also.example"], south: "south.example" },
    config,
  });
  north.forget();
  south.forget();
  return {
    north,
    south,
    door,
    async [Symbol.asyncDispose]() {
      await door[Symbol.asyncDispose]();
      await north[Symbol.asyncDispose]();
      await south[Symbol.asyncDispose]();
    },
  };
}

test("mail goes where its recipient's domain leads, in one session after the other", async () => {
  await using place = await twoBackends();
  const { north, south, door } = place;
  await using client = await door.fromServer();
  await talk(
    client,
    ["MAIL FROM:<a@far.example>", "250 "],
    ["RCPT TO:<x@north.example>", "250 2.1.5 recipient ok"],
    ["RCPT TO:<y@ALSO.example>", "250 2.1.5 recipient ok"],
    ["RCPT TO:<z@south.example>", "452 4.5.3 "],
    ["RCPT TO:<z@nowhere.example>", "550 5.7.1 "],
    ["DATA", "354 "],
    [BODY, "250 2.0.0 taken"],
    // The sender tries the other recipient again, in a transaction of its own.
    ["MAIL FROM:<a@far.example> SIZE=100", "250 "],
    ["RCPT TO:<z@south.example>", "250 2.1.5 recipient ok"],
    ["RCPT TO:<x@north.example>", "452 4.5.3 "],
    ["DATA", "354 "],
    [BODY, "250 2.0.0 taken"],
    ["MAIL FROM:<>", "250 "],
    ["RCPT TO:<x@north.example>", "250 2.1.5 recipient ok"],
    ["DATA", "354 "],
    [BODY, "250 2.0.0 taken"],
    ["QUIT", "221 "],
  );
  await client.expectClosed();
  assert.deepEqual(
    north.taken.map(({ mail, rcpts }) => [mail, ...rcpts]),
    [
      ["MAIL FROM:<a@far.example>", "RCPT TO:<x@north.example>", "RCPT TO:<y@ALSO.example>"],
      ["MAIL FROM:<>", "RCPT TO:<x@north.example>"],
    ],
  );
  assert.deepEqual(
    south.taken.map(({ mail, rcpts }) => [mail, ...rcpts]),
    [["MAIL FROM:<a@far.example> SIZE=100", "RCPT TO:<z@south.example>"]],
  );
});

test("a group that leads to both backends is answered in order, and so is what follows", async () => {
  await using place = await twoBackends();
  const { north, south, door } = place;
  await using client = await door.fromServer();
  await client.sendRaw(
    "MAIL FROM:<a@far.example>\r\nRCPT TO:<x@north.example>\r\nRCPT TO:<z@south.example>\r\nRSET\r\n" +
      "MAIL FROM:<b@far.example>\r\nRCPT TO:<z@south.example>\r\nRCPT TO:<q@south.example>\r\nDATA\r\n",
  );
  for (const reply of [
    "250 ",
    "250 2.1.5",
    "452 4.5.3",
    "250 2.0.0 reset",
    "250 2.1.0",
    "250 2.1.5",
    "250 2.1.5",
    "354 ",
  ])
    await client.expect(reply);
  await client.sendRaw(`${BODY}\r\nQUIT\r\n`);
  await client.expect("250 2.0.0 taken");
  await client.expect("221 ");
  assert.equal(north.taken.length, 0);
  assert.deepEqual(south.taken[0]?.rcpts, ["RCPT TO:<z@south.example>", "RCPT TO:<q@south.example>"]);
});

test("an address can have a backend of its own", async () => {
  await using place = await twoBackends(undefined, {
    routes: [
      { match: { recipient: "vip@north.example" }, to: "south" },
      { match: { recipientDomain: "north.example" }, to: "north" },
    ],
  });
  const { north, south, door } = place;
  for (const [to, backend] of [
    ["VIP@north.example", south],
    ["others@north.example", north],
  ] as const) {
    await using client = await door.fromServer();
    await talk(
      client,
      ["MAIL FROM:<a@far.example>", "250 "],
      [`RCPT TO:<${to}>`, "250 "],
      ["DATA", "354 "],
      [BODY, "250 "],
    );
    assert.equal(backend.taken.at(-1)?.rcpts[0], `RCPT TO:<${to}>`);
  }
});

test("port 25 is no open relay, and asks nobody to sign in", async () => {
  await using place = await twoBackends();
  const { north, south, door } = place;
  await using client = await connect({ port: door.ports.mx });
  await client.expect("220 door.example.org ESMTP");
  await client.send("EHLO mx.example.com");
  const offered = await client.expectUntil("250 ");
  assert.ok(!offered.some((line) => line.includes("AUTH")), offered.join("\n"));
  assert.ok(
    offered.some((line) => line.endsWith("STARTTLS")),
    offered.join("\n"),
  );
  await talk(
    client,
    ["AUTH PLAIN AGEAYg==", /^50[23] 5\.5\.1 /],
    ["RCPT TO:<x@north.example>", "503 5.5.1 "],
    ["DATA", "503 5.5.1 "],
    ["MAIL FROM:<>", "250 "],
    ["DATA", "503 5.5.1 "],
  );
  for (const to of [
    "x@far.example",
    "x@sub.north.example",
    "x@north.example.far.example",
    "x@[127.0.0.1]",
    "x@north.example@far.example",
    '"x@north.example"@far.example',
    "x%far.example@north.example",
    "@north.example:x@far.example",
    "",
  ])
    await talk(client, [`RCPT TO:<${to}>`, /^(550 5\.7\.1|501 5\.5\.4) /]);
  assert.equal(north.received() + south.received(), "");
  await talk(client, ["QUIT", "221 "]);
});

test("<postmaster> is heard, and a bounce is taken", async () => {
  await using place = await twoBackends();
  const { north, door } = place;
  await using client = await door.fromServer();
  await talk(
    client,
    ["MAIL FROM:<>", "250 "],
    ["RCPT TO:<postmaster>", "250 2.1.5 recipient ok"],
    ["RCPT TO:<Postmaster@north.example>", "250 2.1.5 recipient ok"],
    ["DATA", "354 "],
    [BODY, "250 2.0.0 taken"],
  );
  assert.deepEqual(north.taken[0]?.rcpts, ["RCPT TO:<postmaster>", "RCPT TO:<Postmaster@north.example>"]);
});

test("STARTTLS at port 25: inside, it goes on as outside", async () => {
  await using place = await twoBackends();
  const { north, door } = place;
  await using client = await door.fromServer();
  await talk(client, ["STARTTLS", "220 "]);
  await client.startTls(door.trust);
  await client.send("EHLO mx.example.com");
  const offered = await client.expectUntil("250 ");
  assert.ok(!offered.some((line) => /STARTTLS|AUTH/.test(line)), offered.join("\n"));
  await talk(
    client,
    ["MAIL FROM:<>", "250 "],
    ["RCPT TO:<x@north.example>", "250 "],
    ["DATA", "354 "],
    [BODY, "250 "],
  );
  assert.equal(north.taken.length, 1);
});

test("a backend's no to a recipient is its own, and the next recipient may go elsewhere", async () => {
  await using place = await twoBackends({
    north: {
      acts: {
        rcpt: (line): Act | undefined =>
          line.includes("nobody") ? { say: "550-5.1.1 first line\r\n550 5.1.1 no such user\r\n" } : undefined,
      },
    },
  });
  const { south, door } = place;
  await using client = await door.fromServer();
  await talk(
    client,
    ["MAIL FROM:<a@far.example>", "250 "],
    ["RCPT TO:<nobody@north.example>", "550 5.1.1 no such user"],
    ["RCPT TO:<z@south.example>", "250 2.1.5 recipient ok"],
    ["DATA", "354 "],
    [BODY, "250 2.0.0 taken"],
  );
  assert.equal(south.taken[0]?.mail, "MAIL FROM:<a@far.example>");
});

test("a backend that refuses the sender says so to each recipient, for a retry where it is a passing no", async () => {
  await using place = await twoBackends({
    north: { acts: { mail: { say: "450 4.1.8 sender not known yet\r\n" } } },
  });
  const { north, door } = place;
  await using client = await door.fromServer();
  await talk(
    client,
    ["MAIL FROM:<a@far.example>", "250 "],
    ["RCPT TO:<x@north.example>", "450 4.1.8 "],
    ["RCPT TO:<y@north.example>", "450 4.1.8 "],
    ["DATA", /^[45]\d\d /],
    ["RSET", "250 "],
    ["MAIL FROM:<a@far.example>", "450 4.1.8 "],
  );
  assert.deepEqual(north.taken, []);
});

test("a sender that is refused in a group goes to no other backend either", async () => {
  let refuse = false;
  await using place = await twoBackends({
    north: {
      acts: { mail: (): Act | undefined => (refuse ? { say: "550 5.1.8 bad sender\r\n" } : undefined) },
    },
  });
  const { south, door } = place;
  await using client = await door.fromServer();
  await talk(client, ["MAIL FROM:<>", "250 "], ["RCPT TO:<x@north.example>", "250 "], ["RSET", "250 "]);
  refuse = true;
  await client.sendRaw("MAIL FROM:<bad@far.example>\r\nRCPT TO:<z@south.example>\r\nDATA\r\n");
  for (const reply of ["550 5.1.8", "503 ", "503 "]) await client.expect(reply);
  assert.equal(south.received(), "");
});

test("one backend down: its recipients are to come again, and the others are served", async () => {
  await using place = await twoBackends();
  const { north, south, door } = place;
  await south.stop();
  await using client = await door.fromServer();
  await talk(
    client,
    ["MAIL FROM:<a@far.example>", "250 "],
    ["RCPT TO:<z@south.example>", "451 4.4.1 "],
    ["RCPT TO:<x@north.example>", "250 "],
    ["DATA", "354 "],
    [BODY, "250 2.0.0 taken"],
    ["MAIL FROM:<b@far.example>", "250 "],
    ["RCPT TO:<z@south.example>", "451 4.4.1 "],
    // The transaction is still open, and it is still the sender's.
    ["RCPT TO:<x@north.example>", "250 "],
    ["DATA", "354 "],
    [BODY, "250 2.0.0 taken"],
  );
  assert.deepEqual(
    north.taken.map(({ mail }) => mail),
    ["MAIL FROM:<a@far.example>", "MAIL FROM:<b@far.example>"],
  );
  await south.restart();
  await talk(
    client,
    ["MAIL FROM:<c@far.example>", "250 "],
    ["RCPT TO:<z@south.example>", "250 "],
    ["DATA", "354 "],
    [BODY, "250 "],
  );
  assert.equal(south.taken.length, 1);
});

test("no backend at all, ever: the greeting stands, and every recipient is to come again", async () => {
  const authority = await certificateAuthority();
  await using door = await openSmtpDoor({
    authority,
    backends: { none: { host: "127.0.0.1", port: await freePort(), tls: "none" } },
    speaks: ["smtp"],
    domains: { none: "north.example" },
  });
  await using client = await door.fromServer();
  await talk(client, ["MAIL FROM:<>", "250 "], ["RCPT TO:<x@north.example>", "451 4.4.1 "], ["QUIT", "221 "]);
});

test("a session older than the time for a login turns to another backend all the same", async () => {
  await using place = await twoBackends(undefined, { timeouts: { login: "1500ms" } });
  const { south, door } = place;
  await using client = await door.fromServer();
  await talk(
    client,
    ["MAIL FROM:<>", "250 "],
    ["RCPT TO:<x@north.example>", "250 "],
    ["DATA", "354 "],
    [BODY, "250 "],
  );
  await pause(2_000);
  await talk(
    client,
    ["MAIL FROM:<>", "250 "],
    ["RCPT TO:<z@south.example>", "250 "],
    ["DATA", "354 "],
    [BODY, "250 "],
  );
  assert.equal(south.taken.length, 1);
});

test("a session that came back to the door is not forgotten there", async () => {
  await using place = await twoBackends(undefined, { timeouts: { login: "2s", smtpIdle: "1s" } });
  const { south, door } = place;
  await south.stop();
  await using client = await door.fromServer();
  await talk(
    client,
    ["MAIL FROM:<>", "250 "],
    ["RCPT TO:<x@north.example>", "250 "],
    ["RSET", "250 "],
    ["MAIL FROM:<>", "250 "],
    ["RCPT TO:<z@south.example>", "451 "],
  );
  await client.expect("421 4.4.2 ");
  await client.expectClosed();
});

test("messages from other servers are counted once each, whatever way they take", async () => {
  const limits = [
    { name: "mails", count: "messages", per: "ip", limit: "4/10m" },
    { name: "rcpts", count: "recipients", per: "ip", limit: "6/10m" },
  ];
  await using place = await twoBackends(undefined, { policy: { exempt: [], limits } });
  const { door } = place;
  await using client = await door.fromServer();
  for (const to of ["x@north.example", "z@south.example", "x@north.example", "z@south.example"])
    await talk(
      client,
      ["MAIL FROM:<>", "250 "],
      [`RCPT TO:<${to}>`, "250 "],
      ["DATA", "354 "],
      [BODY, "250 "],
    );
  await talk(client, ["MAIL FROM:<>", "450 4.7.1 "]);
});

test("a message whose first recipients come to nothing is counted once all the same", async () => {
  const limits = [{ name: "mails", count: "messages", per: "ip", limit: "2/10m" }];
  await using place = await twoBackends(undefined, { policy: { exempt: [], limits } });
  const { door, south } = place;
  await south[Symbol.asyncDispose]();
  await using client = await door.fromServer();
  await talk(
    client,
    ["MAIL FROM:<>", "250 "],
    ["RCPT TO:<a@south.example>", "451 "],
    ["RCPT TO:<b@south.example>", "451 "],
    ["RCPT TO:<x@north.example>", "250 "],
    ["DATA", "354 "],
    [BODY, "250 "],
    ["MAIL FROM:<>", "250 "],
    ["RCPT TO:<x@north.example>", "250 "],
    ["RSET", "250 "],
    ["MAIL FROM:<>", "450 4.7.1 "],
  );
});

test("a session that turned to another backend still ends with QUIT", async () => {
  await using place = await twoBackends();
  const { door } = place;
  await using client = await door.fromServer();
  await talk(client, ["MAIL FROM:<>", "250 "], ["RCPT TO:<a@south.example>", "250 "], ["RSET", "250 "]);
  await talk(client, ["MAIL FROM:<>", "250 "], ["RCPT TO:<a@north.example>", "250 "], ["RSET", "250 "]);
  await talk(client, ["QUIT", "221 "]);
  await client.expectClosed();
});
