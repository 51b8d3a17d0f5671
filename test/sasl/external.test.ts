import assert from "node:assert/strict";
import { test } from "node:test";
import { runExchange } from "../../src/sasl/exchange.ts";

const base64 = (text: string | Buffer): string => Buffer.from(text as string).toString("base64");

/** What comes of EXTERNAL for a client of these certified names that says this. */
async function external(names: readonly string[], initial: string | undefined, line = ""): Promise<unknown> {
  const asked: string[] = [];
  const outcome = await runExchange(
    ["PLAIN", "EXTERNAL"],
    "EXTERNAL",
    initial,
    async (challenge) => {
      asked.push(challenge);
      return line;
    },
    { certifiedNames: names },
  );
  assert.deepEqual(asked, initial === undefined ? [""] : []);
  return "kind" in outcome ? outcome.kind : { authcid: outcome.authcid, authzid: outcome.authzid };
}

const ALICE = { authcid: "alice@example.org", authzid: undefined };

test("an empty response takes the certificate's one name", async () => {
  assert.deepEqual(await external(["alice@example.org"], "="), ALICE);
  assert.deepEqual(await external(["alice@example.org"], undefined, ""), ALICE);
});

test("the name itself may be said, in any case", async () => {
  assert.deepEqual(await external(["alice@example.org"], base64("Alice@Example.org")), ALICE);
  assert.deepEqual(await external(["alice@example.org"], undefined, base64("alice@example.org")), ALICE);
});

test("of several names one must be said", async () => {
  const names = ["a@example.org", "alice@example.org"];
  assert.deepEqual(await external(names, base64("alice@example.org")), ALICE);
  assert.equal(await external(names, "="), "badCredential");
});

test("another name is somebody else's, and is left to be refused with the others", async () => {
  assert.deepEqual(await external(["alice@example.org"], base64("bob@example.org")), {
    authcid: "alice@example.org",
    authzid: "bob@example.org",
  });
});

test("bytes that are no name, and a client without a certificate, are refused", async () => {
  for (const bytes of ["x\0y", "x\r\ny", Buffer.from([0xff, 0xfe]), "x".repeat(300)])
    assert.equal(await external(["alice@example.org"], base64(bytes)), "badCredential");
  assert.equal(await external([], "="), "badCredential");
  assert.equal(await external(["alice@example.org"], undefined, "*"), "cancelled");
});
