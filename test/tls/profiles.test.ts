import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { ConnectionOptions } from "node:tls";
import type { Profile } from "../../src/tls/profiles.ts";
import { certificateAuthority } from "../support/certificates.ts";
import { storeOf } from "./store.ts";
import { knock, tlsDoor } from "./tls-door.ts";

const authority = await certificateAuthority();
const NAME = "mail.example.org";
const certificate = await authority.issue([NAME]);
const VERSIONS = ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"] as const;

/** The version and cipher that a client of these options comes to, or why it does not. */
async function outcome(t: TestContext, port: number, options: ConnectionOptions): Promise<string> {
  try {
    const socket = await knock(t, port, { ca: authority.ca, servername: NAME, ...options });
    return `${socket.getProtocol()} ${socket.getCipher().name}`;
  } catch {
    return "refused";
  }
}

const SPOKEN: Readonly<Record<Profile, readonly string[]>> = {
  modern: ["TLSv1.3"],
  intermediate: ["TLSv1.2", "TLSv1.3"],
  legacy: ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"],
};

for (const [profile, spoken] of Object.entries(SPOKEN)) {
  test(`${profile} speaks ${spoken.join(", ")} and nothing older`, async (t) => {
    const door = await tlsDoor(t, { store: storeOf(t, [certificate], { profile: profile as Profile }) });
    for (const version of VERSIONS) {
      const options = { minVersion: version, maxVersion: version, ciphers: "ALL@SECLEVEL=0" } as const;
      const got = await outcome(t, door.port, options);
      assert.equal(got.startsWith(version) ? version : got, spoken.includes(version) ? version : "refused");
    }
    const refused = VERSIONS.length - spoken.length;
    await door.settled(VERSIONS.length);
    assert.deepEqual(door.causes, Array(refused).fill("nothingShared"));
  });
}

test("ciphers without forward secrecy are for legacy only, and who wishes for ChaCha20 gets it elsewhere", async (t) => {
  const of = (profile: Profile) => tlsDoor(t, { store: storeOf(t, [certificate], { profile }) });
  const [intermediate, legacy] = [await of("intermediate"), await of("legacy")];
  const ask = (port: number, ciphers: string) =>
    outcome(t, port, { maxVersion: "TLSv1.2", ciphers: `${ciphers}:@SECLEVEL=0` });
  for (const cipher of ["AES128-GCM-SHA256", "AES256-SHA", "DHE-RSA-AES128-GCM-SHA256", "DES-CBC3-SHA"]) {
    assert.equal(await ask(intermediate.port, cipher), "refused", cipher);
  }
  assert.deepEqual(new Set(intermediate.causes), new Set(["nothingShared"]));
  for (const cipher of ["AES128-GCM-SHA256", "AES256-SHA", "DHE-RSA-AES128-GCM-SHA256"]) {
    assert.equal(await ask(legacy.port, cipher), `TLSv1.2 ${cipher}`);
  }
  // RC4, export and anonymous ciphers nowhere.
  for (const cipher of ["RC4-SHA", "AECDH-AES128-SHA", "ADH-AES128-SHA", "NULL-SHA"]) {
    assert.equal(await ask(legacy.port, `${cipher}:ALL:!aRSA`).catch(() => "refused"), "refused", cipher);
  }
  const wish = "ECDHE-RSA-CHACHA20-POLY1305:ECDHE-RSA-AES128-GCM-SHA256";
  assert.equal(await ask(intermediate.port, wish), "TLSv1.2 ECDHE-RSA-CHACHA20-POLY1305");
  const order = "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-CHACHA20-POLY1305";
  assert.equal(await ask(intermediate.port, order), "TLSv1.2 ECDHE-RSA-AES128-GCM-SHA256");
  assert.equal(await ask(legacy.port, wish), "TLSv1.2 ECDHE-RSA-AES128-GCM-SHA256");
});
