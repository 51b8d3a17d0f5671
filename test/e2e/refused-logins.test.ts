import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { curlRead, imapflow, imaplib } from "../support/clients.ts";
import type { Conversation } from "../support/conversation.ts";
import { BACKEND_NAME, openDoor } from "../support/door.ts";
import { startDovecot } from "../support/dovecot.ts";

const base64 = (text: string) => Buffer.from(text).toString("base64");

/** The ways to offer a name and a password; each ends with the tagged reply still to come. */
const WAYS = {
  async "LOGIN with quoted strings"(client: Conversation, user: string, password: string) {
    await client.send(`try LOGIN "${user}" "${password}"`);
  },
  async "LOGIN with literals"(client: Conversation, user: string, password: string) {
    await client.send(`try LOGIN {${user.length}}`);
    await client.expect("+ ");
    await client.send(`${user} {${password.length}}`);
    await client.expect("+ ");
    await client.send(password);
  },
  async "AUTHENTICATE PLAIN with its initial response"(client: Conversation, user: string, password: string) {
    await client.send(`try AUTHENTICATE PLAIN ${base64(`\0${user}\0${password}`)}`);
  },
  async "AUTHENTICATE PLAIN"(client: Conversation, user: string, password: string) {
    await client.send("try AUTHENTICATE PLAIN");
    await client.expect("+");
    await client.send(base64(`\0${user}\0${password}`));
  },
  async "AUTHENTICATE LOGIN"(client: Conversation, user: string, password: string) {
    await client.send("try AUTHENTICATE LOGIN");
    await client.expect("+ ");
    await client.send(base64(user));
    await client.expect("+ ");
    await client.send(base64(password));
  },
};

test("wrong passwords and unknown users hear the same words", async (t) => {
  const authority = await certificateAuthority();
  const certificate = await authority.issue([BACKEND_NAME]);
  const users = {
    "alice@example.org": "right",
    "mallory@example.org": "right",
    "old@example.org": "old at home",
  };
  await using store = await startDovecot({ tls: "starttls", certificate, users });
  await using door = await openDoor({
    authority,
    backends: { store },
    users: {
      "alice@example.org": "right",
      "mallory@example.org": { password: "right", disabled: true },
      "away@example.org": { password: "right", networks: ["10.0.0.0/8"] },
      // The door's file and the backend disagree about this one's password.
      "old@example.org": "new here",
    },
    config: { routes: [{ to: "store" }] },
  });

  const failing = [
    { why: "a wrong password", user: "alice@example.org", password: "wrong" },
    { why: "an unknown user", user: "nobody@example.org", password: "right" },
    { why: "an unknown domain", user: "alice@example.com", password: "right" },
    { why: "no domain", user: "alice", password: "right" },
    { why: "a disabled user's wrong password", user: "mallory@example.org", password: "wrong" },
    { why: "a user of another network, with a wrong password", user: "away@example.org", password: "wrong" },
    { why: "a password that only the door takes", user: "old@example.org", password: "new here" },
  ];
  const words = new Set<string>();
  for (const { why, user, password } of failing) {
    await t.test(why, async () => {
      await using client = await door.greetedInTls();
      for (const offer of Object.values(WAYS)) {
        await offer(client, user, password);
        words.add(await client.expect("try NO [AUTHENTICATIONFAILED] "));
      }
    });
  }
  await t.test("one wording for all of them", () => {
    assert.equal(words.size, 1, [...words].join("\n"));
    assert.deepEqual(store.logins(), []);
  });

  await t.test("a disabled user with the right password is not allowed, and hears so", async () => {
    await using client = await door.greetedInTls();
    for (const user of ["mallory@example.org", "away@example.org"]) {
      await client.send(`try LOGIN ${user} right`);
      await client.expect("try NO [AUTHORIZATIONFAILED] ");
    }
  });

  for (const [way, offer] of Object.entries(WAYS)) {
    await t.test(`after a wrong try the right one opens the door: ${way}`, async () => {
      await using client = await door.secured();
      await offer(client, "alice@example.org", "wrong");
      await client.expect("try NO [AUTHENTICATIONFAILED] ");
      await offer(client, "alice@example.org", "right");
      await client.expectUntil("try OK ");
      await client.send("s SELECT INBOX");
      await client.expectUntil("s OK ");
    });
  }

  await t.test("mail programs understand it", async () => {
    const account = door.account("alice@example.org", "wrong");
    const curl = await curlRead(account, 1);
    assert.equal(curl.code, 67, curl.stderr);
    const python = await imaplib(account, "");
    assert.match(python.stderr, /imaplib\.IMAP4\.error: b'\[AUTHENTICATIONFAILED\]/);
    await using flow = imapflow(account);
    await assert.rejects(flow.connect(), {
      authenticationFailed: true,
      serverResponseCode: "AUTHENTICATIONFAILED",
    });
  });

  await t.test("the account record names the reason", async () => {
    const account = await door.gateway.account((record) => record.user === "nobody@example.org");
    assert.equal(account.outcome, "badCredential");
    assert.equal(account.backend, undefined);
  });
});

test("a SASL exchange can be taken back, and nonsense in it is BAD", async (t) => {
  const authority = await certificateAuthority();
  await using store = await startDovecot({ tls: "none", users: { "alice@example.org": "right" } });
  await using door = await openDoor({
    authority,
    backends: { store },
    users: { "alice@example.org": "right" },
    config: { routes: [{ to: "store" }] },
  });
  const lines = [
    { what: "taken back", line: "*", reply: "a BAD " },
    { what: "no base64", line: "!!!", reply: "a BAD " },
    { what: "base64 with padding inside", line: "AAA=AAA=", reply: "a BAD " },
    { what: "the other alphabet of base64", line: "_-8=", reply: "a BAD " },
    { what: "no NUL inside", line: base64("alice"), reply: "a BAD " },
    {
      what: "acting for somebody else",
      line: base64("bob@example.org\0alice@example.org\0right"),
      reply: "a NO [AUTHENTICATIONFAILED] ",
    },
  ];
  for (const { what, line, reply } of lines) {
    await t.test(what, async () => {
      await using client = await door.greetedInTls();
      await client.send("a AUTHENTICATE PLAIN");
      await client.expect("+");
      await client.send(line);
      await client.expect(reply);
      await client.send("b NOOP");
      await client.expect("b OK ");
    });
  }
  await t.test("acting for oneself is allowed", async () => {
    await using client = await door.greetedInTls();
    await client.send(`a AUTHENTICATE PLAIN ${base64("alice@example.org\0alice@example.org\0right")}`);
    await client.expectUntil("a OK ");
  });
});
