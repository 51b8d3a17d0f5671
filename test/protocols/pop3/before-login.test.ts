import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ConfigSchema } from "../../../src/config/schema.ts";
import { pop3 } from "../../../src/protocols/pop3/index.ts";
import { Refused } from "../../../src/refusal.ts";
import type { Frontend } from "../../../src/session/session.ts";
import { listenTo, pipePair, settle } from "../../io/loopback.ts";
import { sessionOn } from "../../session/stub-session.ts";

const MD5 = "0123456789abcdef0123456789abcdef";

/**
 * What comes of bytes that arrive in these pieces: every credential that would be tried, what ends it, and what
 * the client hears.
 */
async function converse(pieces: readonly Buffer[], more: Partial<Frontend> = {}): Promise<string[]> {
  const { near, far } = pipePair();
  const session = sessionOn(near, {
    protocol: pop3,
    backendCapabilities: () => ["TOP", "UIDL"],
    ...more,
  });
  session.stamp = "<stamp>";
  const heard = listenTo(far);
  const seen: string[] = [];
  const reading = (async () => {
    try {
      for (;;) {
        const login = await pop3.readLogin(session);
        if (!login?.credential) return seen.push("left");
        const { authcid, password, ...rest } = login.credential;
        seen.push(JSON.stringify([authcid, password ?? rest]));
        await pop3.refuse(session, { kind: "badCredential", detail: "" }, login, false);
        session.countError();
      }
    } catch (error) {
      return seen.push(
        error instanceof Refused ? `ends: ${error.refusal.kind}` : `ends: ${(error as Error).name}`,
      );
    }
  })();
  for (const piece of pieces) {
    far.write(piece);
    await settle(1);
  }
  far.end();
  await reading;
  near.end();
  await heard.ended;
  return [...seen, heard.heard().toString()];
}

const said = (text: string, more?: Partial<Frontend>) => converse([Buffer.from(text, "latin1")], more);
const base64 = (text: string) => Buffer.from(text).toString("base64");

test("USER and PASS, with every space of the password", async () => {
  assert.deepEqual(await said("USER a\r\nPASS  b  c \r\nQUIT\r\n"), [
    '["a"," b  c "]',
    "left",
    "+OK Send PASS\r\n-ERR [AUTH] Authentication failed\r\n+OK Until next time\r\n",
  ]);
});

test("PASS needs its own USER, each time", async () => {
  const [first, ...rest] = await said("PASS x\r\nUSER a\r\nUSER b\r\nPASS x\r\nPASS x\r\nQUIT\r\n");
  assert.equal(first, '["b","x"]');
  assert.deepEqual(rest, [
    "left",
    "-ERR Not allowed now\r\n+OK Send PASS\r\n+OK Send PASS\r\n-ERR [AUTH] Authentication failed\r\n" +
      "-ERR Not allowed now\r\n+OK Until next time\r\n",
  ]);
});

test("AUTH with and without an initial response", async () => {
  const [plain, again, login, both] = await said(
    `AUTH PLAIN ${base64("\0a\0b")}\r\nauth plain\r\n${base64("\0c\0d")}\r\n` +
      `AUTH LOGIN\r\n${base64("e")}\r\n${base64("f")}\r\nAUTH LOGIN ${base64("g")}\r\n${base64("h")}\r\nQUIT\r\n`,
  );
  assert.deepEqual([plain, again, login, both], ['["a","b"]', '["c","d"]', '["e","f"]', '["g","h"]']);
});

test("AUTH alone lists the mechanisms; * takes an exchange back; unknown ones are refused", async () => {
  assert.deepEqual(await said("AUTH\r\nAUTH PLAIN\r\n*\r\nAUTH NTLM\r\nAUTH NTLM x\r\nQUIT\r\n"), [
    "left",
    "+OK Mechanisms follow\r\nPLAIN\r\nLOGIN\r\n.\r\n+ \r\n-ERR Authentication cancelled\r\n" +
      "-ERR SASL mechanism not offered\r\n-ERR SASL mechanism not offered\r\n+OK Until next time\r\n",
  ]);
});

test("APOP is a digest over the session's own stamp", async () => {
  const [credential] = await said(`APOP two words ${MD5}\r\n`);
  assert.deepEqual(JSON.parse(credential ?? ""), [
    "two words",
    { mechanism: "APOP", digest: { stamp: "<stamp>", md5: MD5 } },
  ]);
});

test("before TLS nothing that tells of a password is listened to, and nothing is asked for", async () => {
  const commands = [
    "USER a",
    "PASS b",
    `APOP a ${MD5}`,
    "AUTH PLAIN",
    `AUTH PLAIN ${base64("\0a\0b")}`,
    "AUTH NONE",
  ];
  const [ending, heard] = await said(`CAPA\r\n${commands.join("\r\n")}\r\nQUIT\r\n`, { requireTls: true });
  assert.equal(ending, "left");
  assert.equal(
    heard,
    "+OK Capability list follows\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nIMPLEMENTATION Postern\r\n.\r\n" +
      "-ERR Begin TLS before you send a password\r\n".repeat(commands.length) +
      "+OK Until next time\r\n",
  );
});

test("the commands of the TRANSACTION state are for later, a proxy's own for nobody; others are unknown", async () => {
  const later = ["STAT", "LIST", "RETR 1", "DELE 1", "NOOP", "RSET", "TOP 1 1", "UIDL"];
  assert.deepEqual(await said(`${later.join("\r\n")}\r\nQUIT\r\n`), [
    "left",
    `${"-ERR Sign in first\r\n".repeat(later.length)}+OK Until next time\r\n`,
  ]);
  assert.deepEqual(await said("XCLIENT ADDR=10.0.0.1\r\nXOIP 10.0.0.1\r\nQUIT\r\n"), [
    "left",
    "-ERR Not allowed now\r\n-ERR Not allowed now\r\n+OK Until next time\r\n",
  ]);
  assert.deepEqual(await said("CAPA x\r\nQUIT\r\n"), [
    "left",
    "-ERR Command not understood\r\n+OK Until next time\r\n",
  ]);
  assert.deepEqual(await said("GET / HTTP/1.1\r\n"), ["ends: notOurProtocol", ""]);
});

const line = fc
  .tuple(
    fc.constantFrom("USER", "PASS", "pass", "AUTH", "APOP", "CAPA", "QUIT", "NOOP", "STLS", "NONE", "", "\0"),
    fc.array(
      fc.oneof(
        fc.constantFrom("PLAIN", "LOGIN", "=", "*", "", "a", MD5, base64("\0a\0b"), base64("x")),
        fc.uint8Array({ maxLength: 6 }).map((some) => Buffer.from(some).toString("latin1")),
      ),
      { maxLength: 3 },
    ),
    fc.constantFrom("\r\n", "\r\n", "\r\n", "\n", "\r", ""),
  )
  .map(([name, words, end]) => `${[name, ...words].join(" ")}${end}`);
const stream = fc.array(line, { maxLength: 8 }).map((lines) => Buffer.from(lines.join(""), "latin1"));
const cutStream = stream.chain((whole) =>
  fc.tuple(
    fc.constant(whole),
    fc.oneof(
      fc.array(fc.nat(whole.length), { maxLength: 12 }),
      fc.constant(Array.from(whole, (_byte, index) => index)),
    ),
  ),
);

test("any cutting of the bytes gives the same credentials, refusals and words", async () => {
  await fc.assert(
    fc.asyncProperty(cutStream, fc.boolean(), async ([whole, places], requireTls) => {
      const sorted = [0, ...places.toSorted((a, b) => a - b), whole.length];
      const pieces = sorted.slice(1).map((end, index) => whole.subarray(sorted[index], end));
      assert.deepEqual(await converse(pieces, { requireTls }), await converse([whole], { requireTls }));
    }),
    { numRuns: 400 },
  );
});

test("no bytes end a session otherwise than by a refusal, its limits or its own end", async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (bytes) => {
      const ending = (await converse([Buffer.from(bytes)])).at(-2);
      assert.match(ending ?? "", /^(left|ends: (tooLong|ChannelClosed|tooManyErrors|notOurProtocol))$/);
    }),
    { numRuns: 300 },
  );
});

test("the idle time of RFC 1939 3 is the default", () => {
  assert.partialDeepStrictEqual(ConfigSchema.properties.timeouts.properties.pop3Idle, { default: "10m" });
  assert.equal(pop3.idleTimeout, "pop3Idle");
});
