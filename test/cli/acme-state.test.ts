import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { type TestContext, test } from "node:test";
import { acmeState } from "../../src/cli/acme-state.ts";
import type { Config } from "../../src/config/schema.ts";
import { joinPair, readPair } from "../../src/tls/acme/certificate.ts";
import { AcmeFolder } from "../../src/tls/acme/folder.ts";
import { fileWith, mustLoad } from "../config/workspace.ts";
import { certificateAuthority } from "../support/certificates.ts";
import { temporaryFolder } from "../support/temp.ts";

const DAY = 86_400_000;

async function place(t: TestContext): Promise<{ config: Config; folder: AcmeFolder }> {
  const { path, write, remove } = await temporaryFolder();
  t.after(remove);
  await write("users.yaml", "");
  const acme = "{ directory: https://ca.example/dir, email: a@example.org, domains: [mail.example.org] }";
  const config = mustLoad(fileWith({ tls: `tls: { acme: ${acme} }` }), `${path}/postern.yaml`);
  assert.ok(config.tls.acme);
  const folder = new AcmeFolder(config.dataDir, config.tls.acme);
  return { config, folder };
}

test("check without a certificate says that one will be ordered, and makes no folder", async (t) => {
  const { config, folder } = await place(t);
  assert.deepEqual(await acmeState(config), [
    "acme: no certificate for mail.example.org yet; the gateway orders one when it runs",
  ]);
  await assert.rejects(folder.writeFailure({ at: 0, reason: "", notBefore: 0 }), /ENOENT/);
});

test("check says how many days a certificate has left, and how the last order failed", async (t) => {
  const { config, folder } = await place(t);
  const authority = await certificateAuthority();
  const pair = readPair(joinPair(await authority.issue(["mail.example.org"], { endsInMs: 12.5 * DAY })));
  await folder.open();
  await folder.writeCertificate(pair);
  const end = new Date(pair.validTo).toISOString();
  assert.deepEqual(await acmeState(config), [
    `acme: the certificate for mail.example.org has 12 days left; it ends at ${end}`,
  ]);
  await folder.writeFailure({ at: 0, reason: "nobody there", notBefore: 0 });
  assert.deepEqual(await acmeState(config, pair.validTo + 1), [
    `acme: the certificate for mail.example.org is over; it ends at ${end}`,
    "acme: the last order failed at 1970-01-01T00:00:00.000Z: nobody there",
  ]);
});

test("check tells of a certificate for other names, and of a broken file", async (t) => {
  const { config, folder } = await place(t);
  const authority = await certificateAuthority();
  await folder.open();
  await folder.writeCertificate(readPair(joinPair(await authority.issue(["other.example.org"]))));
  assert.deepEqual(await acmeState(config), [
    "acme: the certificate is for other.example.org; the gateway orders one for mail.example.org",
  ]);
  await writeFile(folder.certificatePath, "hello");
  assert.deepEqual(await acmeState(config), [
    "acme: the certificate cannot be read: it is not a private key with its certificate",
  ]);
});
