import assert from "node:assert/strict";
import { rename } from "node:fs/promises";
import { type TestContext, test } from "node:test";
import { type CertificateSource, openCertificateFiles } from "../../src/tls/certificate-files.ts";
import { type Certificate, certificateAuthority } from "../support/certificates.ts";
import { type TemporaryFolder, temporaryFolder } from "../support/temp.ts";
import { eventually } from "../support/waiting.ts";
import { storeOf } from "./store.ts";
import { knock, tlsDoor } from "./tls-door.ts";

const NAME = "mail.example.org";
// The authority of a test has one key for all that it issues.
const [authority, otherKeys] = [await certificateAuthority("One"), await certificateAuthority("Other")];
const first = await authority.issue([NAME]);
const renewed = await authority.issue([NAME]);
const rekeyed = await otherKeys.issue([NAME]);
const second = await authority.issue(["other.example.org"]);

interface Followed {
  readonly folder: TemporaryFolder;
  /** What the log would say. */
  readonly told: string[];
  /** The certificate that a new handshake gets. */
  shown(): Promise<string>;
  shows(certificate: Certificate): Promise<void>;
  /** Waits until so much has been told. */
  hears(count: number): Promise<void>;
}

/** A door whose certificates are files, followed in a hurry; `graceMs` says how long a mismatch may last. */
async function follow(
  t: TestContext,
  graceMs: number,
  files: Readonly<Record<string, string>>,
  sources: (at: (name: string) => string) => CertificateSource[],
): Promise<Followed> {
  const folder = await temporaryFolder();
  for (const [name, text] of Object.entries(files)) await folder.write(name, text);
  const store = storeOf(t, []);
  const opened = openCertificateFiles(store, sources(folder.at));
  const told: string[] = [];
  const following = opened.follow(
    {
      onSwapped: (path) => told.push(`taken ${path.slice(folder.path.length + 1)}`),
      onProblem: (path, problem) =>
        told.push(`${path.slice(folder.path.length + 1)}: ${problem.replaceAll(`${folder.path}/`, "")}`),
    },
    { settleMs: 5, pollMs: 20, graceMs },
  );
  t.after(async () => {
    following[Symbol.dispose]();
    await folder.remove();
  });
  const door = await tlsDoor(t, { store });
  const shown = async (): Promise<string> => {
    const socket = await knock(t, door.port, { servername: NAME, rejectUnauthorized: false });
    const serial = String(socket.getPeerX509Certificate());
    socket.destroy();
    return serial.trim();
  };
  return {
    folder,
    told,
    shown,
    shows: (certificate) =>
      eventually("the new certificate", async () => {
        const now = await shown();
        return now === certificate.cert.replaceAll("\r", "").trim();
      }).then(() => {}),
    hears: (count) =>
      eventually(
        () => `${count} lines of log, not ${JSON.stringify(told)}`,
        () => told.length >= count,
      ).then(() => {}),
  };
}

/** As an editor or a renewal does it: whole, and at once. */
async function replace(folder: TemporaryFolder, name: string, text: string): Promise<void> {
  await rename(await folder.write(`${name}.new`, text), folder.at(name));
}

const PAIR = { "a.pem": first.cert, "a.key": first.key };
const ofPair = (at: (name: string) => string): CertificateSource[] => [
  { cert: at("a.pem"), key: at("a.key") },
];

test("a new certificate is shown to the next handshake, and the open session does not notice", async (t) => {
  const door = await follow(t, 2_000, PAIR, ofPair);
  const before = await door.shown();
  await replace(door.folder, "a.pem", renewed.cert);
  await door.shows(renewed);
  assert.notEqual(await door.shown(), before);
  assert.deepEqual(door.told, ["taken a.pem"]);
});

test("a certificate and its key, written one after the other, are no problem in between", async (t) => {
  const door = await follow(t, 60_000, PAIR, ofPair);
  const before = await door.shown();
  await replace(door.folder, "a.pem", rekeyed.cert);
  assert.equal(await door.shown(), before);
  await replace(door.folder, "a.key", rekeyed.key);
  await door.shows(rekeyed);
  assert.deepEqual(door.told, ["taken a.pem"]);
});

test("a wrong key is told once, the old pair stays, and the end of the trouble is told, too", async (t) => {
  const door = await follow(t, 40, PAIR, ofPair);
  const before = await door.shown();
  await replace(door.folder, "a.key", rekeyed.key);
  await door.hears(1);
  // Looked at again and again: nothing more is said.
  for (let time = 0; time < 3; time += 1) {
    await replace(door.folder, "a.key", rekeyed.key);
    assert.equal(await door.shown(), before);
  }
  await replace(door.folder, "a.key", first.key);
  await door.hears(2);
  assert.deepEqual(door.told, ["a.pem: a.key: is not the key of this certificate", "taken a.pem"]);
});

for (const [what, text] of [
  ["an empty file", ""],
  ["half a file", first.cert.slice(0, 500)],
  ["something else", "hello"],
] as const) {
  test(`${what} in a certificate's place changes nothing`, async (t) => {
    const door = await follow(t, 40, PAIR, ofPair);
    const before = await door.shown();
    await door.folder.write("a.pem", text);
    await door.hears(1);
    assert.equal(await door.shown(), before);
    assert.deepEqual(door.told, ["a.pem: a.pem: is not a PEM certificate"]);
    await door.folder.write("a.pem", renewed.cert);
    await door.shows(renewed);
  });
}

test("a file that is gone changes nothing, and one broken certificate does not hold up the others", async (t) => {
  const files = { ...PAIR, "b.pem": second.cert, "b.key": second.key };
  const door = await follow(t, 40, files, (at) => [
    { cert: at("b.pem"), key: at("b.key") },
    { cert: at("a.pem"), key: at("a.key") },
  ]);
  await rename(door.folder.at("b.key"), door.folder.at("elsewhere"));
  await door.hears(1);
  assert.deepEqual(door.told, ["b.pem: b.key: cannot be read: ENOENT"]);
  await replace(door.folder, "a.pem", renewed.cert);
  await door.shows(renewed);
});

test("what cannot be used at the start is an error that names its file", async (t) => {
  await using folder = await temporaryFolder();
  const cert = await folder.write("a.pem", first.cert);
  const key = await folder.write("a.key", rekeyed.key);
  const store = storeOf(t, []);
  assert.throws(() => openCertificateFiles(store, [{ cert, key }]), {
    message: `${key}: is not the key of this certificate`,
  });
});
