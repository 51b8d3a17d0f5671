import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Refusal } from "../../src/refusal.ts";
import type { Credential } from "../../src/sasl/credential.ts";
import { runExchange } from "../../src/sasl/exchange.ts";
import { plainResponse } from "../../src/sasl/plain.ts";

const OFFERED = ["PLAIN", "LOGIN"];
const base64 = (text: string | Buffer) => Buffer.from(text as string, "utf8").toString("base64");
const bytes64 = (bytes: Buffer) => bytes.toString("base64");

/** Any letter of Unicode. */
const letter = fc
  .nat(0x10ffff)
  .filter((code) => code < 0xd800 || code > 0xdfff)
  .map((code) => String.fromCodePoint(code));

const hasControls = (text: string): boolean => [...text].some((sign) => sign < " " || sign === "\x7f");

/** An exchange whose client gives these lines; returns what came of it and the challenges, decoded. */
async function exchange(
  name: string,
  initial: string | undefined,
  lines: readonly string[] = [],
): Promise<{ outcome: Credential | Refusal; challenges: string[] }> {
  const challenges: string[] = [];
  const left = [...lines];
  const outcome = await runExchange(OFFERED, name, initial, async (challenge) => {
    challenges.push(Buffer.from(challenge, "base64").toString());
    const line = left.shift();
    assert.ok(line !== undefined, "asked for more than the client has to say");
    return line;
  });
  assert.deepEqual(left, [], "and not for less");
  return { outcome, challenges };
}

const kindOf = async (name: string, initial: string | undefined, lines?: string[]) => {
  const { outcome } = await exchange(name, initial, lines);
  return "kind" in outcome ? outcome.kind : "credential";
};

test("PLAIN asks with an empty challenge, or takes the initial response", async () => {
  const response = base64("\0alice@example.org\0open sesame");
  const credential = { mechanism: "PLAIN", authcid: "alice@example.org", password: "open sesame" };
  assert.deepEqual(await exchange("PLAIN", response), { outcome: credential, challenges: [] });
  assert.deepEqual(await exchange("PLAIN", undefined, [response]), { outcome: credential, challenges: [""] });
});

test("LOGIN asks for the name, then for the password", async () => {
  const credential = { mechanism: "LOGIN", authcid: "alice", password: "pässword" };
  const name = base64("alice");
  const password = base64("pässword");
  assert.deepEqual(await exchange("LOGIN", undefined, [name, password]), {
    outcome: credential,
    challenges: ["Username:", "Password:"],
  });
  assert.deepEqual(await exchange("LOGIN", name, [password]), {
    outcome: credential,
    challenges: ["Password:"],
  });
});

test("LOGIN takes an empty name for a name, not for a missing one", async () => {
  assert.equal(await kindOf("LOGIN", "=", [base64("pw")]), "syntax");
  assert.equal(await kindOf("LOGIN", undefined, ["", base64("pw")]), "syntax");
});

test("PLAIN's authzid is kept apart from its authcid", async () => {
  const { outcome } = await exchange("PLAIN", base64("bob\0alice\0pw"));
  assert.deepEqual(outcome, { mechanism: "PLAIN", authcid: "alice", authzid: "bob", password: "pw" });
});

for (const [why, response] of Object.entries({
  "no NUL": "alice",
  "one NUL": "alice\0pw",
  "three NULs": "\0alice\0p\0w",
  "an empty authcid": "\0\0pw",
  nothing: "",
})) {
  test(`PLAIN with ${why} is malformed`, async () => {
    assert.equal(await kindOf("PLAIN", base64(response) || "="), "syntax");
    assert.equal(await kindOf("PLAIN", undefined, [base64(response)]), "syntax");
  });
}

test("the initial response = is an empty one", async () => {
  assert.equal(await kindOf("PLAIN", "="), "syntax");
});

for (const [why, name, password] of [
  ["a CRLF in the name", "bob\r\nAuth-Status: OK", "pw"],
  ["a LF in the password", "bob", "p\nw"],
  ["a TAB in the name", "b\tob", "pw"],
  ["a DEL in the name", "b\x7fob", "pw"],
  ["a name of 300 bytes", "b".repeat(300), "pw"],
  ["a name of 256 bytes in 128 letters", "é".repeat(128), "pw"],
  ["a password of 2 KiB", "bob", "p".repeat(2048)],
] as const) {
  test(`${why} is nobody's, by every mechanism`, async () => {
    assert.equal(await kindOf("PLAIN", base64(`\0${name}\0${password}`)), "badCredential");
    assert.equal(await kindOf("LOGIN", base64(name), [base64(password)]), "badCredential");
  });
}

test("a NUL inside LOGIN's name or password is nobody's", async () => {
  assert.equal(await kindOf("LOGIN", base64("bob\0admin"), [base64("pw")]), "badCredential");
  assert.equal(await kindOf("LOGIN", base64("bob"), [base64("p\0w")]), "badCredential");
});

test("control bytes in an authzid are nobody's", async () => {
  assert.equal(await kindOf("PLAIN", base64("bo\nb\0alice\0pw")), "badCredential");
  assert.equal(await kindOf("PLAIN", base64(`${"b".repeat(256)}\0alice\0pw`)), "badCredential");
});

test("a name that is not UTF-8 is nobody's", async () => {
  const broken = Buffer.from([0x61, 0xff, 0xfe]);
  assert.equal(
    await kindOf("PLAIN", bytes64(Buffer.concat([Buffer.of(0), broken, Buffer.from("\0pw")]))),
    "badCredential",
  );
  assert.equal(await kindOf("LOGIN", bytes64(broken), [base64("pw")]), "badCredential");
  assert.equal(await kindOf("LOGIN", base64("bob"), [bytes64(broken)]), "badCredential");
});

test("a name and a password of the longest allowed lengths are taken", async () => {
  assert.equal(await kindOf("PLAIN", base64(`\0${"b".repeat(255)}\0${"p".repeat(1024)}`)), "credential");
});

test("a star takes the exchange back, whenever it comes", async () => {
  assert.equal(await kindOf("PLAIN", undefined, ["*"]), "cancelled");
  assert.equal(await kindOf("LOGIN", undefined, ["*"]), "cancelled");
  assert.equal(await kindOf("LOGIN", undefined, [base64("alice"), "*"]), "cancelled");
});

for (const bad of ["!!!", "AAA=AAA=", "_-8=", "Zm9v\rYmFy", "Zm9vY", " Zm9v", "**", "=="]) {
  test(`the response ${JSON.stringify(bad)} is not base64`, async () => {
    assert.equal(await kindOf("PLAIN", bad), "syntax");
    assert.equal(await kindOf("PLAIN", undefined, [bad]), "syntax");
    assert.equal(await kindOf("LOGIN", undefined, [base64("alice"), bad]), "syntax");
  });
}

test("12,288 bytes of response are read, one more is refused", async () => {
  const longest = base64(`\0bob\0${"p".repeat(9_216 - 5)}`);
  assert.equal(longest.length, 12_288);
  assert.equal(await kindOf("PLAIN", undefined, [longest]), "badCredential", "read, and nobody's password");
  assert.equal(await kindOf("PLAIN", undefined, [`${longest}A`]), "tooLong");
});

test("mechanisms are those that are offered, and no other", async () => {
  const ask = (): Promise<string> => assert.fail("no challenge for a mechanism that is not offered");
  for (const name of ["CRAM-MD5", "EXTERNAL", "", "plain", "constructor", "__proto__", "PLAIN "]) {
    const outcome = await runExchange(OFFERED, name, undefined, ask);
    assert.equal("kind" in outcome && outcome.kind, "unknownMechanism", name);
  }
  const outcome = await runExchange(["LOGIN"], "PLAIN", base64("\0alice\0pw"), ask);
  assert.equal("kind" in outcome && outcome.kind, "unknownMechanism");
});

test("what our client side says, our server side reads", async () => {
  const word = fc
    .string({ unit: letter, minLength: 1, maxLength: 60 })
    .filter((text) => !hasControls(text) && Buffer.byteLength(text) <= 255);
  await fc.assert(
    fc.asyncProperty(word, word, fc.option(word, { nil: undefined }), async (authcid, password, authzid) => {
      const said = { authcid, password, ...(authzid !== undefined && { authzid }) };
      const { outcome } = await exchange("PLAIN", plainResponse(said).toString("base64"));
      assert.deepEqual(outcome, { mechanism: "PLAIN", ...said });
    }),
  );
});

test("no line of a client makes an exchange throw, and none gives a name with control bytes", async () => {
  const line = fc.oneof(
    fc.string({ maxLength: 40 }),
    fc.uint8Array({ maxLength: 60 }).map((raw) => Buffer.from(raw).toString("base64")),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...OFFERED),
      fc.option(line, { nil: undefined }),
      line,
      line,
      async (name, initial, one, two) => {
        const lines = [one, two, "*"];
        const outcome = await runExchange(OFFERED, name, initial, async () => lines.shift() ?? "*");
        if ("kind" in outcome) return;
        assert.ok(!hasControls(`${outcome.authcid}${outcome.authzid ?? ""}${outcome.password}`));
        assert.ok(outcome.authcid.length > 0);
      },
    ),
    { numRuns: 1000 },
  );
});
