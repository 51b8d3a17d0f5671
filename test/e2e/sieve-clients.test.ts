import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { BACKEND_NAME } from "../support/door.ts";
import { startDovecot } from "../support/dovecot.ts";
import { inTls, openSieveDoor, sieveOf } from "../support/sieve.ts";
import { temporaryFolder } from "../support/temp.ts";

const USER = "alice@example.org";
const PASSWORD = 'alice\'s "own" pässword';
const SCRIPT = `require ["fileinto", "vacation"];
# Ünïcode, "quotes" {5+}
if header :contains "subject" "list" {
  fileinto "Lists";
}
${Array.from({ length: 200 }, (_, n) => `# line ${n}\n`).join("")}keep;
`.replaceAll("\n", "\r\n");

for (const tls of ["none", "starttls", "implicit"] as const) {
  test(`sieve-connect keeps its scripts on a backend reached by ${tls}`, async (t) => {
    const authority = await certificateAuthority();
    const certificate = await authority.issue([BACKEND_NAME]);
    await using store = await startDovecot({
      tls: tls === "starttls" ? "starttls" : "none",
      certificate,
      sieve: true,
      users: { [USER]: PASSWORD },
    });
    await using wrapped = await inTls(sieveOf(store), certificate);
    await using door = await openSieveDoor({
      authority,
      backends: { store: tls === "implicit" ? wrapped : sieveOf(store) },
      users: { [USER]: PASSWORD },
      config: { routes: [{ to: "store" }] },
    });
    await using folder = await temporaryFolder();
    const local = await folder.write("mine.sieve", SCRIPT);
    const run = async (...args: string[]): Promise<string> => {
      const { code, stdout, stderr } = await door.sieveConnect(USER, PASSWORD, ...args);
      assert.deepEqual([code, stderr], [0, ""], `${args.join(" ")}\n${stdout}`);
      return stdout;
    };

    await t.test("checks and puts", async () => {
      await run("--checkscript", "--localsieve", local);
      await run("--upload", "--localsieve", local, "--remotesieve", "mine");
      await run("--upload", "--localsieve", local, "--remotesieve", "other");
    });
    await t.test("activates and lists", async () => {
      await run("--activate", "--remotesieve", "mine");
      assert.deepEqual((await run("--list")).trim().split("\n").sort(), ['"mine" ACTIVE', '"other"']);
    });
    await t.test("gets what was put", async () => {
      await run("--download", "--remotesieve", "mine", "--localsieve", folder.at("back.sieve"));
      assert.equal(await readFile(folder.at("back.sieve"), "utf8"), SCRIPT);
    });
    await t.test("deletes", async () => {
      await run("--delete", "--remotesieve", "other");
      await run("--deactivate");
      await run("--delete", "--remotesieve", "mine");
      assert.equal(await run("--list"), "");
    });
    await t.test("hears of a script that is none, in the backend's words", async () => {
      const broken = await folder.write("broken.sieve", "bogus;;\r\n");
      const { stderr } = await door.sieveConnect(USER, PASSWORD, "--upload", "--localsieve", broken);
      assert.match(stderr, /PUTSCRIPT\(broken\.sieve\) failed/);
    });
    await t.test("is told of a wrong password", async () => {
      const before = store.logins().length;
      const { code, stderr } = await door.sieveConnect(USER, "wrong", "--list");
      assert.notEqual(code, 0);
      assert.match(stderr, /Authentication failed/);
      assert.equal(store.logins().length, before);
    });
    await t.test("each session has its record", async () => {
      const accounts = door.gateway.accounts().filter(({ outcome }) => outcome === "ok");
      assert.ok(accounts.length >= 8, `${accounts.length}`);
      for (const account of accounts)
        assert.deepEqual([account.protocol, account.user, account.backend], ["sieve", USER, "store"]);
    });
  });
}
