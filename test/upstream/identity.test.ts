import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { imap } from "../../src/protocols/imap/index.ts";
import { pop3 } from "../../src/protocols/pop3/index.ts";
import { sieve } from "../../src/protocols/sieve/index.ts";
import { submission } from "../../src/protocols/smtp/index.ts";
import { Refused } from "../../src/refusal.ts";
import type { ClientFacts, Protocol, SignIn } from "../../src/session/protocol.ts";
import type { UpstreamConnection } from "../../src/upstream/connection.ts";
import { endpointConnector } from "../../src/upstream/connector.ts";
import { type IdentityMode, Introduction } from "../../src/upstream/identity.ts";
import { type Learning, startLearning } from "../../src/upstream/learning.ts";
import { eventually } from "../support/waiting.ts";
import { backendByHand, type Visit } from "./backend-by-hand.ts";

const CLIENT: ClientFacts = {
  address: "192.0.2.7",
  port: 4711,
  local: { address: "192.0.2.1", port: 143 },
  session: "s1",
  hello: { name: "client.example.org", extended: true },
};
const OWN: SignIn = { authcid: "alice", password: "secret", own: true };
const PROTOCOLS: Readonly<Record<string, Protocol>> = { imap, pop3, sieve, submission, lmtp: submission };
const V1 = "PROXY TCP4 192.0.2.7 192.0.2.1 4711 143";
/** A PROXY header, version 2, of our own: LOCAL, and its checksum. */
const LOCAL = Buffer.from("0d0a0d0a000d0a515549540a20000007", "hex").toString("latin1");

interface Scene {
  readonly introduction: Introduction;
  /** The next connection. */
  visit(): Promise<Visit>;
  /** Opens a connection for the client; what comes of it is `opened`. */
  come(client?: Partial<ClientFacts>): Promise<{
    visit: Visit;
    upstream: UpstreamConnection;
    opened: Promise<readonly string[]>;
  }>;
  learn(): Learning;
}

async function scene(
  t: TestContext,
  name: string,
  mode: IdentityMode,
  more: { helo?: "client" } = {},
): Promise<Scene> {
  const backend = await backendByHand(t);
  const protocol = PROTOCOLS[name] ?? imap;
  const introduction = new Introduction(mode);
  const endpoint = {
    backend: "north",
    protocol: name,
    host: "127.0.0.1",
    port: backend.port,
    tls: "none",
    trust: {},
    ourName: "door.example.org",
    introduction,
    ...more,
  } as const;
  const connect = endpointConnector({ ...endpoint, host: "localhost" }, 2_000, () => {});
  const { signal } = new AbortController();
  return {
    introduction,
    visit: () => backend.visit(),
    async come(client = {}) {
      const upstream = await connect({ signal, conversationMs: 2_000, client: { ...CLIENT, ...client } });
      t.after(() => upstream[Symbol.asyncDispose]());
      const opened = upstream.open(() => protocol.openUpstream(upstream));
      opened.catch(() => {});
      void opened.then(
        (offers) => upstream.learned(offers),
        () => {},
      );
      return { visit: await backend.visit(), upstream, opened };
    },
    learn() {
      const learning = startLearning([{ name, protocol, connect, introduction }], () => {});
      t.after(() => learning.stop());
      return learning;
    },
  };
}

async function refusalOf(promise: Promise<unknown>) {
  const error = await promise.then(
    () => assert.fail("not refused"),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof Refused, String(error));
  return error.refusal;
}

const ehlo = (visit: Visit, ...lines: string[]) =>
  visit.say(
    ["north", ...lines].map((text, at, all) => `250${at < all.length - 1 ? "-" : " "}${text}\r\n`).join(""),
  );

test("a PROXY header goes before everything, as told, and then the protocol alone", async (t) => {
  await t.test("version 1", async (t) => {
    const { visit, opened } = await (await scene(t, "imap", "proxy-v1")).come();
    await visit.hear(V1);
    visit.say("* OK [CAPABILITY IMAP4rev1 ID AUTH=PLAIN SASL-IR] hi\r\n");
    await opened;
  });
  await t.test("version 2, and no ID behind it", async (t) => {
    const { visit, upstream, opened } = await (await scene(t, "imap", "proxy-v2")).come();
    const head = await visit.hearBytes(16);
    assert.equal(Buffer.from(head, "latin1").toString("hex").slice(0, 28), "0d0a0d0a000d0a515549540a2111");
    await visit.hearBytes(head.charCodeAt(14) * 256 + head.charCodeAt(15));
    visit.say("* OK [CAPABILITY IMAP4rev1 ID AUTH=PLAIN SASL-IR] hi\r\n");
    await opened;
    const login = {
      tag: "a",
      credential: { mechanism: "PLAIN", authcid: "alice", password: "secret" },
    } as const;
    void upstream.converse(() => imap.loginUpstream(upstream, OWN, login)).catch(() => {});
    await visit.hear(/^A AUTHENTICATE PLAIN /);
  });
});

test("ID: once, before the login, only where it is offered, with what the client says of itself", async (t) => {
  const login = {
    tag: "a",
    credential: { mechanism: "PLAIN", authcid: "alice", password: "secret" },
    fields: [["name", "Mutt"]],
  } as const;
  await t.test("offered", async (t) => {
    const { visit, upstream, opened } = await (await scene(t, "imap", "auto")).come();
    visit.say("* OK [CAPABILITY IMAP4rev1 ID AUTH=PLAIN SASL-IR] hi\r\n");
    await opened;
    void upstream.converse(() => imap.loginUpstream(upstream, OWN, login)).catch(() => {});
    await visit.hear(/^I ID \("x-originating-ip" "192\.0\.2\.7" .* "name" "Mutt"\)$/);
    visit.say('* ID ("name" "North")\r\nI OK done\r\n');
    await visit.hear(/^A AUTHENTICATE PLAIN /);
  });
  await t.test("not offered: told as `id` nobody goes on without", async (t) => {
    const { visit, upstream, opened } = await (await scene(t, "imap", "id")).come();
    visit.say("* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\r\n");
    assert.equal((await refusalOf(opened)).kind, "unavailable");
    await upstream[Symbol.asyncDispose]();
    await visit.hearsEnd();
  });
  await t.test("refused", async (t) => {
    const { visit, upstream, opened } = await (await scene(t, "imap", "id")).come();
    visit.say("* OK [CAPABILITY IMAP4rev1 ID AUTH=PLAIN SASL-IR] hi\r\n");
    await opened;
    const signedIn = upstream.converse(() => imap.loginUpstream(upstream, OWN, login));
    await visit.hear(/^I ID /);
    visit.say("I BAD what\r\n");
    assert.equal((await refusalOf(signedIn)).kind, "unavailable");
    await upstream[Symbol.asyncDispose]();
    await visit.hearsEnd();
  });
});

test("XCLIENT in SMTP: what is offered, and EHLO again, as the client", async (t) => {
  const { visit, opened } = await (await scene(t, "submission", "auto")).come({ login: "a+b=c d" });
  visit.say("220 north\r\n");
  await visit.hear("EHLO door.example.org");
  ehlo(visit, "XCLIENT ADDR PORT LOGIN", "SIZE 1");
  await visit.hear("XCLIENT PORT=4711 LOGIN=a+2Bb+3Dc+20d ADDR=192.0.2.7");
  visit.say("220 north\r\n");
  await visit.hear("EHLO client.example.org");
  ehlo(visit, "SIZE 2");
  assert.deepEqual(await opened, ["SIZE 2"]);
});

test("XCLIENT in several lines, each of them answered", async (t) => {
  const hello = { name: "h".repeat(255), extended: true };
  const { visit, opened } = await (await scene(t, "lmtp", "auto")).come({ hello, login: "l".repeat(250) });
  visit.say("220 north\r\n");
  await visit.hear("LHLO door.example.org");
  ehlo(visit, "XCLIENT HELO LOGIN ADDR");
  await visit.hear(`XCLIENT HELO=${hello.name}`);
  visit.say("220 north\r\n");
  await visit.hear(/^XCLIENT LOGIN=l+ ADDR=192\.0\.2\.7$/);
  visit.say("220 north\r\n");
  await visit.hear(/^LHLO h+$/);
  ehlo(visit, "SIZE 2");
  await opened;
});

test("a refusal at XCLIENT is the client's own, but for what it says of us", async (t) => {
  for (const [said, kind, verbatim] of [
    ["554-5.7.1 go\r\n554 5.7.1 away\x80\r\n", "notAllowed", "554-5.7.1 go\r\n554 5.7.1 away?\r\n"],
    ["450 4.7.1 later\r\n", "unavailable", "450 4.7.1 later\r\n"],
    ["421 4.3.2 bye\r\n", "unavailable", undefined],
    ["501 5.5.4 what\r\n", "unavailable", undefined],
    ["250 ok\r\n", "unavailable", undefined],
  ] as const)
    await t.test(said.slice(0, 9), async (t) => {
      const { visit, opened } = await (await scene(t, "submission", "auto")).come();
      visit.say("220 north\r\n");
      await visit.hear(/^EHLO /);
      ehlo(visit, "XCLIENT ADDR");
      await visit.hear("XCLIENT ADDR=192.0.2.7");
      visit.say(said);
      const refusal = await refusalOf(opened);
      assert.equal(refusal.kind, kind);
      assert.equal(refusal.verbatim, verbatim);
    });
});

test("POP3 and ManageSieve: XCLIENT where it is offered", async (t) => {
  await t.test("POP3", async (t) => {
    const { visit, opened } = await (await scene(t, "pop3", "auto")).come();
    visit.say("+OK [XCLIENT] hi\r\n");
    await visit.hear(
      "XCLIENT ADDR=192.0.2.7 PORT=4711 DESTADDR=192.0.2.1 DESTPORT=143 SESSION=s1 TTL=6 CLIENT-TRANSPORT=insecure",
    );
    visit.say("+OK Updated\r\n");
    await visit.hear("CAPA");
    visit.say("+OK\r\nUSER\r\n.\r\n");
    assert.deepEqual(await opened, ["USER"]);
  });
  await t.test("POP3 that does not take it", async (t) => {
    const { visit, opened } = await (await scene(t, "pop3", "auto")).come();
    visit.say("+OK [XCLIENT] hi\r\n");
    await visit.hear(/^XCLIENT /);
    visit.say("-ERR You are not from trusted IP\r\n");
    assert.equal((await refusalOf(opened)).kind, "unavailable");
  });
  await t.test("POP3 that does not offer it", async (t) => {
    const { visit, upstream, opened } = await (await scene(t, "pop3", "xclient")).come();
    visit.say("+OK hi\r\n");
    assert.equal((await refusalOf(opened)).kind, "unavailable");
    await upstream[Symbol.asyncDispose]();
    await visit.hearsEnd();
  });
  await t.test("ManageSieve", async (t) => {
    const { visit, opened } = await (await scene(t, "sieve", "auto")).come();
    visit.say('"SASL" "PLAIN"\r\n"XCLIENT"\r\nOK\r\n');
    await visit.hear("XCLIENT ADDR=192.0.2.7 PORT=4711 SESSION=s1 TTL=6 CLIENT-TRANSPORT=insecure");
    visit.say('OK "Updated"\r\n');
    await opened;
  });
});

test("nothing is told where nothing is to be told, or nothing is offered", async (t) => {
  for (const [mode, offers] of [
    ["none", ["XCLIENT ADDR"]],
    ["auto", ["SIZE 1"]],
  ] as const)
    await t.test(mode, async (t) => {
      const { visit, opened } = await (await scene(t, "submission", mode)).come();
      visit.say("220 north\r\n");
      await visit.hear("EHLO door.example.org");
      ehlo(visit, ...offers);
      await opened;
    });
});

test("the client's EHLO name, where a backend is to hear it; one that cannot be said again is ours", async (t) => {
  for (const [name, said] of [
    ["client.example.org", "client.example.org"],
    ["bücher.example", "door.example.org"],
    ["a b", "door.example.org"],
  ] as const)
    await t.test(name, async (t) => {
      const client = { hello: { name, extended: true } };
      const { visit, opened } = await (await scene(t, "submission", "none", { helo: "client" })).come(client);
      visit.say("220 north\r\n");
      await visit.hear(`EHLO ${said}`);
      ehlo(visit, "SIZE 1");
      await opened;
    });
});

test("learning tries XCLIENT with our own address; what is refused us is not tried for clients", async (t) => {
  const { visit, come, learn, introduction } = await scene(t, "pop3", "auto");
  const learning = learn();
  const asked = await visit();
  asked.say("+OK [XCLIENT] hi\r\n");
  await asked.hear(/^XCLIENT ADDR=(?:127\.0\.0\.1|::1) PORT=\d+ /);
  asked.say("-ERR no\r\n");
  await asked.hear("CAPA");
  asked.say("+OK\r\nUSER\r\n.\r\n");
  await learning.firstRound;
  assert.deepEqual(introduction.outcome, { by: undefined, whyNot: "it refused XCLIENT" });
  const session = await come();
  session.visit.say("+OK [XCLIENT] hi\r\n");
  await session.visit.hear("CAPA");
});

test("learning finds out which header a silent backend waits for, and remembers it", async (t) => {
  await t.test("version 2", async (t) => {
    const { visit, come, learn, introduction } = await scene(t, "pop3", "auto");
    const learning = learn();
    (await visit()).end();
    const second = await visit();
    assert.equal(await second.hearBytes(16), LOCAL);
    await second.hearBytes(7);
    second.say("+OK hi\r\n");
    await second.hear("CAPA");
    second.say("+OK\r\nUSER\r\n.\r\n");
    await learning.firstRound;
    assert.equal(introduction.header, "proxy-v2");
    const session = await come();
    const head = await session.visit.hearBytes(16);
    assert.equal(head.charCodeAt(12), 0x21);
  });
  await t.test("version 1, which is certain only when there is silence without it once more", async (t) => {
    const { visit, learn, introduction } = await scene(t, "pop3", "auto");
    const learning = learn();
    (await visit()).end();
    (await visit()).end();
    const third = await visit();
    await third.hear(/^PROXY TCP[46] /);
    third.say("+OK hi\r\n");
    await third.hear("CAPA");
    third.say("+OK\r\nUSER\r\n.\r\n");
    (await visit()).end();
    await learning.firstRound;
    assert.equal(introduction.header, "proxy-v1");
  });
  await t.test("a server that was only slow is not taken for one that wants it", async (t) => {
    const { visit, learn, introduction } = await scene(t, "pop3", "auto");
    const learning = learn();
    (await visit()).end();
    (await visit()).end();
    const third = await visit();
    await third.hear(/^PROXY /);
    third.say("+OK hi\r\n");
    await third.hear("CAPA");
    // To PROXY, and taken for the answer to CAPA.
    third.say("-ERR unknown command\r\n");
    const fourth = await visit();
    fourth.say("+OK hi\r\n");
    await fourth.hear("CAPA");
    fourth.say("+OK\r\n.\r\n");
    await learning.firstRound;
    assert.notEqual(introduction.header, "proxy-v1");
  });
  await t.test("a backend that greets never sees a header, whatever else is wrong with it", async (t) => {
    const { visit, learn, introduction } = await scene(t, "pop3", "auto");
    const learning = learn();
    const only = await visit();
    only.say("-ERR [SYS/TEMP] not now\r\n");
    await learning.firstRound;
    await only.hearsEnd();
    assert.equal(introduction.header, undefined);
  });
});

test("what was learned and fails is learned again", async (t) => {
  const { visit, come, learn, introduction } = await scene(t, "pop3", "auto");
  const learning = learn();
  const first = await visit();
  first.say("+OK hi\r\n");
  await first.hear("CAPA");
  first.say("+OK\r\nUSER\r\n.\r\n");
  await learning.firstRound;
  assert.equal(introduction.header, "none");

  const session = await come();
  session.visit.end();
  assert.equal((await refusalOf(session.opened)).kind, "unavailable");
  // Without a header as before, and again as the first of a search; then with one.
  (await visit()).end();
  (await visit()).end();
  const found = await visit();
  assert.equal(await found.hearBytes(16), LOCAL);
  await found.hearBytes(7);
  found.say("+OK hi\r\n");
  await found.hear("CAPA");
  found.say("+OK\r\nUSER\r\n.\r\n");
  await eventually("the header to be known", () => introduction.header === "proxy-v2");
  const next = await come();
  assert.equal((await next.visit.hearBytes(16)).charCodeAt(12), 0x21);
});

test("who comes before it is known waits for it, but no longer than for a backend", async (t) => {
  const { visit, come, learn } = await scene(t, "pop3", "auto");
  const learning = learn();
  const first = await visit();
  let came = false;
  const session = come().then((arrived) => {
    came = true;
    return arrived;
  });
  first.end();
  const second = await visit();
  assert.equal(await second.hearBytes(16), LOCAL);
  await second.hearBytes(7);
  assert.equal(came, false);
  second.say("+OK hi\r\n");
  await second.hear("CAPA");
  second.say("+OK\r\nUSER\r\n.\r\n");
  await learning.firstRound;
  assert.equal((await (await session).visit.hearBytes(16)).charCodeAt(12), 0x21);
});
