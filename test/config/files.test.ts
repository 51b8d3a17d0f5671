import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { describe, test } from "node:test";
import forge from "node-forge";
import { loadConfig, parseConfig } from "../../src/config/load.ts";
import { fileWith, linesOf, newFolder } from "./workspace.ts";

const DAY = 86_400_000;

interface Pem {
  readonly cert: string;
  readonly key: string;
}

function makePem(validFrom = Date.now() - DAY, validTo = Date.now() + 90 * DAY): Pem {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const key = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  const signer = forge.pki.privateKeyFromPem(key);
  const certificate = forge.pki.createCertificate();
  certificate.publicKey = forge.pki.setRsaPublicKey(signer.n, signer.e);
  certificate.validity.notBefore = new Date(validFrom);
  certificate.validity.notAfter = new Date(validTo);
  certificate.setSubject([{ name: "commonName", value: "mail.test" }]);
  certificate.setIssuer([{ name: "commonName", value: "mail.test" }]);
  certificate.sign(signer, forge.md.sha256.create());
  return { cert: forge.pki.certificateToPem(certificate), key };
}

const good = makePem();
const other = makePem();
const expired = makePem(Date.now() - 2 * DAY, Date.now() - DAY);
const future = makePem(Date.now() + DAY, Date.now() + 2 * DAY);
const folder = newFolder({
  "good.pem": good.cert,
  "good.key": good.key,
  "other.key": other.key,
  "old.pem": expired.cert,
  "old.key": expired.key,
  "new.pem": future.cert,
  "new.key": future.key,
  "text.pem": "hello",
  "locked.key": lock(good.key),
});
const path = `${folder}/postern.yaml`;

function lock(key: string): string {
  return forge.pki.encryptRsaPrivateKey(forge.pki.privateKeyFromPem(key), "passphrase", {
    algorithm: "aes256",
  });
}

function withPair(cert: string, key: string) {
  return parseConfig(
    fileWith({ tls: `tls:\n  certificates:\n    - cert: ${cert}\n      key: ${key}` }),
    path,
    {},
  );
}

describe("certificates and keys are read before the start", () => {
  test("a pair that belongs together is taken, with absolute paths", () => {
    const result = withPair("good.pem", "./good.key");
    assert.ok(result.ok, linesOf(result, "problems").join("\n"));
    assert.deepEqual(result.config.tls.certificates, [
      { cert: `${folder}/good.pem`, key: `${folder}/good.key` },
    ]);
    assert.deepEqual(result.warnings, []);
  });

  const bad: [string, string, string, string, RegExp][] = [
    [
      "another certificate's key",
      "good.pem",
      "other.key",
      "4:12: tls.certificates[0].key",
      /is not the key of this certificate/,
    ],
    [
      "a missing certificate",
      "nowhere.pem",
      "good.key",
      "3:13: tls.certificates[0].cert",
      /there is no such file/,
    ],
    ["a missing key", "good.pem", "nowhere.key", "4:12: tls.certificates[0].key", /there is no such file/],
    ["a folder", ".", "good.key", "3:13: tls.certificates[0].cert", /it is a folder/],
    ["a path through a file", "good.pem/x", "good.key", "3:13: tls.certificates[0].cert", /not a folder/],
    ["no certificate", "text.pem", "good.key", "3:13: tls.certificates[0].cert", /is not a PEM certificate/],
    ["no key", "good.pem", "text.pem", "4:12: tls.certificates[0].key", /is not a PEM private key/],
    [
      "a key with a passphrase",
      "good.pem",
      "locked.key",
      "4:12: tls.certificates[0].key",
      /with a passphrase, which is missing/,
    ],
  ];
  for (const [name, cert, key, place, message] of bad)
    test(`${name} is an error`, () => {
      const lines = linesOf(withPair(cert, key), "problems");
      assert.equal(lines.length, 1, lines.join("\n"));
      assert.ok(lines[0]?.startsWith(`${path}:${place}: `), lines[0]);
      assert.match(lines[0] ?? "", message);
    });

  for (const [name, file, message] of [
    ["an expired", "old", /EXPIRED on/],
    ["a future", "new", /is not valid before/],
  ] as const)
    test(`${name} certificate is a warning`, () => {
      const result = withPair(`${file}.pem`, `${file}.key`);
      assert.ok(result.ok);
      assert.match(linesOf(result, "warnings").join("\n"), message);
    });

  test("a backend's authorities and our own certificate are read, too", () => {
    const backends = (trust: string) =>
      `backends: { a: { host: b, protocols: { imap: 1 }, trust: ${trust} } }`;
    const fine = backends("{ ca: good.pem, cert: good.pem, key: good.key }");
    assert.ok(parseConfig(fileWith({ backends: fine }), path, {}).ok);
    const wrong = parseConfig(
      fileWith({ backends: backends("{ ca: text.pem, cert: good.pem, key: other.key }") }),
      path,
      {},
    );
    assert.match(
      linesOf(wrong, "problems").join("\n"),
      /trust\.ca: holds no PEM certificate.*\n.*trust\.key: is not the key/,
    );
  });
});

describe("a configuration file that cannot be read is a problem, not a crash", () => {
  mkdirSync(`${folder}/folder.yaml`);
  writeFileSync(`${folder}/binary.yaml`, Buffer.from([0xff, 0xfe, 0x00, 0x80]));
  writeFileSync(`${folder}/huge.yaml`, "#".repeat(2 ** 20 + 1));
  const cases: [string, RegExp][] = [
    ["nowhere.yaml", /there is no such file/],
    ["folder.yaml", /it is a folder/],
    ["binary.yaml", /it is not UTF-8 text/],
    ["huge.yaml", /it is larger than 1048576 bytes/],
    ["a\0b", /zero byte/],
  ];
  for (const [name, message] of cases)
    test(JSON.stringify(name), () => {
      const lines = linesOf(loadConfig(`${folder}/${name}`, {}), "problems");
      assert.equal(lines.length, 1);
      assert.match(lines[0] ?? "", message);
    });

  test("a device is not waited for", () => {
    assert.match(linesOf(loadConfig("/dev/zero", {}), "problems").join(), /not a regular file/);
  });
});

test("relative paths begin at the configuration file, not at the working directory", () => {
  writeFileSync(path, fileWith({ dataDir: "dataDir: ../elsewhere" }));
  const result = loadConfig(path, {});
  assert.ok(result.ok);
  assert.equal(result.config.dataDir, new URL("../elsewhere", `file://${path}`).pathname);
});
