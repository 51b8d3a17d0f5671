import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { connect } from "../support/conversation.ts";
import { startScriptedSmtp } from "../support/scripted-smtp.ts";
import { openSmtpDoor } from "../support/smtp-door.ts";

test("commands behind EHLO that do not wait for its reply end the session, and none of them runs", async (t) => {
  await using backend = await startScriptedSmtp({ auth: true });
  await using door = await openSmtpDoor({
    authority: await certificateAuthority(),
    users: { "alice@example.org": "pw" },
    backends: { backend },
    domains: { backend: "north.example" },
  });
  backend.forget();
  const behind = "MAIL FROM:<a@far.example>\r\nRCPT TO:<bob@north.example>\r\n";
  for (const [where, port, tls] of [
    ["port 25", door.ports.mx, undefined],
    ["port 587", door.ports.starttls, undefined],
    ["port 465", door.ports.implicit, door.trust],
  ] as const) {
    for (const hello of ["EHLO x", "HELO x"]) {
      await t.test(`${hello} at ${where}`, async () => {
        await using client = await connect({ port, ...(tls && { tls }) });
        await client.expect("220 ");
        await client.sendRaw(`${hello}\r\n${behind}`);
        assert.match((await client.readToClose()).join("\n"), /^554 5\.5\.0 [^\n]*$/);
      });
    }
  }
  assert.equal(backend.received(), "");
});

test("a server that speaks before the greeting is sent away, unless it may", async (t) => {
  await using backend = await startScriptedSmtp();
  const open = async (submission: object) =>
    openSmtpDoor({
      authority: await certificateAuthority(),
      backends: { backend },
      domains: { backend: "north.example" },
      config: { submission },
    });
  await t.test("its first words come with the connection", async () => {
    await using door = await open({ greetDelay: "10s" });
    await using client = await connect({ port: door.ports.mx });
    await client.sendRaw("EHLO far.example\r\n");
    assert.match((await client.readToClose()).join("\n"), /^554 5\.5\.0 [^\n]*$/);
  });
  await t.test("one that waits is greeted when it has been listened to", async () => {
    await using door = await open({ greetDelay: "300ms" });
    const before = performance.now();
    await using client = await connect({ port: door.ports.mx });
    await client.expect("220 ");
    assert.ok(performance.now() - before >= 299);
  });
  await t.test("where early talkers are allowed, they are served in their turn", async () => {
    await using door = await open({ earlyTalkers: "allow", greetDelay: "10s" });
    await using client = await connect({ port: door.ports.mx });
    await client.sendRaw("EHLO far.example\r\nNOOP\r\nQUIT\r\n");
    const heard = await client.readToClose();
    assert.match(heard.join("\n"), /^220 .*\n250-.*\n250 2\.0\.0 [^\n]*\n221 /s);
  });
});
