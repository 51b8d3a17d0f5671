import assert from "node:assert/strict";
import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { test } from "node:test";
import forge from "node-forge";
import { altNames, commonName } from "../../src/tls/alt-names.ts";

const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
const signer = forge.pki.privateKeyFromPem(privateKey.export({ type: "pkcs8", format: "pem" }).toString());

const EMAIL = 1;
const DNS = 2;
const URI = 6;

/** A certificate in which anything may stand. */
function certificate(
  names: readonly (readonly [type: number, value: string])[],
  common: readonly string[] = ["x"],
): X509Certificate {
  const made = forge.pki.createCertificate();
  made.publicKey = forge.pki.setRsaPublicKey(signer.n, signer.e);
  made.setSubject(common.map((value) => ({ name: "commonName", value })));
  made.setIssuer([{ name: "commonName", value: "x" }]);
  made.setExtensions([{ name: "subjectAltName", altNames: names.map(([type, value]) => ({ type, value })) }]);
  made.sign(signer, forge.md.sha256.create());
  return new X509Certificate(forge.pki.certificateToPem(made));
}

test("names are taken by their kind, in lower case", () => {
  const mixed = certificate([
    [EMAIL, "Alice@Example.org"],
    [DNS, "*.Example.org"],
    [URI, "urn:dns:x"],
    [DNS, "mail.example.org"],
  ]);
  assert.deepEqual(altNames(mixed, "email"), ["alice@example.org"]);
  assert.deepEqual(altNames(mixed, "DNS"), ["*.example.org", "mail.example.org"]);
});

// The class of CVE-2021-44532.
for (const value of [
  "x, email:root@example.org",
  'x", email:root@example.org',
  'x\\", email:root@example.org',
  "x\nemail:root@example.org",
  "x\0root@example.org",
  "email:root@example.org",
]) {
  test(`${JSON.stringify(value)} is not two names, nor another's`, () => {
    for (const type of [EMAIL, DNS, URI]) {
      const names = altNames(certificate([[type, value]]), "email");
      assert.ok(!names.includes("root@example.org"), JSON.stringify(names));
      assert.ok(names.every((name) => !/[",\0\n]/.test(name)));
    }
  });
}

test("a common name is one, and printable", () => {
  assert.equal(commonName(certificate([], ["alice"])), "alice");
  assert.equal(commonName(certificate([], ["alice", "root"])), undefined);
  assert.equal(commonName(certificate([], ["alice\nCN=root"])), undefined);
  assert.equal(commonName(certificate([], [])), undefined);
});
