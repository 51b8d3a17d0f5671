import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { after, describe, test } from "node:test";
import { createSecureContext } from "node:tls";
import { isPair, type PairBytes, readPair } from "../../src/tls/key-pair.ts";
import { makeOwn, openWorkshop, P256, RSA } from "./openssl.ts";

const shop = openWorkshop();
after(() => shop[Symbol.dispose]());
makeOwn(shop, "rsa", RSA);
makeOwn(shop, "p256", P256);
const WORD = "open sesame";
const encrypted = ["-passout", `pass:${WORD}`];

shop.openssl("pkcs8", "-topk8", "-in", "rsa.key", "-out", "pkcs8.key", ...encrypted);
shop.openssl("rsa", "-aes256", "-traditional", "-in", "rsa.key", "-out", "traditional.key", ...encrypted);
shop.openssl("rsa", "-traditional", "-in", "rsa.key", "-out", "plain.key");
shop.openssl("ec", "-aes128", "-in", "p256.key", "-out", "p256-locked.key", ...encrypted);

function pkcs12(out: string, name: string, passphrase: string, ...more: string[]): Buffer {
  const files = ["-inkey", `${name}.key`, "-in", `${name}.pem`, "-out", out];
  shop.openssl("pkcs12", "-export", ...files, "-passout", `pass:${passphrase}`, ...more);
  return shop.read(out);
}

function read(bytes: PairBytes): string {
  const found = readPair(bytes);
  if (!isPair(found)) return `${found.at} ${found.problem}`;
  createSecureContext(found);
  assert.match(found.key, /^-----BEGIN PRIVATE KEY-----/);
  return String(new X509Certificate(found.cert).subject);
}

describe("PEM", () => {
  const pem = (cert: string, key: string, passphrase?: string): string =>
    read({ cert: shop.read(cert), key: shop.read(key), ...(passphrase !== undefined && { passphrase }) });

  for (const key of ["rsa.key", "plain.key"]) {
    test(`${key} needs no passphrase, and does not mind one`, () => {
      assert.equal(pem("rsa.pem", key), "CN=rsa");
      assert.equal(pem("rsa.pem", key, WORD), "CN=rsa");
    });
  }
  for (const [cert, key] of [
    ["rsa.pem", "pkcs8.key"],
    ["rsa.pem", "traditional.key"],
    ["p256.pem", "p256-locked.key"],
  ] as const) {
    test(`${key} is opened by its passphrase only`, () => {
      assert.equal(pem(cert, key, WORD), `CN=${cert.slice(0, -4)}`);
      assert.equal(pem(cert, key, "sesame"), "passphrase does not open this private key");
      assert.equal(pem(cert, key), "key is a private key with a passphrase, which is missing");
    });
  }
  test("what is no certificate, no key, or no pair is named", () => {
    assert.equal(pem("rsa.key", "rsa.key"), "cert is not a PEM certificate");
    assert.equal(pem("rsa.pem", "rsa.pem"), "key is not a PEM private key");
    assert.equal(pem("rsa.pem", "p256.key"), "key is not the key of this certificate");
  });
});

describe("PKCS#12", () => {
  for (const [what, bytes, subject] of [
    ["as OpenSSL 3 writes it", pkcs12("new.p12", "rsa", WORD), "CN=rsa"],
    ["with a key of a curve", pkcs12("p256.p12", "p256", WORD), "CN=p256"],
    ["as Windows used to write it", pkcs12("old.p12", "rsa", WORD, "-legacy"), "CN=rsa"],
    ["with a chain", pkcs12("chain.p12", "p256", WORD, "-certfile", "rsa.pem"), "CN=p256"],
  ] as const) {
    test(what, () => {
      assert.equal(read({ pkcs12: bytes, passphrase: WORD }), subject);
      assert.equal(
        read({ pkcs12: bytes, passphrase: "sesame" }),
        "passphrase does not open this PKCS#12 file",
      );
      assert.match(read({ pkcs12: bytes }), /^pkcs12 is no PKCS#12 file, or one with a passphrase/);
    });
  }
  test("the whole chain is there, the key's own certificate first", () => {
    const found = readPair({ pkcs12: shop.read("chain.p12"), passphrase: WORD });
    assert.ok(isPair(found));
    assert.equal(found.cert.match(/BEGIN CERTIFICATE/g)?.length, 2);
  });
  test("an empty passphrase is none", () => {
    assert.equal(read({ pkcs12: pkcs12("empty.p12", "rsa", "") }), "CN=rsa");
  });
  test("what is no such file, or lacks the key or the certificate, is named", () => {
    assert.equal(read({ pkcs12: Buffer.from("hello") }), "pkcs12 is not a PKCS#12 file");
    shop.openssl("pkcs12", "-export", "-nokeys", "-in", "rsa.pem", "-out", "nokey.p12", ...encrypted);
    assert.match(
      read({ pkcs12: shop.read("nokey.p12"), passphrase: WORD }),
      /^pkcs12 holds 0 private keys, not one/,
    );
    shop.openssl("pkcs12", "-export", "-nocerts", "-inkey", "rsa.key", "-out", "nocert.p12", ...encrypted);
    assert.match(
      read({ pkcs12: shop.read("nocert.p12"), passphrase: WORD }),
      /^pkcs12 holds no certificate of its private key/,
    );
  });
});
