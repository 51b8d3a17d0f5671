import assert from "node:assert/strict";
import { test } from "node:test";
import { type Refusal, Refused } from "../../src/refusal.ts";
import type { Conversation } from "../support/conversation.ts";
import { backendByHand, type Visit } from "../upstream/backend-by-hand.ts";
import { base64, type FrontDoorOptions, frontDoor, refusing } from "./front-door.ts";

const NAME = "alice@example.org";
const PASSWORD = 'pass "word" \\ {5}';
const USERS = { [NAME]: PASSWORD, "jürgen@example.org": "straße" };

/** Every way to offer a name and a password; each ends with the tagged reply still to come. */
const WAYS: Record<string, (client: Conversation, name: string, password: string) => Promise<void>> = {
  "LOGIN with quoted strings": (client, name, password) =>
    client.send(`a LOGIN ${quoted(name)} ${quoted(password)}`),
  "LOGIN with synchronising literals": async (client, name, password) => {
    await client.send(`a LOGIN {${Buffer.byteLength(name)}}`);
    await client.expect("+ ");
    await client.sendRaw(utf8(`${name} {${Buffer.byteLength(password)}}\r\n`));
    await client.expect("+ ");
    await client.sendRaw(utf8(`${password}\r\n`));
  },
  "LOGIN with non-synchronising literals in one segment": (client, name, password) =>
    client.sendRaw(
      utf8(
        `a LOGIN {${Buffer.byteLength(name)}+}\r\n${name} {${Buffer.byteLength(password)}+}\r\n${password}\r\n`,
      ),
    ),
  "LOGIN with a literal and a quoted string": (client, name, password) =>
    client.send(
      `a login {${Buffer.byteLength(name)}+}\r\n${utf8(name).toString("latin1")} ${quoted(password)}`,
    ),
  "AUTHENTICATE PLAIN": async (client, name, password) => {
    await client.send("a AUTHENTICATE PLAIN");
    await client.expect(/^\+ $/);
    await client.send(base64(`\0${name}\0${password}`));
  },
  "AUTHENTICATE PLAIN with its initial response": (client, name, password) =>
    client.send(`a authenticate plain ${base64(`\0${name}\0${password}`)}`),
  "AUTHENTICATE PLAIN with the own authzid": (client, name, password) =>
    client.send(`a AUTHENTICATE PLAIN ${base64(`${name}\0${name}\0${password}`)}`),
  "AUTHENTICATE LOGIN": async (client, name, password) => {
    await client.send("a AUTHENTICATE LOGIN");
    await client.expect(`+ ${base64("Username:")}`);
    await client.send(base64(name));
    await client.expect(`+ ${base64("Password:")}`);
    await client.send(base64(password));
  },
  "AUTHENTICATE LOGIN with its initial response": async (client, name, password) => {
    await client.send(`a AUTHENTICATE LOGIN ${base64(name)}`);
    await client.expect(`+ ${base64("Password:")}`);
    await client.send(base64(password));
  },
};

const utf8 = (text: string): Buffer => Buffer.from(text, "utf8");
const quoted = (text: string): string =>
  Buffer.from(`"${text.replace(/["\\]/g, "\\$&")}"`).toString("latin1");

async function greetsAndSignsIn(visit: Visit, name: string, password: string): Promise<void> {
  visit.say("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\n");
  await visit.hear(`A AUTHENTICATE PLAIN ${base64(`\0${name}\0${password}`)}`);
  visit.say("A OK [CAPABILITY IMAP4rev1 IDLE MOVE] in\r\n");
}

for (const [way, offer] of Object.entries(WAYS)) {
  for (const [name, password] of Object.entries(USERS)) {
    test(`${way} signs ${name} in`, async (t) => {
      const backend = await backendByHand(t);
      const door = await frontDoor(t, { users: USERS, backend });
      const client = await door.greeted();
      await offer(client, name, password);
      const visit = await backend.visit();
      await greetsAndSignsIn(visit, name, password);
      await client.expect("a OK [CAPABILITY IMAP4rev1 IDLE MOVE] ");
      await client.send("b SELECT INBOX");
      await visit.hear("b SELECT INBOX");
      visit.say("b OK selected\r\n");
      await client.expect("b OK selected");
    });
  }

  test(`${way} says the same for a wrong password as for an unknown user`, async (t) => {
    const door = await frontDoor(t, { users: USERS });
    const client = await door.greeted();
    await offer(client, NAME, "wrong");
    const wrong = await client.expect("a NO [AUTHENTICATIONFAILED] ");
    await offer(client, "nobody@example.org", PASSWORD);
    assert.equal(await client.expect("a NO"), wrong);
  });
}

test("OK is said only after the backend's own", async (t) => {
  const backend = await backendByHand(t);
  const door = await frontDoor(t, { backend });
  const client = await door.greeted();
  await client.send("a LOGIN alice secret");
  const visit = await backend.visit();
  visit.say("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\n");
  await visit.hear(/^A AUTHENTICATE/);
  visit.say("* 3 EXISTS\r\n* OK still here\r\n");
  assert.equal(client.transcript().includes("a OK"), false);
  visit.reset();
  await client.expect("a NO [UNAVAILABLE] ");
});

test("commands behind LOGIN reach the backend only after its OK, and in one piece", async (t) => {
  const backend = await backendByHand(t);
  const door = await frontDoor(t, { backend });
  const client = await door.greeted();
  await client.sendRaw("a LOGIN alice secret\r\nb SELECT INBOX\r\nc FETCH 1 {3+}\r\nabc\r\n");
  const visit = await backend.visit();
  visit.say("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\n");
  await visit.hear(/^A AUTHENTICATE/);
  assert.equal(visit.everything.includes("SELECT"), false);
  visit.say("A OK [CAPABILITY IMAP4rev1] in\r\n");
  await visit.hear("b SELECT INBOX");
  await visit.hear("c FETCH 1 {3+}");
  await visit.hear("abc");
  visit.say("b OK\r\nc OK\r\n");
  await client.expect("a OK");
  await client.expect("b OK");
  await client.expect("c OK");
});

test("commands behind a LOGIN that fails are answered here, and no backend hears of them", async (t) => {
  const backend = await backendByHand(t);
  const door = await frontDoor(t, { backend });
  const client = await door.greeted();
  await client.sendRaw("a LOGIN alice wrong\r\nb SELECT INBOX\r\nc NOOP\r\n");
  await client.expect("a NO [AUTHENTICATIONFAILED] ");
  await client.expect("b BAD ");
  await client.expect("c OK ");
  assert.equal(backend.visits, 0);
});

test("words of the backend behind its OK reach the client behind ours", async (t) => {
  const backend = await backendByHand(t);
  const door = await frontDoor(t, { backend });
  const client = await door.greeted();
  await client.send("a LOGIN alice secret");
  const visit = await backend.visit();
  visit.say("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\n");
  await visit.hear(/^A AUTHENTICATE/);
  visit.say("A OK [CAPABILITY IMAP4rev1] in\r\n* 7 EXISTS\r\n* half");
  await client.expect("a OK ");
  await client.expect("* 7 EXISTS");
  visit.say(" a line\r\n");
  await client.expect("* half a line");
});

test("a client that says everything and FIN at once still gets its answers, and the backend its FIN", async (t) => {
  const backend = await backendByHand(t);
  const door = await frontDoor(t, { backend });
  const client = await door.greeted();
  await client.sendRaw("a LOGIN alice secret\r\nb LOGOUT\r\n");
  client.end();
  const visit = await backend.signedIn();
  await visit.hear("b LOGOUT");
  await visit.hearsEnd();
  visit.say("* BYE\r\nb OK\r\n");
  visit.end();
  await client.expect("a OK");
  await client.expect("* BYE");
  await client.expect("b OK");
  await client.expectClosed();
  await door.closed(1);
});

test("a client that leaves during its login leaves no backend connection behind", async (t) => {
  const backend = await backendByHand(t);
  const door = await frontDoor(t, { backend });
  const client = await door.greeted();
  await client.send("a LOGIN alice secret");
  const visit = await backend.visit();
  client.vanish();
  await visit.hearsEnd();
  const [record] = await door.closed(1);
  assert.equal(record?.["outcome"], "none");
});

/** Why a login may be refused before a backend is asked: what throws it, and what the client hears. */
const NOES: Record<
  string,
  { readonly door: FrontDoorOptions; readonly hears: string; readonly kind: Refusal["kind"] }
> = {
  "a disabled account": {
    door: { authenticate: refusing("notAllowed") },
    hears: "NO [AUTHORIZATIONFAILED] ",
    kind: "notAllowed",
  },
  "a source of users that is down": {
    door: { authenticate: refusing("unavailable") },
    hears: "NO [UNAVAILABLE] ",
    kind: "unavailable",
  },
  "a user without a route": {
    door: { routes: [{ match: { domain: ["elsewhere"] }, to: "north" }] },
    hears: "NO [AUTHORIZATIONFAILED] ",
    kind: "noRoute",
  },
  "a backend that is not there": { door: {}, hears: "NO [UNAVAILABLE] ", kind: "unavailable" },
  "too many sessions": {
    door: {
      policy: {
        login: async () => {
          throw new Refused("tooManySessions", "full");
        },
      },
    },
    hears: "NO [LIMIT] ",
    kind: "tooManySessions",
  },
  "too many tries": {
    door: {
      policy: {
        attempt: async () => {
          throw new Refused("tooFast", "slow down");
        },
      },
    },
    hears: "NO [LIMIT] ",
    kind: "tooFast",
  },
};

for (const [why, { door: options, hears, kind }] of Object.entries(NOES)) {
  test(`${why} is told so, and the client may try again`, async (t) => {
    const door = await frontDoor(t, options);
    const client = await door.greeted();
    for (const tag of ["a", "b"]) {
      await client.send(`${tag} LOGIN alice secret`);
      await client.expect(`${tag} ${hears}`);
    }
    await client.send("c LOGOUT");
    await client.expectUntil("c OK");
    assert.deepEqual(door.refusals(), [kind, kind]);
    const [record] = await door.closed(1);
    assert.equal(record?.["outcome"], kind);
    assert.match(
      await door.metrics(),
      new RegExp(`postern_logins_total{listener="imap-143",outcome="${kind}"} 2\n`),
    );
  });
}

test("a banned peer hears BYE, and is gone", async (t) => {
  const door = await frontDoor(t, { authenticate: refusing("banned") });
  const client = await door.greeted();
  await client.send("a LOGIN alice secret");
  await client.expect("* BYE ");
  await client.expectClosed();
});

test("the guess that is one too many is answered as a guess; the next one finds the door closed", async (t) => {
  const door = await frontDoor(t, {
    limits: [
      {
        name: "guesses",
        count: "authFailures",
        per: ["ip"],
        limit: { points: 2, windowMs: 60_000 },
        match: {},
        then: { ban: 60_000 },
      },
    ],
  });
  const client = await door.greeted();
  await client.send("a LOGIN alice wrong");
  await client.expect("a NO [AUTHENTICATIONFAILED] ");
  // The same again is no new guess.
  await client.send("b LOGIN alice wrong");
  await client.expect("b NO [AUTHENTICATIONFAILED] ");
  await client.send("c LOGIN alice another");
  await client.expect("c NO [AUTHENTICATIONFAILED] ");
  await client.send("d LOGIN alice secret");
  await client.expect("* BYE ");
  await client.expectClosed();
  const again = await door.connect();
  await again.expect("* BYE ");
  await again.expectClosed();
});

for (const kind of ["tooFast", "tooManySessions", "banned", "unavailable"] as const) {
  test(`a peer that is refused at the door (${kind}) is greeted with BYE alone: RFC 9051 7.1 knows no other greeting`, async (t) => {
    const door = await frontDoor(t, {
      policy: {
        connection: async () => {
          throw new Refused(kind, "not now");
        },
      },
    });
    const client = await door.connect();
    await client.expect("* BYE ");
    await client.expectClosed();
  });
}

test("every connection takes its seat and gives it back", async (t) => {
  const door = await frontDoor(t, {
    limits: [
      { name: "at-once", count: "connections", per: ["ip"], limit: { points: 2 }, match: {}, then: "refuse" },
    ],
  });
  const first = await door.greeted();
  await door.greeted();
  assert.equal(door.policy.seats, 2);
  const third = await door.connect();
  await third.readToClose();
  await first.send("a LOGOUT");
  await first.readToClose();
  await door.closed(2);
  await door.greeted();
});

test("a session's seat is the user's until the relay ends", async (t) => {
  const backend = await backendByHand(t);
  const door = await frontDoor(t, {
    backend,
    limits: [
      { name: "open", count: "sessions", per: ["user"], limit: { points: 1 }, match: {}, then: "refuse" },
    ],
  });
  const first = await door.greeted();
  await first.send("a LOGIN alice secret");
  const visit = await backend.signedIn();
  await first.expect("a OK");
  const second = await door.greeted();
  await second.send("a LOGIN alice secret");
  await second.expect("a NO [LIMIT] ");
  visit.end();
  await first.expectClosed();
  await door.closed(1);
  await second.send("b LOGIN alice secret");
  await backend.signedIn();
  await second.expect("b OK");
});

test("a seat taken for a login is given back when the backend then fails", async (t) => {
  const door = await frontDoor(t, {
    limits: [
      { name: "open", count: "sessions", per: ["user"], limit: { points: 1 }, match: {}, then: "refuse" },
    ],
  });
  const client = await door.greeted();
  for (const tag of ["a", "b", "c"]) {
    await client.send(`${tag} LOGIN alice secret`);
    await client.expect(`${tag} NO [UNAVAILABLE] `);
    assert.equal(door.policy.seats, 0);
  }
});

test("a backend that offers nothing after login gives no empty code", async (t) => {
  const backend = await backendByHand(t);
  const door = await frontDoor(t, { backend });
  const client = await door.greeted();
  await client.send("a LOGIN alice secret");
  const visit = await backend.visit();
  visit.say("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\n");
  await visit.hear(/^A AUTHENTICATE/);
  visit.say("A OK in\r\n");
  await visit.hear("C CAPABILITY");
  visit.say("C OK\r\n");
  assert.doesNotMatch(await client.expect("a OK"), /\[CAPABILITY\s*\]/);
});

test("the next greeting names what the backend offers, less what is ours", async (t) => {
  const backend = await backendByHand(t);
  const door = await frontDoor(t, { backend });
  const first = await door.greeted();
  await first.send("a LOGIN alice secret");
  await backend.signedIn("IMAP4rev1 X-NEW LOGIN-REFERRALS AUTH=GSSAPI");
  await first.expect("a OK");
  const second = await door.connect();
  const greeting = await second.expect("* OK [CAPABILITY IMAP4rev1 ");
  assert.match(greeting, / X-NEW /);
  assert.doesNotMatch(greeting, /REFERRALS|GSSAPI/);
});
