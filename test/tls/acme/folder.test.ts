import assert from "node:assert/strict";
import { chmod, lstat, mkdir, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { joinPair } from "../../../src/tls/acme/certificate.ts";
import { AcmeFolder } from "../../../src/tls/acme/folder.ts";
import { startProcess } from "../../support/processes.ts";
import { temporaryFolder } from "../../support/temp.ts";
import { certificate } from "./renewer-kit.ts";

const WRITER = fileURLToPath(new URL("write-for-ever.ts", import.meta.url));
const AT = { directory: "https://ca.example/dir", domains: ["mail.example.org"] };

const modeOf = async (path: string): Promise<string> => ((await stat(path)).mode & 0o777).toString(8);

test("a crash at any moment of writing leaves a whole pair, and the next write is whole too", async () => {
  await using place = await temporaryFolder();
  const [one, other] = [await certificate(), await certificate()];
  const files = [await place.write("one", joinPair(one)), await place.write("other", joinPair(other))];
  const folder = new AcmeFolder(place.path, AT);
  for (let crash = 0; crash < 8; crash++) {
    const writer = await startProcess(process.execPath, [WRITER, place.path, ...files]);
    await writer.waitFor(/writing/);
    writer.signal("SIGKILL");
    await writer.exited;
    const found = await folder.readCertificate();
    assert.ok(found?.cert === one.cert || found?.cert === other.cert);
    assert.equal(await modeOf(folder.certificatePath), "600");
  }
  await folder.writeCertificate(one);
  assert.deepEqual(await readdir(folder.path), ["mail.example.org.pem"]);
});

test("what a crash left half-written is never read, and its open mode never inherited", async () => {
  await using place = await temporaryFolder();
  const folder = new AcmeFolder(place.path, AT);
  await folder.open();
  const [one, other] = [await certificate(), await certificate()];
  await folder.writeCertificate(one);
  await writeFile(`${folder.certificatePath}.new`, other.key.slice(0, 100), { mode: 0o644 });
  assert.equal((await folder.readCertificate())?.cert, one.cert);
  await folder.writeCertificate(other);
  assert.equal((await folder.readCertificate())?.cert, other.cert);
  assert.equal(await modeOf(folder.certificatePath), "600");
});

test("nothing is written through a link", async () => {
  await using place = await temporaryFolder();
  const folder = new AcmeFolder(place.path, AT);
  await folder.open();
  const victim = await place.write("victim", "untouched");
  await symlink(victim, `${folder.certificatePath}.new`);
  await symlink(victim, folder.certificatePath);
  await folder.writeCertificate(await certificate());
  assert.equal(await readFile(victim, "utf8"), "untouched");
  assert.equal((await lstat(folder.certificatePath)).isSymbolicLink(), false);
});

test("folders that others could look into are closed to them", async () => {
  await using place = await temporaryFolder();
  await mkdir(place.at("acme"));
  await chmod(place.at("acme"), 0o755);
  const folder = new AcmeFolder(place.path, AT);
  await folder.open();
  assert.equal(await modeOf(place.at("acme")), "700");
  assert.equal(await modeOf(folder.path), "700");
});

test("the account's key is made once, and is the account's owner's alone", async () => {
  await using place = await temporaryFolder();
  const folder = new AcmeFolder(place.path, AT);
  await folder.open();
  const key = await folder.accountKey();
  assert.match(key, /^-----BEGIN PRIVATE KEY-----/);
  assert.equal(await new AcmeFolder(place.path, AT).accountKey(), key);
  assert.equal(await modeOf(`${folder.path}/account.key`), "600");
});

test("each authority has a folder of its own: what a staging server gave is not used as the real thing", () => {
  const paths = [
    "https://acme-v02.api.letsencrypt.org/directory",
    "https://acme-staging-v02.api.letsencrypt.org/directory",
    "https://ca.internal:9000/acme/one/directory",
    "https://ca.internal:9000/acme/other/directory",
    "https://ca.internal/../../../etc/%2e%2e/dir",
  ].map((directory) => new AcmeFolder("/data", { ...AT, directory }).path);
  assert.deepEqual(paths, [
    "/data/acme/acme-v02.api.letsencrypt.org-directory",
    "/data/acme/acme-staging-v02.api.letsencrypt.org-directory",
    "/data/acme/ca.internal-9000-acme-one-directory",
    "/data/acme/ca.internal-9000-acme-other-directory",
    "/data/acme/ca.internal-dir",
  ]);
});

test("a pair whose key is another's is no pair", async () => {
  await using place = await temporaryFolder();
  const folder = new AcmeFolder(place.path, AT);
  await folder.open();
  const [one, { key }] = [
    await certificate(),
    { key: await new AcmeFolder(place.path, { ...AT, directory: "https://ca.example/dir" }).accountKey() },
  ];
  await writeFile(folder.certificatePath, key + one.cert);
  await assert.rejects(folder.readCertificate(), /not the certificate's/);
});
