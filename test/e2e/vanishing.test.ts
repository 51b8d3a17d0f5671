import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { type Conversation, connect } from "../support/conversation.ts";
import { BACKEND_NAME, type Door, openDoor } from "../support/door.ts";
import { startDovecot } from "../support/dovecot.ts";
import { beginIdle, message } from "../support/mail.ts";
import { startScriptedBackend } from "../support/scripted-backend.ts";
import { eventually, within } from "../support/waiting.ts";

const USER = "alice@example.org";
const PASSWORD = "secret";
const LIMITS = [
  { name: "open", count: "sessions", per: "user", limit: 5 },
  { name: "connected", count: "connections", per: "ip", limit: 50 },
];

/** The two ways of a client that is gone: its machine resets, or its program closes. */
const ENDINGS = {
  "by a reset": (client: Conversation) => client.vanish(),
  "by a close": (client: Conversation) => client.end(),
};

async function expectNothingLeft(door: Door): Promise<void> {
  await door.gateway.metricIs("postern_sessions_open", 0);
  await door.gateway.metricIs("postern_leases", 0);
}

test("a client that vanishes before or during its login leaves nothing", async (t) => {
  const authority = await certificateAuthority();
  const certificate = await authority.issue([BACKEND_NAME]);
  // It hears the login and never answers: whoever waits for it waits for ever.
  await using backend = await startScriptedBackend({
    tls: "starttls",
    certificate,
    acts: { login: "silence" },
  });
  await using silent = await startScriptedBackend({ tls: "none", acts: { greeting: "silence" } });
  await using door = await openDoor({
    authority,
    backends: { backend, silent },
    // Whose silence nobody is to find a meaning in.
    backendKeys: { silent: { identity: "none" } },
    users: { [USER]: PASSWORD, "bob@example.org": { password: PASSWORD, backend: "silent" } },
    config: {
      routes: [{ to: "backend" }],
      policy: { exempt: [], limits: LIMITS },
      timeouts: { connect: "60s" },
    },
  });
  await eventually("the first look at the backends to be over", () => backend.open === 0);

  const moments: Record<string, (client: Conversation) => Promise<void>> = {
    "after the greeting": async () => {},
    "in the middle of a command": (client) => client.sendRaw("a LOGIN al"),
    "in the middle of a literal": async (client) => {
      await client.send("a LOGIN {17}");
      await client.expect("+");
      await client.sendRaw("alice");
    },
    "in the middle of a SASL exchange": async (client) => {
      await client.send("a AUTHENTICATE PLAIN");
      await client.expect("+");
    },
    "while the backend thinks about the password": async (client) => {
      backend.forget();
      await client.send(`a LOGIN ${USER} ${PASSWORD}`);
      await backend.hears("AUTHENTICATE");
      await door.gateway.metricIs("postern_leases", 2);
    },
    "while the backend says nothing at all": async (client) => {
      const before = silent.open;
      await client.send(`a LOGIN bob@example.org ${PASSWORD}`);
      await eventually("the connection to the silent backend", () => silent.open > before);
    },
  };
  for (const [how, leave] of Object.entries(ENDINGS)) {
    for (const [moment, lead] of Object.entries(moments)) {
      await t.test(`${moment}, ${how}`, async () => {
        const before = silent.open;
        await using client = await door.greetedInTls();
        await lead(client);
        await door.gateway.metricIs("postern_sessions_open", 1);
        leave(client);
        await expectNothingLeft(door);
        await eventually(
          "the backend's connection to end",
          () => backend.open === 0 && silent.open <= before,
        );
      });
    }
  }
});

test("a client that vanishes in the TLS handshake leaves nothing, not even a socket", async (t) => {
  const authority = await certificateAuthority();
  await using backend = await startScriptedBackend({ tls: "none" });
  await using door = await openDoor({
    authority,
    backends: { backend },
    users: { [USER]: PASSWORD },
    // No deadline is to do the work.
    config: { routes: [{ to: "backend" }], timeouts: { handshake: "60s", login: "60s" } },
  });
  const sockets = async () => {
    const targets = await door.gateway.descriptors();
    return targets.filter((target) => target.startsWith("socket:")).length;
  };
  await eventually("the first look at the backend to be over", () => backend.open === 0);
  const before = await sockets();
  const arrive: Record<string, () => Promise<Conversation>> = {
    "where TLS comes first": () => connect({ port: door.ports.implicit }),
    "after STARTTLS": async () => {
      const client = await door.greeted();
      await client.send("a STARTTLS");
      await client.expect("a OK ");
      return client;
    },
  };
  for (const [where, come] of Object.entries(arrive)) {
    for (const [what, bytes] of Object.entries({
      nothing: "",
      "half a ClientHello": "\x16\x03\x01\x02\x00\x01",
    })) {
      for (const [how, leave] of Object.entries(ENDINGS)) {
        await t.test(`${where}, having said ${what}, ${how}`, async () => {
          await using client = await come();
          await client.sendRaw(bytes);
          await door.gateway.metricIs("postern_sessions_open", 1);
          leave(client);
          await client[Symbol.asyncDispose]();
          await expectNothingLeft(door);
          await eventually("the gateway to close its sockets", async () => (await sockets()) <= before);
        });
      }
    }
  }
  await t.test("and a stop takes no longer for it", async () => {
    assert.equal(await within(5_000, "the gateway to end", door.gateway.stop()), 0);
  });
});

test("a client that vanishes in IDLE leaves no session here and none at the backend", async (t) => {
  const authority = await certificateAuthority();
  const certificate = await authority.issue([BACKEND_NAME]);
  for (const tls of ["none", "starttls", "implicit"] as const) {
    await using store = await startDovecot({
      tls,
      ...(tls === "none" ? {} : { certificate }),
      users: { [USER]: PASSWORD },
    });
    await store.deliver(USER, message("hello"));
    await using door = await openDoor({
      authority,
      backends: { store },
      users: { [USER]: PASSWORD },
      config: { routes: [{ to: "store" }], policy: { exempt: [], limits: LIMITS } },
    });
    for (const [how, leave] of Object.entries(ENDINGS)) {
      await t.test(`${how}, backend by ${tls}`, async () => {
        await using client = await door.signedIn(USER, PASSWORD);
        await beginIdle(client);
        await store.deliver(USER, message("pushed"));
        await client.expect(/^\* \d+ EXISTS/);
        assert.deepEqual(await store.sessions(), [USER]);
        await door.gateway.metricIs("postern_leases", 2);
        leave(client);
        await expectNothingLeft(door);
        await eventually("the backend's session to end", async () => (await store.sessions()).length === 0);
        const account = await door.gateway.account((record) => record.user === USER);
        assert.equal(account.outcome, "ok");
        assert.equal(account.reason, "client left");
      });
    }
  }
});

test("a client that ends its side still hears the answers to all that it said", async (t) => {
  const authority = await certificateAuthority();
  await using store = await startDovecot({ tls: "none", users: { [USER]: PASSWORD } });
  await store.deliver(USER, message("hello"));
  await using door = await openDoor({
    authority,
    backends: { store },
    users: { [USER]: PASSWORD },
    config: { routes: [{ to: "store" }] },
  });
  const said = "b SELECT INBOX\r\nc FETCH 1 BODY[]\r\nd LOGOUT\r\n";
  const begin = {
    "after its login": async () => {
      const client = await door.signedIn(USER, PASSWORD);
      await client.sendRaw(said);
      return client;
    },
    "with its login": async () => {
      const client = await door.greetedInTls();
      await client.sendRaw(`a LOGIN ${USER} ${PASSWORD}\r\n${said}`);
      return client;
    },
  };
  for (const [when, speak] of Object.entries(begin)) {
    await t.test(when, async () => {
      await using client = await speak();
      client.end();
      const heard = await client.readToClose();
      assert.deepEqual(
        heard.filter((line) => /^[bcd] /.test(line)).map((line) => line.slice(0, 4)),
        ["b OK", "c OK", "d OK"],
        client.transcript(),
      );
    });
  }
});
