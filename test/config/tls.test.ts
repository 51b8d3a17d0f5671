import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { describe, test } from "node:test";
import { check } from "../../src/cli/check.ts";
import { parseConfig } from "../../src/config/load.ts";
import { makeOwn, openWorkshop, RSA } from "../tls/openssl.ts";
import { fileWith, linesOf, newFolder } from "./workspace.ts";

const folder = newFolder();
const path = `${folder}/postern.yaml`;
using shop = openWorkshop();
for (const [name, days] of [
  ["good", 90],
  ["soon", 13],
  ["tomorrow", 1],
] as const)
  makeOwn(shop, name, RSA, days);
shop.openssl(..."pkcs12 -export -inkey good.key -in good.pem -out good.p12 -passout pass:sesame".split(" "));
shop.openssl(..."pkcs8 -topk8 -in good.key -out locked.key -passout pass:sesame".split(" "));
writeFileSync(`${shop.path}/index.txt`, "");
writeFileSync(`${shop.path}/ca.cnf`, "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ndefault_md=sha256\n");
for (const [name, last] of [
  ["current.crl", "20400101000000Z"],
  ["stale.crl", "20200102000000Z"],
] as const)
  shop.openssl(
    ..."ca -gencrl -config ca.cnf -keyfile good.key -cert good.pem -crl_lastupdate 20200101000000Z".split(
      " ",
    ),
    ...["-crl_nextupdate", last, "-out", name],
  );
for (const name of "good.pem good.key soon.pem soon.key tomorrow.pem tomorrow.key good.p12 locked.key".split(
  " ",
))
  writeFileSync(`${folder}/${name}`, shop.read(name));
for (const name of ["current.crl", "stale.crl"]) writeFileSync(`${folder}/${name}`, shop.read(name));

const load = (tls: string, more: Record<string, string> = {}) =>
  parseConfig(fileWith({ tls: `tls: { selfSigned: true, ${tls} }`, ...more }), path, {});
const certificate = (keys: string) => load(`certificates: [{ ${keys} }]`);

describe("certificates in every form", () => {
  for (const keys of [
    "cert: good.pem, key: good.key",
    "cert: good.pem, key: locked.key, passphrase: sesame",
    "pkcs12: good.p12, passphrase: sesame",
  ])
    test(`{ ${keys} } is taken`, () => {
      const result = certificate(keys);
      assert.deepEqual([...linesOf(result, "problems"), ...linesOf(result, "warnings")], []);
    });

  for (const [keys, place, message] of [
    ["cert: good.pem", "1:41: tls.certificates[0]", /lacks key/],
    ["key: good.key", "1:41: tls.certificates[0]", /lacks cert/],
    ["passphrase: x", "1:41: tls.certificates[0]", /lacks cert and key, or pkcs12/],
    ["cert: good.pem, key: good.key, pkcs12: good.p12", "1:41: tls.certificates[0]", /named twice/],
    ["cert: good.pem, key: locked.key", "1:64: tls.certificates[0].key", /passphrase, which is missing/],
    [
      "cert: good.pem, key: locked.key, passphrase: wrong",
      "1:88: tls.certificates[0].passphrase",
      /does not open this private key \(found .*\/locked\.key\)/,
    ],
    ["pkcs12: good.p12", "1:51: tls.certificates[0].pkcs12", /passphrase, which is missing/],
    ["pkcs12: good.pem, passphrase: x", "1:51: tls.certificates[0].pkcs12", /is not a PKCS#12 file/],
    ["pkcs12: good.p12, passphrase: wrong", "1:73: tls.certificates[0].passphrase", /does not open/],
    ["pkcs12: nowhere.p12", "1:51: tls.certificates[0].pkcs12", /there is no such file/],
  ] as const)
    test(`{ ${keys} } is an error at its place`, () => {
      const lines = linesOf(certificate(keys), "problems");
      assert.equal(lines.length, 1, lines.join("\n"));
      assert.ok(lines[0]?.startsWith(`${path}:${place}: `), lines[0]);
      assert.match(lines[0] ?? "", message);
      assert.doesNotMatch(lines[0] ?? "", /wrong|sesame/);
    });

  for (const [name, message] of [
    ["soon", /expires in 12 days, on/],
    ["tomorrow", /expires within a day, on/],
  ] as const)
    test(`a certificate that ends ${name} is a warning`, () => {
      const result = certificate(`cert: ${name}.pem, key: ${name}.key`);
      assert.match(linesOf(result, "warnings").join("\n"), message);
    });

  test("postern check says how long each certificate is good", async (t) => {
    const said: string[] = [];
    t.mock.method(console, "log", (line: string) => said.push(line));
    writeFileSync(path, fileWith({ tls: "tls: { certificates: [{ cert: good.pem, key: good.key }] }" }));
    assert.equal(await check(path), 0);
    assert.deepEqual(said, [`certificate ${folder}/good.pem: expires in 89 days`, `${path}: good`]);
  });
});

describe("clients' certificates", () => {
  const MASTER = `backends: { alpha: { host: alpha.internal, protocols: { imap: 143 }, login: { master: { user: m, password: p } } } }`;
  const asking = (mode: string) => ({
    backends: MASTER,
    listeners: `listeners: [{ protocol: imap, port: 1143, clientCertificate: ${mode} }]`,
  });

  test("authorities, revocation lists and a listener that insists are taken", () => {
    const result = load("clientCa: good.pem, clientCrl: current.crl, clientName: dns", asking("required"));
    assert.deepEqual([...linesOf(result, "problems"), ...linesOf(result, "warnings")], []);
    assert.ok(result.ok);
    assert.equal(result.config.listeners[0]?.clientCertificate, "required");
  });

  test("nobody can be asked for a certificate that nobody would believe", () => {
    for (const mode of ["optional", "required"])
      assert.match(linesOf(load("", asking(mode)), "problems").join(), /needs tls\.clientCa/);
    assert.deepEqual(linesOf(load("", asking("none")), "problems"), []);
    assert.match(linesOf(load("clientCrl: current.crl"), "problems").join(), /nothing without clientCa/);
  });

  test("files that hold something else are errors", () => {
    for (const [keys, message] of [
      ["clientCa: good.key", /clientCa: holds no PEM certificate/],
      ["clientCa: good.pem, clientCrl: good.pem", /clientCrl: holds no PEM revocation list/],
      ["clientCa: nowhere.pem", /clientCa: cannot be read: there is no such file/],
    ] as const)
      assert.match(linesOf(load(keys), "problems").join(), message);
  });

  test("revocation lists that are out of date are a warning: OpenSSL believes nobody then", () => {
    const result = load("clientCa: good.pem, clientCrl: stale.crl", { backends: MASTER });
    assert.match(linesOf(result, "warnings").join(), /is out of date since Thu, 02 Jan 2020/);
  });

  test("EXTERNAL that leads nowhere is a warning", () => {
    assert.match(
      linesOf(load("clientCa: good.pem"), "warnings").join(),
      /backends\.alpha\.login: refuses who signs in by a certificate/,
    );
    const without = "authentication: { mechanisms: [PLAIN], sources: [{ type: file, path: users.yaml }] }";
    assert.match(
      linesOf(load("clientCa: good.pem", { authentication: without }), "warnings").join(),
      /tls\.clientCa: gives no SASL EXTERNAL/,
    );
  });
});
