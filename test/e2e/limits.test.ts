import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { connect } from "../support/conversation.ts";
import { openDoor } from "../support/door.ts";
import { startDovecot } from "../support/dovecot.ts";
import { eventually } from "../support/waiting.ts";

const USERS = { "alice@example.org": "right", "bob@example.org": "right" };

/** Loopback is exempt unless the configuration says otherwise. */
const policy = (...limits: object[]) => ({ policy: { exempt: [], limits }, routes: [{ to: "store" }] });

test("a user has so many sessions and no more, and gets each seat back", async () => {
  const authority = await certificateAuthority();
  await using store = await startDovecot({ tls: "none", users: USERS });
  await using door = await openDoor({
    authority,
    backends: { store },
    users: USERS,
    config: policy({ name: "open", count: "sessions", per: "user", limit: 2 }),
  });
  await using first = await door.signedIn("alice@example.org", "right");
  await using second = await door.signedIn("alice@example.org", "right");
  await using third = await door.greetedInTls();
  await third.send("a LOGIN alice@example.org right");
  await third.expect("a NO [LIMIT] ");
  // Another address makes no difference, another user does.
  await using elsewhere = await door.greetedInTls({ localAddress: "127.0.0.77" });
  await elsewhere.send("a LOGIN alice@example.org right");
  await elsewhere.expect("a NO [LIMIT] ");
  await elsewhere.send("b LOGIN bob@example.org right");
  await elsewhere.expectUntil("b OK ");
  assert.equal(await door.gateway.metric("postern_leases"), 3);
  assert.equal(store.logins().filter((user) => user === "alice@example.org").length, 2);

  // A wrong password takes no seat, and says nothing of the limit.
  await third.send("w LOGIN alice@example.org wrong");
  await third.expect("w NO [AUTHENTICATIONFAILED] ");

  await first.send("z LOGOUT");
  await first.expectUntil("z OK ");
  await first.expectClosed();
  await door.gateway.metricIs("postern_leases", 2);
  await third.send("b LOGIN alice@example.org right");
  await third.expectUntil("b OK ");

  // A seat comes back from a client that vanishes, too.
  second.vanish();
  await door.gateway.metricIs("postern_leases", 2);
  await using fourth = await door.signedIn("alice@example.org", "right");
  await fourth.send("n NOOP");
  await fourth.expect("n OK ");
});

test("too many guesses ban an address, before the greeting, and no other", async () => {
  const authority = await certificateAuthority();
  await using store = await startDovecot({ tls: "none", users: USERS });
  await using door = await openDoor({
    authority,
    backends: { store },
    users: USERS,
    config: policy({
      name: "guesses",
      count: "authFailures",
      per: "ip",
      then: { ban: "1h" },
      limit: "3/10m",
    }),
  });
  const guesser = { localAddress: "127.0.0.66" };
  await using client = await door.greetedInTls(guesser);
  // A right one in between is no guess.
  for (const [tag, user] of [
    ["a", "alice@example.org"],
    ["b", "nobody@example.org"],
    ["c", "bob@example.org"],
  ] as const) {
    await client.send(`${tag} LOGIN ${user} wrong`);
    await client.expect(`${tag} NO [AUTHENTICATIONFAILED] `);
    if (tag === "b") {
      await using _right = await door.signedIn("bob@example.org", "right", guesser);
    }
  }
  // The one that is already here learns it at its next try, whatever its password.
  await client.send("d LOGIN alice@example.org right");
  const said = await client.readToClose();
  assert.ok(
    said.some((line) => line.startsWith("* BYE")),
    client.transcript(),
  );
  assert.ok(!said.some((line) => line.startsWith("d OK")), client.transcript());

  // New ones before the greeting; where TLS comes first, before the handshake.
  await using late = await connect({ port: door.ports.starttls, ...guesser });
  const words = await late.readToClose();
  assert.equal(words.length, 1, late.transcript());
  assert.match(words[0] ?? "", /^\* BYE /);
  await assert.rejects(connect({ port: door.ports.implicit, tls: door.trust, ...guesser }));
  assert.ok((await door.gateway.metric("postern_refusals_total", { kind: "banned" })) >= 3);

  await using other = await door.signedIn("alice@example.org", "right", { localAddress: "127.0.0.67" });
  await other.send("n NOOP");
  await other.expect("n OK ");
  assert.deepEqual(store.logins(), ["bob@example.org", "alice@example.org"]);
});

test("a limit is exact when everybody comes at once", async () => {
  const authority = await certificateAuthority();
  await using store = await startDovecot({ tls: "none", users: USERS });
  await using door = await openDoor({
    authority,
    backends: { store },
    users: USERS,
    config: policy({ name: "guesses", count: "authFailures", per: "ip", limit: "10/10m" }),
  });
  const answers = await Promise.all(
    Array.from({ length: 60 }, async (_, guess) => {
      await using client = await door.greetedInTls();
      await client.send(`a LOGIN alice@example.org wrong${guess}`);
      const reply = await client.expect("a NO ");
      return /\[(\w+)\]/.exec(reply)?.[1];
    }),
  );
  assert.equal(answers.filter((code) => code === "AUTHENTICATIONFAILED").length, 10);
  assert.equal(answers.filter((code) => code === "LIMIT").length, 50);
  assert.equal(await door.gateway.metric("postern_logins_total", { outcome: "badCredential" }), 10);
  await using client = await door.greetedInTls({ localAddress: "127.0.0.68" });
  await client.send("a LOGIN alice@example.org right");
  await client.expectUntil("a OK ");
});

test("an address has so many connections in a time, and so many at once", async () => {
  const authority = await certificateAuthority();
  await using store = await startDovecot({ tls: "none", users: USERS });
  await using door = await openDoor({
    authority,
    backends: { store },
    users: USERS,
    config: policy(
      { name: "connects", count: "connections", per: "ip", limit: "5/10m", match: { listener: "clear" } },
      { name: "at-once", count: "connections", per: "ip", limit: 2, match: { listener: "tls" } },
    ),
  });
  for (let n = 0; n < 5; n++) {
    await using client = await door.greeted();
    await client.send("z LOGOUT");
    await client.expectUntil("z OK ");
  }
  await using sixth = await connect({ port: door.ports.starttls });
  const said = await sixth.readToClose();
  assert.match(said.join("\n"), /^\* (BYE|NO \[LIMIT\]) /);

  await using one = await door.greetedInTls();
  await using _two = await door.greetedInTls();
  await assert.rejects(connect({ port: door.ports.implicit, tls: door.trust }));
  await one.send("z LOGOUT");
  await one.expectUntil("z OK ");
  await using again = await eventually("the seat to be free again", () =>
    door.greetedInTls().catch(() => undefined),
  );
  await again.send("n NOOP");
  await again.expect("n OK ");
});

test("in observe mode nobody is refused, and the metrics say who would have been", async () => {
  const authority = await certificateAuthority();
  await using store = await startDovecot({ tls: "none", users: USERS });
  await using door = await openDoor({
    authority,
    backends: { store },
    users: USERS,
    config: policy({ name: "open", count: "sessions", per: "user", limit: 1, mode: "observe" }),
  });
  await using _first = await door.signedIn("alice@example.org", "right");
  await using second = await door.signedIn("alice@example.org", "right");
  await second.send("n NOOP");
  await second.expect("n OK ");
  assert.equal(await door.gateway.metric("postern_limit_would_refuse_total", { limit: "open" }), 1);
});

test("a user keeps signing in from home while his name is guessed at from elsewhere", async () => {
  const authority = await certificateAuthority();
  await using store = await startDovecot({ tls: "none", users: USERS });
  await using door = await openDoor({
    authority,
    backends: { store },
    users: USERS,
    config: policy(
      { name: "attacked", count: "authFailures", per: "user", limit: "5/10m" },
      { name: "guesses", count: "authFailures", per: "ip", limit: "20/10m", then: { ban: "1h", upTo: "1d" } },
    ),
  });
  const home = { localAddress: "127.0.0.10" };
  const answer = async (user: string, password: string, from: { localAddress: string }) => {
    await using client = await door.greetedInTls(from);
    await client.send(`a LOGIN ${user} ${password}`);
    return /^a (OK|NO \[\w+\])/.exec((await client.expectUntil("a ")).at(-1) ?? "")?.[1];
  };
  assert.equal(await answer("alice@example.org", "right", home), "OK");
  // An unknown name is answered as a known one is, guess by guess.
  for (const user of ["alice@example.org", "nobody@example.org"]) {
    for (let guess = 0; guess < 5; guess += 1)
      assert.equal(
        await answer(user, `guess${guess}`, { localAddress: `127.0.0.${20 + guess}` }),
        "NO [AUTHENTICATIONFAILED]",
      );
    assert.equal(await answer(user, "guess5", { localAddress: "127.0.0.30" }), "NO [LIMIT]");
  }
  assert.equal(await answer("alice@example.org", "right", { localAddress: "127.0.0.31" }), "NO [LIMIT]");
  assert.equal(await answer("alice@example.org", "right", home), "OK");
  // A device with an old password harms nobody, however often it tries.
  for (let tries = 0; tries < 30; tries += 1)
    assert.equal(await answer("bob@example.org", "old", home), "NO [AUTHENTICATIONFAILED]");
  assert.equal(await answer("bob@example.org", "right", home), "OK");
  const reasons = door.gateway.log().map((line) => line["reason"]);
  assert.ok(reasons.includes("limit attacked: 5 of 5 in 10m for user=alice@example.org"), reasons.join("\n"));
});
