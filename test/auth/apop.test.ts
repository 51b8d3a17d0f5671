import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { createAuthenticator } from "../../src/auth/authenticator.ts";
import { FileSource } from "../../src/auth/file-source.ts";
import { Refused } from "../../src/refusal.ts";
import type { Credential } from "../../src/sasl/credential.ts";
import { signInAs } from "../../src/upstream/sign-in.ts";
import { temporaryFolder } from "../support/temp.ts";

const BCRYPT = "$2a$05$abcdefghijklmnopqrstuu7nFISH/8YdwlXD3lw69A4iBUf6fvWAW";
const PEER = { address: "192.0.2.1", protocol: "pop3" };
/** The example of RFC 1939 7. */
const STAMP = "<1896.697170952@dbc.mtview.ca.us>";
const TANSTAAF = "c4c9334bac560ecc979e58001b3e22fb";

const USERS = `
mrose: { password: "{PLAIN}tanstaaf" }
clear: { password: "{CLEARTEXT}tanstaaf" }
hashed: { password: "${BCRYPT}" }
away: { password: "{PLAIN}tanstaaf", networks: [10.0.0.0/8] }
imap: { password: "{PLAIN}tanstaaf", protocols: [imap] }
broken: { password: "{PLAIN}a\\nb" }
`;

const workers = {
  verify: () => Promise.reject(new Error("a digest is no work for the hash workers")),
};

function apop(authcid: string, md5: string, stamp = STAMP): Credential {
  return { mechanism: "APOP", authcid, digest: { stamp, md5 } };
}

const md5 = (text: string) => createHash("md5").update(text).digest("hex");

async function load(text: string) {
  const folder = await temporaryFolder();
  const loaded = await FileSource.load({ path: await folder.write("users.yaml", text), workers });
  assert.ok(loaded.ok, JSON.stringify(loaded));
  const { source } = loaded;
  return {
    source,
    authenticator: createAuthenticator({ sources: [source] }),
    [Symbol.asyncDispose]: async () => {
      await source.close();
      await folder.remove();
    },
  };
}

const refused = (kind: string) => (error: unknown) => error instanceof Refused && error.refusal.kind === kind;

test("the example of RFC 1939 is right, and the identity knows the password", async () => {
  await using users = await load(USERS);
  for (const name of ["mrose", "MROSE", "clear"]) {
    const identity = await users.authenticator.authenticate(apop(name, TANSTAAF), PEER);
    assert.deepEqual(identity, { user: name.toLowerCase(), password: "tanstaaf" });
  }
});

test("a password that was told is not repeated by the identity", async () => {
  await using users = await load(USERS);
  const source = await FileSource.load({
    path: users.source.name.replace(/^file /, ""),
    workers: { verify: async () => true },
  });
  assert.ok(source.ok);
  const answer = await source.source.authenticate(
    { mechanism: "PLAIN", authcid: "mrose", password: "tanstaaf" },
    PEER,
  );
  assert.deepEqual(answer, { known: true, identity: { user: "mrose" } });
});

for (const [what, credential] of Object.entries({
  "a wrong digest": apop("mrose", md5(`${STAMP}wrong`)),
  "a digest over another stamp": apop("mrose", TANSTAAF, "<1.2@example.org>"),
  "a digest that is none": apop("mrose", "abc"),
  "an empty digest": apop("mrose", ""),
  "an unknown user": apop("nobody", TANSTAAF),
  "a user whose password is hashed": apop("hashed", TANSTAAF),
  "a user whose hash is taken for the password": apop("hashed", md5(`${STAMP}${BCRYPT}`)),
  "a password with a line end, which no client could tell": apop("broken", md5(`${STAMP}a\nb`)),
  "somebody else's authzid": { ...apop("mrose", TANSTAAF), authzid: "clear" } as Credential,
})) {
  test(`${what} is a bad credential`, async () => {
    await using users = await load(USERS);
    await assert.rejects(users.authenticator.authenticate(credential, PEER), refused("badCredential"));
  });
}

test("only a right digest learns that the account may not enter", async () => {
  await using users = await load(USERS);
  for (const name of ["away", "imap"]) {
    await assert.rejects(users.authenticator.authenticate(apop(name, TANSTAAF), PEER), refused("notAllowed"));
    await assert.rejects(
      users.authenticator.authenticate(apop(name, md5("x")), PEER),
      refused("badCredential"),
    );
  }
});

test("APOP can be verified where some password is known, and nowhere else", async () => {
  for (const [text, able] of [
    [USERS, true],
    [`hashed: { password: "${BCRYPT}" }`, false],
    ['broken: { password: "{PLAIN}a\\nb" }', false],
    ["{}", false],
  ] as const) {
    await using users = await load(text);
    assert.equal(users.authenticator.verifiesApop, able, text);
  }
  assert.equal(createAuthenticator({ sources: [] }).verifiesApop, false);
});

test("a backend that wants the password gets the source's; a master's needs none", () => {
  const credential = apop("mrose", TANSTAAF);
  assert.deepEqual(signInAs("passthrough", "mr", credential, "tanstaaf"), {
    authcid: "mr",
    password: "tanstaaf",
    own: true,
  });
  assert.deepEqual(signInAs({ master: { user: "gate", password: "m", separator: "*" } }, "mr", credential), {
    authcid: "mr*gate",
    password: "m",
    own: false,
  });
  assert.throws(() => signInAs("passthrough", "mr", credential), refused("unavailable"));
});
