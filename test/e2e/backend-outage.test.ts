import assert from "node:assert/strict";
import { test } from "node:test";
import { type Authority, certificateAuthority } from "../support/certificates.ts";
import type { Conversation } from "../support/conversation.ts";
import { BACKEND_NAME, openDoor } from "../support/door.ts";
import { startDovecot } from "../support/dovecot.ts";
import { message, readMessage } from "../support/mail.ts";
import { freePort } from "../support/ports.ts";
import {
  type ScriptedBackend,
  type ScriptedBackendOptions,
  startScriptedBackend,
} from "../support/scripted-backend.ts";
import { eventually } from "../support/waiting.ts";

const USER = "alice@example.org";
const PASSWORD = "open sesame";

async function expectUnavailable(client: Conversation): Promise<void> {
  await client.send(`a LOGIN ${USER} "${PASSWORD}"`);
  await client.expect("a NO [UNAVAILABLE] ");
}

/** The client is not thrown out: it may ask, and try again. */
async function expectStillServed(client: Conversation): Promise<void> {
  await client.send("n NOOP");
  await client.expect("n OK ");
}

test("a dead backend is an outage, and the client keeps its session until it is back", async () => {
  const authority = await certificateAuthority();
  const certificate = await authority.issue([BACKEND_NAME]);
  await using store = await startDovecot({ tls: "starttls", certificate, users: { [USER]: PASSWORD } });
  await store.deliver(USER, message("still here"));
  await using door = await openDoor({
    authority,
    backends: { store },
    users: { [USER]: PASSWORD },
    config: { routes: [{ to: "store" }] },
  });
  await using early = await door.greetedInTls();
  await store.kill();
  await using late = await door.secured();
  for (const client of [early, late]) {
    await expectUnavailable(client);
    await expectStillServed(client);
  }
  // A wrong password is one even while the backend is away.
  await late.send(`a LOGIN ${USER} wrong`);
  await late.expect("a NO [AUTHENTICATIONFAILED] ");

  await store.restart();
  for (const client of [early, late]) {
    await client.send(`b LOGIN ${USER} "${PASSWORD}"`);
    await client.expectUntil("b OK ");
    assert.match((await readMessage(client)).toString(), /^Subject: still here\r$/m);
  }
  await early.send("z LOGOUT");
  await early.expectUntil("z OK ");
  const account = await door.gateway.account((record) => record.user === USER);
  assert.equal(account.outcome, "ok");
});

test("one backend's outage is none of the others", async () => {
  const authority = await certificateAuthority();
  const users = { "alice@example.org": "pw", "bob@example.org": "pw" };
  await using healthy = await startDovecot({ tls: "none", users });
  const dead = { host: "127.0.0.1", port: await freePort(), tls: "none" } as const;
  await using door = await openDoor({
    authority,
    backends: { healthy, dead },
    users,
    config: { routes: [{ match: { user: "alice@example.org" }, to: "dead" }, { to: "healthy" }] },
  });
  await using alice = await door.greetedInTls();
  await alice.send("a LOGIN alice@example.org pw");
  await alice.expect("a NO [UNAVAILABLE] ");
  await using bob = await door.signedIn("bob@example.org", "pw");
  await bob.send("s SELECT INBOX");
  await bob.expectUntil("s OK ");
  assert.deepEqual(healthy.logins(), ["bob@example.org"]);
});

type Acts = NonNullable<ScriptedBackendOptions["acts"]>;

const FAULTS: { what: string; acts: Acts }[] = [
  { what: "greets with BYE", acts: { greeting: { say: "* BYE overloaded\r\n", next: "close" } } },
  { what: "greets with PREAUTH", acts: { greeting: { say: "* PREAUTH come in\r\n" } } },
  { what: "greets with garbage", acts: { greeting: { say: "\0\xff\r\n220 mail ESMTP\r\n" } } },
  { what: "greets with 64 KiB and no end", acts: { greeting: { say: `* OK ${"x".repeat(65_536)}` } } },
  { what: "greets with a thousand lines", acts: { greeting: { say: `${"* NO wait\r\n".repeat(1000)}` } } },
  { what: "greets with nothing", acts: { greeting: "silence" } },
  { what: "closes at once", acts: { greeting: "close" } },
  { what: "resets at once", acts: { greeting: "reset" } },
  { what: "closes at the login", acts: { login: "close" } },
  { what: "resets at the login", acts: { login: "reset" } },
  { what: "closes in the middle of its answer", acts: { login: { say: "A O", next: "close" } } },
  { what: "says BYE at the login", acts: { login: { say: "* BYE no\r\n", next: "close" } } },
  { what: "says BAD to the login", acts: { login: { say: "{tag} BAD what\r\n" } } },
  { what: "answers another command than the one at hand", acts: { login: { say: "zzz OK welcome\r\n" } } },
  { what: "is in use", acts: { login: { say: "{tag} NO [INUSE] later\r\n" } } },
  { what: "is unavailable by its own word", acts: { login: { say: "{tag} NO [UNAVAILABLE] later\r\n" } } },
  {
    what: "answers the login without end",
    acts: { login: { say: `${"* OK still thinking\r\n".repeat(10_000)}` } },
  },
  {
    what: "goes at CAPABILITY",
    acts: { greeting: { say: "* OK hi\r\n" }, capability: "reset" },
  },
];

test("whatever a backend does instead of signing in, the client hears UNAVAILABLE and is still served", async (t) => {
  const authority = await certificateAuthority();
  await using stage = await setStage(
    authority,
    FAULTS.map(({ acts }) => acts),
  );
  for (const [n, { what }] of FAULTS.entries()) {
    await t.test(`a backend that ${what}`, async () => {
      await using client = await stage.door.greetedInTls();
      await client.send(`a LOGIN ${stage.user(n)} "${PASSWORD}"`);
      await client.expect("a NO [UNAVAILABLE] ");
      await expectStillServed(client);
      await client.send("z LOGOUT");
      await client.expectUntil("z OK ");
      await client.expectClosed();
      const account = await stage.door.gateway.account((record) => record.user === stage.user(n));
      assert.equal(account.outcome, "unavailable");
      assert.equal(account.backend, `backend${n}`);
    });
  }
  await t.test("each was counted, and no connection to a backend is left", async () => {
    await stage.door.gateway.metricIs("postern_refusals_total", FAULTS.length, { kind: "unavailable" });
    for (const backend of stage.backends) {
      await eventually("the backend to be left alone", () => backend.open === 0);
    }
  });
});

test("a backend's limit is a limit, and its odd but legal answers are no faults", async (t) => {
  const authority = await certificateAuthority();
  const cases = [
    {
      what: "a limit",
      acts: { login: { say: "{tag} NO [LIMIT] too many\r\n" } },
      reply: "a NO [LIMIT] ",
    },
    {
      what: "its refusal of the password",
      acts: { login: { say: "{tag} NO [AUTHENTICATIONFAILED] no\r\n" } },
      reply: "a NO [AUTHENTICATIONFAILED] ",
    },
    {
      what: "a refusal without a code",
      acts: { login: { say: "{tag} NO no\r\n" } },
      reply: "a NO [AUTHENTICATIONFAILED] ",
    },
    {
      what: "an OK without text",
      acts: { login: { say: "{tag} OK\r\n", next: "loggedIn" } },
      reply: "a OK ",
    },
    {
      what: "untagged lines before the OK",
      acts: {
        login: {
          say: "* OK [ALERT] disk\r\n* 3 EXISTS\r\n{tag} OK [CAPABILITY IMAP4rev1 X-ODD] in\r\n",
          next: "loggedIn",
        },
      },
      reply: /^a OK \[CAPABILITY [^\]]*X-ODD/,
    },
  ] as const;
  await using stage = await setStage(
    authority,
    cases.map(({ acts }) => acts),
  );
  for (const [n, { what, reply }] of cases.entries()) {
    await t.test(what, async () => {
      await using client = await stage.door.greetedInTls();
      await client.send(`a LOGIN ${stage.user(n)} "${PASSWORD}"`);
      const heard = (await client.expectUntil(/^a /)).at(-1) ?? "";
      assert.ok(typeof reply === "string" ? heard.startsWith(reply) : reply.test(heard), client.transcript());
      await client.send("n NOOP");
      await client.expectUntil("n OK ");
    });
  }
});

/** One door, and behind it one scripted backend a script, each with a user of its own. */
async function setStage(authority: Authority, scripts: readonly Acts[]) {
  await using held = new AsyncDisposableStack();
  const backends: ScriptedBackend[] = [];
  for (const acts of scripts) backends.push(held.use(await startScriptedBackend({ tls: "none", acts })));
  const user = (n: number) => `user${n}@example.org`;
  const door = held.use(
    await openDoor({
      authority,
      backends: Object.fromEntries(backends.map((backend, n) => [`backend${n}`, backend])),
      users: Object.fromEntries(
        backends.map((_, n) => [user(n), { password: PASSWORD, backend: `backend${n}` }]),
      ),
      config: { timeouts: { connect: "1s" } },
    }),
  );
  const kept = held.move();
  return { door, backends, user, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}
