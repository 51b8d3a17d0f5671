import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { type Conversation, connect } from "../support/conversation.ts";
import { type Act, type ScriptedSmtpOptions, startScriptedSmtp } from "../support/scripted-smtp.ts";
import { openSmtpDoor, plain, talk } from "../support/smtp-door.ts";
import { eventually } from "../support/waiting.ts";

const USER = "alice@example.org";
const PASSWORD = "s3cret right";

async function open(options: ScriptedSmtpOptions = {}, config: Readonly<Record<string, unknown>> = {}) {
  const authority = await certificateAuthority();
  const backend = await startScriptedSmtp({ auth: true, ...options });
  const door = await openSmtpDoor({
    authority,
    users: { [USER]: PASSWORD, "bob@example.org": "b" },
    backends: { backend },
    domains: { backend: "example.net" },
    config,
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

/** The whole reply to EHLO. */
async function ehlo(client: Conversation): Promise<string[]> {
  await client.send("EHLO client.example.org");
  return (await client.expectUntil("250 ")).map((line) => line.slice(4));
}

test("587 says STARTTLS before TLS and AUTH behind it, and 465 is inside from the start", async () => {
  await using place = await open();
  const { door } = place;
  await using client = await door.greeted();
  const before = await ehlo(client);
  assert.ok(before.includes("STARTTLS"), before.join());
  assert.ok(!before.some((line) => line.startsWith("AUTH")), before.join());
  await talk(client, ["STARTTLS", "220 "]);
  await client.startTls(door.trust);
  const behind = await ehlo(client);
  assert.ok(behind.includes("AUTH PLAIN LOGIN"), behind.join());
  assert.ok(!behind.includes("STARTTLS"), behind.join());
  await talk(client, [`AUTH PLAIN ${plain(USER, PASSWORD)}`, "235 2.7.0 "]);
  assert.ok(!(await ehlo(client)).some((line) => /^(AUTH|STARTTLS)/.test(line)));

  await using inside = await door.greetedInTls();
  await talk(
    inside,
    ["HELO old.example.org", "250 door.example.org"],
    ["auth login", "334 "],
    [Buffer.from(USER).toString("base64"), "334 "],
    [Buffer.from(PASSWORD).toString("base64"), "235 "],
    ["NOOP", "250 2.0.0 nothing"],
    ["QUIT", "221 "],
  );
  await inside.expectClosed();
});

test("item 15: what stands behind STARTTLS in clear text is never heard inside TLS", async () => {
  await using place = await open();
  const { backend, door } = place;
  for (const injected of ["RSET\r\n", "EHLO evil\r\nMAIL FROM:<>\r\n", "\0", "Q"]) {
    await using client = await door.greeted();
    await ehlo(client);
    backend.forget();
    await client.sendRaw(`STARTTLS\r\n${injected}`);
    assert.match((await client.readToClose()).join("\n"), /^554 5\.5\.0 [^\n]*$/);
    assert.equal(backend.received(), "");
  }
});

test("item 17: STARTTLS with an argument, inside TLS, signed in, and in a transaction", async () => {
  await using place = await open();
  const { door } = place;
  await using clear = await door.greeted();
  await talk(clear, ["EHLO x", "250 "], ["STARTTLS x", "501 5.5.4 "], ["NOOP", "250 "]);
  await using inside = await door.greetedInTls();
  await talk(
    inside,
    ["STARTTLS", "503 5.5.1 "],
    ["STARTTLS x", "503 5.5.1 "],
    [`AUTH PLAIN ${plain(USER, PASSWORD)}`, "235 "],
    ["STARTTLS", "503 5.5.1 "],
    ["MAIL FROM:<alice@example.org>", "250 "],
    ["STARTTLS", "503 5.5.1 "],
    ["RCPT TO:<bob@example.net>", "250 "],
  );
});

test("item 18: what was said before TLS is forgotten", async () => {
  await using place = await open();
  const { backend, door } = place;
  await using client = await door.greeted();
  await talk(
    client,
    ["EHLO x", "250 "],
    ["AUTH PLAIN", "538 5.7.11 "],
    ["MAIL FROM:<>", "530 5.7.0 "],
    ["STARTTLS", "220 "],
  );
  await client.startTls(door.trust);
  // No EHLO has been heard inside.
  await talk(
    client,
    [`AUTH PLAIN ${plain(USER, PASSWORD)}`, "503 5.5.1 "],
    ["RCPT TO:<bob@example.net>", "530 "],
  );
  await using server = await door.fromServer();
  await talk(server, ["MAIL FROM:<>", "250 "], ["STARTTLS", "220 "]);
  await server.startTls(door.trust);
  backend.forget();
  await talk(server, ["RCPT TO:<bob@example.net>", "503 5.5.1 "], ["MAIL FROM:<>", "503 5.5.1 "]);
  assert.equal(backend.received(), "");
});

test("item 19: a password before TLS is not looked at", async () => {
  await using place = await open();
  const { backend, door } = place;
  await using client = await door.greeted();
  backend.forget();
  await talk(
    client,
    ["EHLO x", "250 "],
    [`AUTH PLAIN ${plain(USER, PASSWORD)}`, "538 5.7.11 "],
    ["AUTH LOGIN", "538 5.7.11 "],
    ["DATA", "530 5.7.0 "],
  );
  await door.gateway.metricIs("postern_logins_total", 0, { outcome: "ok", listener: "submission" });
  assert.equal(backend.received(), "");
  assert.ok(!door.gateway.output().includes(plain(USER, PASSWORD)));
});

test("items 20 to 23: what no SASL response is", async (t) => {
  await using place = await open();
  const { backend, door } = place;
  const b64 = (text: string) => Buffer.from(text, "latin1").toString("base64");
  const good = Promise.all(
    Array.from({ length: 50 }, async () => {
      await using client = await door.signedIn(USER, PASSWORD);
      await talk(client, ["NOOP", "250 "]);
    }),
  );
  const malformed: Readonly<Record<string, string>> = {
    "!!!": "!!!",
    "AAA=AAA=": "AAA=AAA=",
    "_-8=": "_-8=",
    "odd length": "AAAAA",
    "no NUL": b64("alice"),
    "one NUL": b64("\0alice"),
    "three NULs": b64("\0alice\0pw\0"),
    "an empty name": b64("\0\0pw"),
    "an empty password": b64("\0alice\0"),
    "a name of 300": b64(`\0${"n".repeat(300)}\0pw`),
    "a name that is not UTF-8": b64("\0\xff\xfe\0pw"),
    "CR LF in the name": b64("\0bob\r\nAuth-Status: OK\0pw"),
    "a TAB in the name": b64("\0bob\tx\0pw"),
    "LF in the password": b64("\0alice\0p\nw"),
  };
  for (const [what, response] of Object.entries(malformed)) {
    await t.test(what, async () => {
      backend.forget();
      await using client = await door.greetedInTls();
      await talk(client, [`AUTH PLAIN ${response}`, /^(501 5\.5\.2|535 5\.7\.8) /], ["NOOP", "250 "]);
      await talk(client, ["AUTH PLAIN", "334 "], [response, /^(501 5\.5\.2|535 5\.7\.8) /], ["NOOP", "250 "]);
      // The good logins of the others go on there all the while.
      assert.ok(!backend.lines().includes(`AUTH PLAIN ${response}`));
    });
  }
  await t.test("CR inside, where it ends no line", async () => {
    await using client = await door.greetedInTls();
    await client.sendRaw("AUTH PLAIN AAAA\rBBBB\r\n");
    await client.expect("501 ");
  });
  await t.test("somebody else's name to act as", async () => {
    await using client = await door.greetedInTls();
    await talk(client, [`AUTH PLAIN ${plain(USER, PASSWORD, "bob@example.org")}`, "535 5.7.8 "]);
  });
  await t.test("a wrong password and nobody's are one answer, and the session goes on", async () => {
    await using client = await door.greetedInTls();
    const wrong = await talk(client, [`AUTH PLAIN ${plain(USER, "wrong")}`, "535 5.7.8 "]);
    const nobody = await talk(client, [`AUTH PLAIN ${plain("nobody@example.org", "wrong")}`, "535 5.7.8 "]);
    assert.equal(wrong, nobody);
    await talk(client, [`AUTH PLAIN ${plain(USER, PASSWORD)}`, "235 "]);
  });
  await t.test("12,288 bytes are read, and more are not", async () => {
    await using client = await door.greetedInTls();
    await talk(client, ["AUTH PLAIN", "334 "], ["A".repeat(12_288), /^(501|535) /], ["NOOP", "250 "]);
    await talk(client, [`AUTH PLAIN ${"A".repeat(12_288)}`, /^(501|535) /], ["NOOP", "250 "]);
    await talk(client, [`AUTH PLAIN ${"A".repeat(12_292)}`, "500 5.5.6 "], ["NOOP", "250 "]);
    await talk(client, ["AUTH PLAIN", "334 "], ["A".repeat(12_292), "500 5.5.6 "], ["NOOP", "250 "]);
    await client.send(`AUTH PLAIN ${"A".repeat(20_000)}`);
    await client.expect(/^500 5\.5\.[26] /);
    await client.expectClosed();
  });
  await t.test("= is an empty response, and * takes it back", async () => {
    await using client = await door.greetedInTls();
    await talk(
      client,
      ["AUTH PLAIN =", "501 "],
      ["AUTH PLAIN", "334 "],
      ["*", "501 "],
      ["AUTH LOGIN", "334 "],
      ["*", "501 "],
    );
  });
  await good;
  assert.ok(!door.gateway.output().includes("Auth-Status"));
});

test("item 24: AUTH twice, in a transaction, with an unknown mechanism, and before EHLO", async () => {
  await using place = await open();
  const { door } = place;
  await using client = await door.signedIn(USER, PASSWORD);
  await talk(
    client,
    [`AUTH PLAIN ${plain(USER, PASSWORD)}`, "503 5.5.1 "],
    ["MAIL FROM:<alice@example.org>", "250 "],
    ["AUTH PLAIN", "503 5.5.1 "],
  );
  await using other = await door.greetedInTls();
  await talk(other, ["AUTH CRAM-MD5", "504 5.5.4 "], ["AUTH", "501 "], ["AUTH __proto__", "504 5.5.4 "]);
  await using early = await connect({ port: door.ports.implicit, tls: door.trust });
  await early.expect("220 ");
  await talk(early, [`AUTH PLAIN ${plain(USER, PASSWORD)}`, "503 5.5.1 "]);
});

test("item 28: XCLIENT from a client is not believed", async () => {
  await using place = await open({ extensions: ["PIPELINING", "XCLIENT ADDR NAME LOGIN", "XFORWARD NAME"] });
  const { backend, door } = place;
  await using client = await door.greetedInTls();
  assert.ok(!(await ehlo(client)).some((line) => /^X/.test(line)));
  await talk(client, ["XCLIENT ADDR=10.0.0.1", "550 5.7.0 "]);
  await talk(client, [`AUTH PLAIN ${plain(USER, PASSWORD)}`, "235 "]);
  assert.ok(!(await ehlo(client)).some((line) => /^X/.test(line)));
  await talk(client, ["XCLIENT ADDR=10.0.0.1", "550 5.7.0 "], ["XFORWARD NAME=x", "550 5.7.0 "]);
  await using server = await door.fromServer();
  await talk(server, ["XCLIENT ADDR=10.0.0.1", "550 5.7.0 "]);
  const told = backend.lines().filter((line) => line.startsWith("XCLIENT "));
  assert.ok(told.length > 0 && told.every((line) => / ADDR=127\.0\.0\.1$/.test(line)), backend.transcript());
  assert.ok(!/10\.0\.0\.1|XFORWARD/.test(backend.received()), backend.transcript());
});

test("item 29: names that are none", async () => {
  await using place = await open();
  const { backend, door } = place;
  for (const inside of [false, true]) {
    await using client = inside ? await door.signedIn(USER, PASSWORD) : await door.greetedInTls();
    await client.sendRaw("EHLO a\0b\r\n");
    await client.expect("501 ");
    await talk(
      client,
      [`EHLO ${"a".repeat(1024)}`, /^50[01] /],
      ["HELO x y", "501 "],
      ["EHLO", "501 "],
      ["NOOP", "250 "],
    );
  }
  assert.ok(!backend.lines().some((line) => /^(EHLO|HELO) (?!door)/.test(line)), backend.transcript());
});

test("item 30: what is no mail client is sent away, and hears none of its own words", async () => {
  await using place = await open();
  const { backend, door } = place;
  backend.forget();
  for (const port of [door.ports.mx, door.ports.starttls]) {
    await using web = await connect({ port });
    await web.sendRaw("GET /<script>alert(1)</script> HTTP/1.1\r\nHost: evil\r\n\r\n");
    assert.match((await web.readToClose()).join("\n"), /^(220 [^\n]*\n)?554 5\.5\.0 (?!.*script)[^\n]*$/);
    for (const pipelined of [false, true]) {
      await using junk = await connect({ port });
      await junk.expect("220 ");
      await talk(junk, ["EHLO x", "250 "]);
      const lines = Array.from({ length: 20 }, (_, n) => `JUNK${"A".repeat(n % 5)} <script>`);
      if (pipelined) await junk.sendRaw(lines.map((line) => `${line}\r\n`).join(""));
      else for (const line of lines) await junk.send(line);
      const replies = await junk.readToClose();
      assert.match(replies.at(-1) ?? "", /^421 4\.7\.0 /);
      assert.ok(replies.length <= 20 && !replies.join().includes("script"), replies.join("\n"));
    }
  }
  await using late = await door.signedIn(USER, PASSWORD);
  await late.sendRaw("JUNK <script>\r\n".repeat(20));
  const replies = await late.readToClose();
  assert.match(replies.at(-1) ?? "", /^421 4\.7\.0 /);
  assert.ok(!replies.join().includes("script") && !backend.received().includes("script"));
});

test("items 31, 32: envelopes that are none are refused here, and the backend hears nothing of them", async (t) => {
  await using place = await open();
  const { backend, door } = place;
  const mails = [
    "<a\0@b>",
    "<a\r@b>",
    "<a@b",
    "a@b>",
    "<<a@b>>",
    "<a@b> SIZE=1\rRCPT",
    "<a@b> =",
    "<a@b> SIZE=1 SIZE=1",
  ];
  for (const mail of mails) {
    await t.test(`MAIL FROM:${JSON.stringify(mail)}`, async () => {
      await using client = await door.signedIn(USER, PASSWORD);
      backend.forget();
      await client.sendRaw(`MAIL FROM:${mail}\r\n`);
      await client.expect(/^50[01] 5\.5\.[24] /);
      assert.equal(backend.received(), "");
    });
  }
  const rcpts = ['<"">', "<@a,@b:c@d>", "<u%evil@ours>", "<>", "<a\r@b>", "<a\0@b>", "<u@[1;2]>", "<a b@c>"];
  for (const rcpt of rcpts) {
    await t.test(`RCPT TO:${JSON.stringify(rcpt)}`, async () => {
      await using client = await door.signedIn(USER, PASSWORD);
      await talk(client, ["MAIL FROM:<alice@example.org>", "250 "]);
      backend.forget();
      await client.sendRaw(`RCPT TO:${rcpt}\r\n`);
      await client.expect(/^50[01] 5\.5\.[24] /);
      assert.equal(backend.received(), "");
    });
  }
  await t.test("a line feed alone ends a line, and never gets through", async () => {
    await using client = await door.signedIn(USER, PASSWORD);
    backend.forget();
    await client.sendRaw("MAIL FROM:<a\n@b>\r\n");
    await client.expect(/^50[01] /);
    await client.expect(/^50[01] /);
    assert.equal(backend.received(), "");
  });
  await t.test("a parameter that the backend does not take is refused, never left out", async () => {
    await using client = await door.signedIn(USER, PASSWORD);
    backend.forget();
    await talk(
      client,
      ["MAIL FROM:<alice@example.org> BODY=BINARYMIME", "555 5.5.4 "],
      ["MAIL FROM:<alice@example.org> HOLDFOR=10", "555 5.5.4 "],
      ["MAIL FROM:<alice@example.org> BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x", "250 "],
      ["RCPT TO:<bob@example.net> XRCPTFORWARD=x", "555 5.5.4 "],
      ["RCPT TO:<bob@example.net> NOTIFY=NEVER ORCPT=rfc822;bob@example.net", "250 "],
    );
    assert.deepEqual(backend.lines(), [
      "MAIL FROM:<alice@example.org> BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x",
      "RCPT TO:<bob@example.net> NOTIFY=NEVER ORCPT=rfc822;bob@example.net",
    ]);
  });
});

test("item 34: lines too long", async (t) => {
  await using place = await open();
  const { backend, door } = place;
  await t.test("a command of 513 bytes, and a MAIL of 1,001", async () => {
    for (const inside of [false, true]) {
      await using client = inside ? await door.signedIn(USER, PASSWORD) : await door.greetedInTls();
      backend.forget();
      await talk(client, [`NOOP ${"x".repeat(506)}`, "500 5.5.2 "], [`NOOP ${"x".repeat(505)}`, "250 "]);
      if (inside) await talk(client, [`MAIL FROM:<a@b> ENVID=${"x".repeat(999 - 22)}`, "500 5.5.2 "]);
      assert.ok(!backend.received().includes("MAIL"));
    }
  });
  await t.test("streams without a line end cost no memory", async () => {
    const round = async () => {
      const streams = Array.from({ length: 20 }, async (_, n) => {
        await using client =
          n % 2 === 0 ? await door.signedIn(USER, PASSWORD) : await connect({ port: door.ports.mx });
        const stream = "x".repeat(65_536);
        for (let sent = 0; sent < 8_388_608; sent += stream.length) await client.sendRaw(stream);
        return (await client.readToClose()).at(-1) ?? "closed";
      });
      for (const last of await Promise.all(streams))
        assert.match(last, /^(500 5\.5\.2 |554 5\.5\.0 |220 |closed)/);
      return door.gateway.rss();
    };
    // The first rounds grow the heap to what it takes; whatever is kept shows in the others.
    await round();
    const before = await round();
    await round();
    const growth = (await round()) - before;
    assert.ok(growth < 32 * 1024 * 1024, `${growth} bytes more, after 320 MB`);
  });
});

test("item 13: groups of commands are answered in order, one reply each, however they are cut", async (t) => {
  const replies = ["250 2.1.0", "250 2.1.5", "550 5.1.1", "250 2.1.5", "501 5.5.4", "354 go ahead"];
  await using place = await open({
    acts: {
      rcpt: (line): Act | undefined =>
        line.includes("nobody") ? { say: "550 5.1.1 no such user\r\n" } : undefined,
    },
  });
  const { backend, door } = place;
  const group =
    "MAIL FROM:<alice@example.org>\r\nRCPT TO:<a@example.net>\r\nRCPT TO:<nobody@example.net>\r\n" +
    "RCPT TO:<b@example.net>\r\nRCPT TO:<broken\r\nDATA\r\n";
  for (const at of [1, 7, 29, 33, 60, 92, 120, group.length - 3, group.length - 1]) {
    await t.test(`cut at ${at}`, async () => {
      await using client = await door.signedIn(USER, PASSWORD);
      await client.sendRaw(group.slice(0, at));
      await client.sendRaw(group.slice(at));
      for (const reply of replies) await client.expect(reply);
      await client.sendRaw("one\r\n.\r\nRSET\r\nQUIT\r\n");
      for (const reply of ["250 2.0.0 taken", "250 2.0.0 reset", "221 "]) await client.expect(reply);
      await client.expectClosed();
    });
  }
  await t.test("a group that ends in RSET", async () => {
    await using client = await door.signedIn(USER, PASSWORD);
    backend.forget();
    await client.sendRaw("MAIL FROM:<>\r\nRCPT TO:<a@example.net>\r\nRSET\r\nMAIL FROM:<>\r\n");
    for (const reply of ["250 2.1.0", "250 2.1.5", "250 2.0.0 reset", "250 2.1.0"])
      await client.expect(reply);
  });
  await t.test("100 groups in one segment, and a QUIT", async () => {
    await using client = await door.signedIn(USER, PASSWORD);
    const one =
      "MAIL FROM:<>\r\nRCPT TO:<a@example.net>\r\nVRFY x\r\nRCPT TO:<nobody@example.net>\r\nNOOP\r\nRSET\r\n";
    await client.sendRaw(`${one.repeat(100)}QUIT\r\n`);
    const heard = await client.readToClose();
    const each = ["250 2.1.0", "250 2.1.5", "252 2.1.5", "550 5.1.1", "250 2.0.0 n", "250 2.0.0 r"];
    assert.deepEqual(
      heard.map((line, index) => line.startsWith(index === 600 ? "221 " : (each[index % 6] ?? ""))),
      Array.from({ length: 601 }, () => true),
    );
    assert.equal(heard.length, 601);
  });
  await t.test("a message, and the next group behind its end, in one segment", async () => {
    await using client = await door.signedIn(USER, PASSWORD);
    backend.forget();
    await client.sendRaw("MAIL FROM:<>\r\nRCPT TO:<a@example.net>\r\nDATA\r\n");
    for (const reply of ["250 ", "250 ", "354 "]) await client.expect(reply);
    await client.sendRaw("one\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n");
    for (const reply of ["250 2.0.0 taken", "250 ", "250 ", "354 "]) await client.expect(reply);
    await client.sendRaw("two\r\n.\r\nQUIT\r\n");
    for (const reply of ["250 2.0.0 taken", "221 "]) await client.expect(reply);
    assert.deepEqual(
      backend.taken.map(({ raw }) => raw.toString()),
      ["one\r\n.\r\n", "two\r\n.\r\n"],
    );
  });
});

test("commands pipelined behind AUTH wait for it", async () => {
  await using place = await open();
  const { backend, door } = place;
  await using client = await door.greetedInTls();
  await client.sendRaw(
    `AUTH PLAIN ${plain(USER, PASSWORD)}\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.net>\r\nQUIT\r\n`,
  );
  for (const reply of ["235 ", "250 ", "250 ", "221 "]) await client.expect(reply);
  await eventually("the goodbye to the backend", () => backend.received().endsWith("QUIT\r\n"));
  backend.forget();
  await using other = await door.greetedInTls();
  await other.sendRaw(
    `AUTH PLAIN ${plain(USER, "wrong")}\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.net>\r\nQUIT\r\n`,
  );
  for (const reply of ["535 ", "530 ", "530 ", "221 "]) await other.expect(reply);
  assert.equal(backend.received(), "");
});

test("a backend that cannot take a group is asked one by one", async () => {
  await using place = await open({ extensions: ["8BITMIME"] });
  const { backend, door } = place;
  await using client = await door.signedIn(USER, PASSWORD);
  backend.forget();
  let together = 0;
  const seen = new Set<string>();
  const watching = setInterval(() => {
    const text = backend.received();
    if (!seen.has(text)) seen.add(text);
  }, 1);
  await client.sendRaw("MAIL FROM:<>\r\nRCPT TO:<a@example.net>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n");
  for (const reply of ["250 ", "250 ", "250 ", "354 "]) await client.expect(reply);
  await client.sendRaw("x\r\n.\r\nMAIL FROM:<>\r\nRSET\r\nEHLO x\r\nNOOP\r\nQUIT\r\n");
  const rest = await client.readToClose();
  clearInterval(watching);
  for (const line of backend.transcript().split("\n")) {
    const commands = /^C: .*\\r\\n[A-Z]/.test(line) && !line.includes("x\\r\\n.");
    if (commands) together += 1;
  }
  assert.equal(together, 0, backend.transcript());
  assert.match(
    rest.join("\n"),
    /^250 2\.0\.0 taken\n250 2\.1\.0 [^\n]*\n250 2\.0\.0 reset\n250-.*\n250 2\.0\.0 nothing\n221 /s,
  );
});

test("messages and recipients are counted, and refused beyond their limits", async () => {
  const limits = [
    { name: "mails", count: "messages", per: "user", limit: "3/10m" },
    { name: "rcpts", count: "recipients", per: "user", limit: "5/10m" },
  ];
  await using place = await open({}, { policy: { exempt: [], limits }, submission: { maxRecipients: 2 } });
  const { backend, door } = place;
  await using client = await door.signedIn(USER, PASSWORD);
  const rcpt = "RCPT TO:<a@example.net>";
  await talk(
    client,
    ["MAIL FROM:<>", "250 "],
    [rcpt, "250 "],
    [rcpt, "250 "],
    [rcpt, "452 4.5.3 "],
    ["RSET", "250 "],
    ["MAIL FROM:<>", "250 "],
    [rcpt, "250 "],
    [rcpt, "250 "],
    ["RSET", "250 "],
    ["MAIL FROM:<>", "250 "],
    [rcpt, "250 "],
    [rcpt, "450 4.7.1 "],
    ["RSET", "250 "],
  );
  backend.forget();
  await talk(client, ["MAIL FROM:<>", "450 4.7.1 "], ["NOOP", "250 "]);
  assert.deepEqual(backend.lines(), ["NOOP"]);
  // Another user is another count.
  await using other = await door.signedIn("bob@example.org", "b");
  await talk(other, ["MAIL FROM:<>", "250 "], [rcpt, "250 "]);
});

for (const command of ["EHLO x", "HELP"]) {
  test(`a client that reads no reply to ${command} is sent away in the end`, async () => {
    await using place = await open({}, { timeouts: { smtpIdle: "1s" } });
    const { door } = place;
    await using client = await door.fromServer();
    await talk(client, ["MAIL FROM:<>", "250 "], ["RCPT TO:<a@example.net>", "250 "]);
    client.pause();
    const flood = `${command}\r\n`.repeat(20_000);
    const flooding = (async () => {
      for (let sent = 0; sent < 40_000_000; sent += flood.length) await client.sendRaw(flood);
    })();
    const record = await door.gateway.account(({ listener }) => listener === "mx");
    assert.equal(record.reason, "idle");
    client.vanish();
    await flooding.catch(() => {});
  });
}
