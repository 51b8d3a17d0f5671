import assert from "node:assert/strict";
import { test } from "node:test";
import { createTransport, type SendMailOptions } from "nodemailer";
import { certificateAuthority } from "../support/certificates.ts";
import { startScriptedSmtp } from "../support/scripted-smtp.ts";
import { openSmtpDoor, type SmtpDoor } from "../support/smtp-door.ts";

const ALICE = "alice@example.org";
const SENDERS = `${ALICE}: [sales@example.org, "@example.net"]\n`;

/** A door whose senders are judged so, with alice at it. */
async function open(enforce: "observe" | "enforce") {
  const authority = await certificateAuthority();
  const backend = await startScriptedSmtp({ auth: true });
  const door = await openSmtpDoor({
    authority,
    users: { [ALICE]: "pw" },
    backends: { backend },
    files: { "senders.yaml": SENDERS },
    config: { submission: { senders: { enforce, map: "senders.yaml" } } },
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

/** Sends one message with nodemailer; the server's answer, whichever it was. */
async function send(door: SmtpDoor, mail: SendMailOptions): Promise<string> {
  const transport = createTransport({
    host: "127.0.0.1",
    port: door.ports.starttls,
    requireTLS: true,
    auth: { user: ALICE, pass: "pw" },
    tls: { ...door.trust },
  });
  try {
    return (await transport.sendMail({ to: "bob@example.com", subject: "s", text: "t", ...mail })).response;
  } catch (error) {
    return (error as { response?: string }).response ?? String(error);
  } finally {
    transport.close();
  }
}

test("a user sends as himself, as what the map gives him, and as nobody else, in MAIL FROM and in From", async (t) => {
  await using place = await open("enforce");
  const { backend, door } = place;
  const allowed: SendMailOptions[] = [
    { from: ALICE },
    { from: "Alice <ALICE@example.org>" },
    { from: "Sales <sales@example.org>" },
    { from: "whoever@example.net" },
    { from: ALICE, envelope: { from: "", to: "bob@example.com" } },
  ];
  const refused: SendMailOptions[] = [
    { from: "ceo@example.org" },
    { from: "ceo@example.org", envelope: { from: ALICE, to: "bob@example.com" } },
    { from: [ALICE, "ceo@example.org"], envelope: { from: ALICE, to: "bob@example.com" } },
    { from: '"alice@example.org" <ceo@example.org>', envelope: { from: ALICE, to: "bob@example.com" } },
    { from: ALICE, envelope: { from: "whoever@sub.example.net", to: "bob@example.com" } },
  ];
  for (const mail of allowed) {
    await t.test(`allowed: ${JSON.stringify(mail)}`, async () => {
      const before = backend.taken.length;
      assert.match(await send(door, mail), /^250 /);
      assert.equal(backend.taken.length, before + 1);
    });
  }
  for (const mail of refused) {
    await t.test(`refused: ${JSON.stringify(mail)}`, async () => {
      const before = backend.taken.length;
      assert.match(await send(door, mail), /^550 5\.7\.1 /);
      assert.equal(backend.taken.length, before);
    });
  }
  assert.ok(
    (await door.gateway.metric("postern_refusals_total", { kind: "senderNotYours" })) >= refused.length,
  );
});

test("observed senders pass, and the log says what would have been refused", async () => {
  await using place = await open("observe");
  const { backend, door } = place;
  assert.match(await send(door, { from: "ceo@example.org" }), /^250 /);
  assert.equal(backend.taken.length, 1);
  const lines = door.gateway.log().filter(({ msg }) => msg === "would have been refused");
  assert.deepEqual(
    lines.map(({ user, what, field, address }) => ({ user, what, field, address })),
    ["MAIL FROM", "From"].map((field) => ({
      user: ALICE,
      what: "senders",
      field,
      address: "ceo@example.org",
    })),
  );
});
