import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { BACKEND_NAME, openDoor } from "../support/door.ts";
import { startDovecot } from "../support/dovecot.ts";
import { message, readMessage } from "../support/mail.ts";

const EVERYONE = {
  "alice@example.org": "alice's own",
  "bob@example.org": 'bob\'s "own" \\',
  "carol@example.net": "käröl",
  "dave@example.com": "dave's own",
};

test("users land on their own backend, and on no other", async (t) => {
  const authority = await certificateAuthority();
  const certificate = await authority.issue([BACKEND_NAME]);
  // Every backend would let everyone in: landing on the wrong one would be no error, only the wrong mail.
  await using plain = await startDovecot({ name: "plain", tls: "none", users: EVERYONE });
  await using starttls = await startDovecot({
    name: "starttls",
    tls: "starttls",
    certificate,
    users: EVERYONE,
  });
  await using implicit = await startDovecot({
    name: "implicit",
    tls: "implicit",
    certificate,
    users: EVERYONE,
  });
  const backends = { plain, starttls, implicit };
  for (const [name, backend] of Object.entries(backends)) {
    for (const user of Object.keys(EVERYONE))
      await backend.deliver(user, message(`canary of ${user} at ${name}`));
  }
  await using door = await openDoor({
    authority,
    backends,
    users: {
      "alice@example.org": EVERYONE["alice@example.org"],
      // What the source says goes before the routes.
      "bob@example.org": { password: EVERYONE["bob@example.org"], backend: "implicit" },
      "carol@example.net": EVERYONE["carol@example.net"],
      "dave@example.com": EVERYONE["dave@example.com"],
    },
    config: {
      routes: [
        { match: { user: "carol@example.net" }, to: "implicit" },
        { match: { domain: ["example.org", "example.net"] }, to: "starttls" },
        { to: "plain" },
      ],
    },
  });

  const expected = {
    "alice@example.org": "starttls",
    "bob@example.org": "implicit",
    "carol@example.net": "implicit",
    "dave@example.com": "plain",
  } as const;
  for (const [user, home] of Object.entries(expected)) {
    const password = Buffer.from(EVERYONE[user as keyof typeof EVERYONE]);
    for (const enter of ["secured", "greetedInTls"] as const) {
      await t.test(`${user} at ${home}, ${enter}`, async () => {
        await using client = await door[enter]();
        await client.sendRaw(`a LOGIN ${user} {${password.length}+}\r\n`);
        await client.sendRaw(password);
        await client.send("");
        await client.expectUntil("a OK ");
        const mail = await readMessage(client);
        assert.match(mail.toString(), new RegExp(`^Subject: canary of ${user} at ${home}\r$`, "m"));
        await client.send("z LOGOUT");
        await client.expectUntil("z OK ");
        await client.expectClosed();
      });
    }
  }

  await t.test("the backends have seen their own users and nobody else", () => {
    const twice = (...users: string[]) => users.flatMap((user) => [user, user]).sort();
    assert.deepEqual(starttls.logins().sort(), twice("alice@example.org"));
    assert.deepEqual(implicit.logins().sort(), twice("bob@example.org", "carol@example.net"));
    assert.deepEqual(plain.logins().sort(), twice("dave@example.com"));
  });
});

test("users are known at their backend by the name that the route or the source gives them", async (t) => {
  const authority = await certificateAuthority();
  await using store = await startDovecot({
    name: "store",
    tls: "none",
    users: { alice: "pw", robert: "pw", "carol@example.org": "not hers" },
    master: { user: "gate", password: "master's secret" },
  });
  await using door = await openDoor({
    authority,
    backends: { store, byMaster: store },
    backendKeys: {
      byMaster: { login: { master: { user: "gate", password: "master's secret", separator: "*" } } },
    },
    users: {
      "alice@example.org": "pw",
      "bob@example.org": { password: "pw", login: "robert", backend: "store" },
      "carol@example.org": { password: "hers", backend: "byMaster" },
    },
    config: { routes: [{ to: "store", loginAs: "{local}" }] },
  });

  const cases = [
    { user: "alice@example.org", password: "pw", known: "alice", by: "the route's loginAs" },
    { user: "bob@example.org", password: "pw", known: "robert", by: "the source's login" },
    { user: "carol@example.org", password: "hers", known: "carol@example.org", by: "a master user" },
  ];
  for (const { user, password, known, by } of cases) {
    await t.test(`${user} by ${by}`, async () => {
      const before = store.logins().length;
      await using client = await door.signedIn(user, password);
      await client.send("z LOGOUT");
      await client.expectUntil("z OK ");
      await store.logged(new RegExp(`Login: user=<${known.replace(".", "\\.")}>`));
      assert.deepEqual(store.logins().slice(before), [known]);
    });
  }
});

test("a user without a route is refused clearly, and the log says why", async () => {
  const authority = await certificateAuthority();
  await using store = await startDovecot({ tls: "none", users: { "eve@example.org": "pw" } });
  await using door = await openDoor({
    authority,
    backends: { store },
    users: { "eve@example.org": "pw" },
    config: { routes: [{ match: { domain: "example.com" }, to: "store" }] },
  });
  await using client = await door.greetedInTls();
  await client.send("a LOGIN eve@example.org pw");
  await client.expect("a NO [AUTHORIZATIONFAILED] ");
  await client.send("b LOGOUT");
  await client.expectUntil("b OK ");
  const account = await door.gateway.account((record) => record.user === "eve@example.org");
  assert.equal(account.outcome, "noRoute");
  assert.equal(account.backend, undefined);
  assert.deepEqual(store.logins(), []);
});
