import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { connect } from "../support/conversation.ts";
import { BACKEND_NAME } from "../support/door.ts";
import { startDovecot } from "../support/dovecot.ts";
import { sha256 } from "../support/mail.ts";
import { freePort } from "../support/ports.ts";
import {
  authenticatePlain,
  capabilitiesTo,
  capabilityOf,
  inTls,
  openSieveDoor,
  sieveOf,
} from "../support/sieve.ts";

const ALICE = "alice@example.org";
const BOB = "bob@example.com";
const EVERYONE: Readonly<Record<string, string>> = { [ALICE]: "alice's own", [BOB]: "bob's own" };

test("before login the door speaks for the backends, after it they do themselves", async (t) => {
  const authority = await certificateAuthority();
  const certificate = await authority.issue([BACKEND_NAME]);
  await using store = await startDovecot({ tls: "starttls", certificate, sieve: true, users: EVERYONE });
  await using door = await openSieveDoor({
    authority,
    backends: { store: sieveOf(store) },
    users: EVERYONE,
    config: { routes: [{ to: "store" }] },
  });
  await using direct = await connect({
    host: store.host,
    port: store.sievePorts.implicit,
    tls: { ca: authority.ca, servername: BACKEND_NAME },
  });
  const theirs = await capabilitiesTo(direct);

  await t.test("in clear text: STARTTLS and no mechanism", async () => {
    const { client, capabilities } = await door.greeted();
    await using _client = client;
    assert.equal(capabilityOf(capabilities, "IMPLEMENTATION"), "Postern");
    assert.equal(capabilityOf(capabilities, "SASL"), "");
    assert.ok(capabilities.includes('"STARTTLS"'));
    for (const name of ["SIEVE", "NOTIFY", "VERSION"])
      assert.equal(capabilityOf(capabilities, name), capabilityOf(theirs, name), name);
    await client.send("CAPABILITY");
    assert.deepEqual(await capabilitiesTo(client), capabilities);
    await client.send(authenticatePlain(ALICE, EVERYONE[ALICE] as string));
    await client.expect("NO (ENCRYPT-NEEDED) ");
    await client.send("LISTSCRIPTS");
    await client.expect("NO ");
    await client.send("LOGOUT");
    await client.expect("OK");
    await client.expectClosed();
    assert.deepEqual(store.logins(), []);
  });

  await t.test("inside TLS: mechanisms and no STARTTLS", async () => {
    const { client, capabilities } = await door.secured();
    await using _client = client;
    assert.equal(capabilityOf(capabilities, "SASL"), "PLAIN LOGIN");
    assert.ok(!capabilities.includes('"STARTTLS"'));
    await client.send("STARTTLS");
    await client.expect("NO ");
  });

  await t.test("after login: the backend's own, and its own words", async () => {
    await using client = await door.signedIn(ALICE, EVERYONE[ALICE] as string);
    await client.send("CAPABILITY");
    const own = await capabilitiesTo(client);
    assert.match(capabilityOf(own, "IMPLEMENTATION") ?? "", /Pigeonhole/);
    await client.send('GETSCRIPT "none"');
    await client.expect("NO (NONEXISTENT) ");
    // RFC 5804 2.1: no second AUTHENTICATE in a session, through the door or not.
    await client.send(authenticatePlain(BOB, EVERYONE[BOB] as string));
    await client.expect("NO ");
  });

  await t.test("bytes behind STARTTLS end the session", async () => {
    const { client } = await door.greeted();
    await using _client = client;
    await client.sendRaw(`STARTTLS\r\n${authenticatePlain(ALICE, EVERYONE[ALICE] as string)}\r\n`);
    assert.deepEqual(await client.readToClose(), ['BYE "Bytes behind STARTTLS"']);
  });

  await t.test("what is pipelined behind the login is answered by the backend, in order", async () => {
    const { client } = await door.secured();
    await using _client = client;
    const login = authenticatePlain(BOB, EVERYONE[BOB] as string);
    await client.sendRaw(
      `NOOP "first"\r\n${login}\r\nPUTSCRIPT "p" {7+}\r\nkeep;\r\n\r\nNOOP "last"\r\nLOGOUT\r\n`,
    );
    const said = await client.readToClose();
    assert.deepEqual(
      said.map((line) => line.replace(/ "[^"]*"$/, "")),
      ['OK (TAG "first")', "OK", "OK", 'OK (TAG "last")', "OK"],
    );
  });

  await t.test("a script of 64 KiB passes both ways, byte for byte", async () => {
    await using client = await door.signedIn(ALICE, EVERYONE[ALICE] as string);
    const script = Buffer.from(`# ${'\0\x01ä{5+}\\"'.replace("\0", "")}\r\n`.repeat(6_000));
    await client.sendRaw(`PUTSCRIPT "big" {${script.length}+}\r\n`);
    await client.sendRaw(script);
    await client.send("");
    await client.expect("OK");
    await client.send('GETSCRIPT "big"');
    const size = Number(/^\{(\d+)\}$/.exec(await client.expect("{"))?.[1]);
    const back = await client.readExact(size);
    assert.equal(sha256(back), sha256(script));
  });

  await t.test("no password is in the log", () => {
    for (const password of Object.values(EVERYONE)) {
      assert.ok(!door.gateway.output().includes(password));
      const encoded = Object.keys(EVERYONE).map((user) =>
        Buffer.from(`\0${user}\0${password}`).toString("base64"),
      );
      for (const each of encoded) assert.ok(!door.gateway.output().includes(each));
    }
  });
});

test("users land on their own backend, by route, source and master", async () => {
  const authority = await certificateAuthority();
  const certificate = await authority.issue([BACKEND_NAME]);
  const users = { ...EVERYONE, "carol@example.net": "not known there" };
  await using north = await startDovecot({ name: "north", tls: "none", sieve: true, users: EVERYONE });
  await using south = await startDovecot({
    name: "south",
    tls: "none",
    sieve: true,
    users,
    master: { user: "key", password: "to all" },
    settings: "plugin {\n  sieve_extensions = -fileinto +notify\n}",
  });
  await using inner = await inTls(sieveOf(south), certificate);
  await using door = await openSieveDoor({
    authority,
    backends: { north: sieveOf(north), south: inner },
    backendKeys: { south: { login: { master: { user: "key", password: "to all", separator: "*" } } } },
    users: { ...EVERYONE, "carol@example.net": { password: "hers", backend: "south" } },
    config: {
      routes: [{ match: { domain: "example.org" }, to: "north" }, { to: "south" }],
    },
  });
  const homes = { [ALICE]: north, [BOB]: south, "carol@example.net": south };
  for (const [user, home] of Object.entries(homes)) {
    const password = user === "carol@example.net" ? "hers" : (EVERYONE[user] as string);
    const before = home.logins().length;
    await using client = await door.signedIn(user, password);
    await client.send(`PUTSCRIPT "of ${user}" {5+}\r\nkeep;`);
    await client.expect("OK");
    await client.send("LISTSCRIPTS");
    assert.deepEqual(await capabilitiesTo(client), [`"of ${user}"`]);
    assert.deepEqual(home.logins().slice(before), [user]);
  }
  assert.equal(north.logins().length + south.logins().length, 3);

  // What the backends differ in is not promised before it is known where a client lives.
  const { client, capabilities } = await door.secured();
  await using _client = client;
  const extensions = capabilityOf(capabilities, "SIEVE")?.split(" ") ?? [];
  assert.ok(extensions.includes("vacation") && extensions.includes("variables"), extensions.join(" "));
  assert.ok(!extensions.includes("fileinto") && !extensions.includes("notify"), extensions.join(" "));
});

test("a wrong password and an outage are different answers, and the session outlives both", async () => {
  const authority = await certificateAuthority();
  await using store = await startDovecot({ tls: "none", sieve: true, users: EVERYONE });
  await using door = await openSieveDoor({
    authority,
    backends: {
      store: sieveOf(store),
      dead: { host: "127.0.0.1", port: await freePort(), tls: "none" },
    },
    users: {
      ...EVERYONE,
      "dora@example.org": { password: "pw", backend: "dead" },
      "eve@example.org": "not there",
    },
    config: { routes: [{ to: "store" }], timeouts: { connect: "2s" } },
  });
  const { client } = await door.secured();
  await using _client = client;
  const heard = new Set<string>();
  for (const [user, password] of [
    [ALICE, "wrong"],
    ["nobody@example.org", "wrong"],
    // Right here, wrong at the backend.
    ["eve@example.org", "not there"],
  ] as const) {
    await client.send(authenticatePlain(user, password));
    heard.add(await client.expect("NO "));
  }
  assert.deepEqual([...heard], ['NO "Authentication failed"']);
  await client.send(authenticatePlain("dora@example.org", "pw"));
  await client.expect("NO (TRYLATER) ");

  await store.kill();
  await client.send(authenticatePlain(ALICE, EVERYONE[ALICE] as string));
  await client.expect("NO (TRYLATER) ");
  await client.send("NOOP");
  await client.expect("OK");
  await store.restart();
  await client.send(authenticatePlain(ALICE, EVERYONE[ALICE] as string));
  await client.expect("OK");
  await client.send("LISTSCRIPTS");
  await client.expect("OK");

  // A backend that dies in a session takes it along, and nothing is said in its name.
  await store.kill();
  await client.expectClosed();
  const account = await door.gateway.account((record) => record.user === ALICE);
  assert.deepEqual([account.outcome, account.reason, account.backend], ["ok", "backend closed", "store"]);
});

test("no password goes to a backend that does not prove who it is", async (t) => {
  const authority = await certificateAuthority();
  const stranger = await authority.issue(["other.example.net"]);
  for (const tls of ["starttls", "implicit"] as const) {
    await t.test(tls, async () => {
      await using store = await startDovecot({ tls, certificate: stranger, sieve: true, users: EVERYONE });
      await using door = await openSieveDoor({
        authority,
        backends: { store: sieveOf(store) },
        users: EVERYONE,
        config: { routes: [{ to: "store" }] },
      });
      const { client } = await door.secured();
      await using _client = client;
      await client.send(authenticatePlain(ALICE, EVERYONE[ALICE] as string));
      await client.expect("NO (TRYLATER) ");
      await store.logged(/managesieve-login: Info: Disconnected.*no auth attempts/);
      assert.deepEqual(store.logins(), []);
    });
  }
});
