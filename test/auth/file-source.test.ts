import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { mkdir, rename, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { describe, test } from "node:test";
import { FileSource, type FileSourceOptions } from "../../src/auth/file-source.ts";
import { HashWorkers } from "../../src/auth/password/hash-workers.ts";
import type { StoredPassword } from "../../src/auth/password/stored-password.ts";
import { ProvenPasswords } from "../../src/auth/proven-passwords.ts";
import { Refused } from "../../src/refusal.ts";
import { type TemporaryFolder, temporaryFolder } from "../support/temp.ts";
import { PATIENCE_MS, within } from "../support/waiting.ts";

const SHA1000 =
  "{SHA512-CRYPT}$6$rounds=1000$$.iDmP65p8twH4xRklgLM6b3KeMLRiE5OWGUiqIhHf/NGBlIiq.8G4dF5pUKl4NZyp6LUp47BEfZtAmJZfmV07/";
const BCRYPT5 = "$2a$05$abcdefghijklmnopqrstuu7nFISH/8YdwlXD3lw69A4iBUf6fvWAW";
/** Of both. */
const HELLO = "Hello world!";
const PEER = { address: "192.0.2.1", protocol: "imap" };

/** Checks at once and on the spot, and notes what each check would have cost. */
class CountingWorkers {
  readonly costs: string[] = [];
  readonly #real = new HashWorkers();

  async verify(password: string, stored: StoredPassword): Promise<boolean> {
    this.costs.push(stored.cost);
    return stored.scheme === "PLAIN" ? this.#real.verify(password, stored) : password === HELLO;
  }
}

type More = Partial<Omit<FileSourceOptions, "path" | "workers">>;

async function source(folder: TemporaryFolder, text: string, more: More = {}) {
  const workers = new CountingWorkers();
  const path = await folder.write("users.yaml", text);
  const loaded = await FileSource.load({ path, workers, ...more });
  assert.ok(loaded.ok, JSON.stringify(loaded));
  return { path, workers, users: loaded.source };
}

function credential(authcid: string, password: string) {
  return { mechanism: "PLAIN", authcid, password };
}

function refused(kind: string, detail: RegExp) {
  return (error: unknown) => {
    assert.ok(error instanceof Refused);
    assert.equal(error.refusal.kind, kind);
    assert.match(error.refusal.detail, detail);
    return true;
  };
}

describe("a file source answers", () => {
  test("with the identity, spelt as in the file, whatever the client's spelling", async () => {
    await using folder = await temporaryFolder();
    const { users } = await source(
      folder,
      `Ev\u00e9@Example.org: { password: "${SHA1000}", backend: beta, login: eve }`,
    );
    for (const name of ["Ev\u00e9@Example.org", "EVE\u0301@example.ORG"]) {
      const answer = await users.authenticate(credential(name, HELLO), PEER);
      assert.deepEqual(answer, {
        known: true,
        identity: { user: "Ev\u00e9@Example.org", backend: "beta", login: "eve" },
      });
    }
  });

  test("that it does not know somebody, without any work", async () => {
    await using folder = await temporaryFolder();
    const { users, workers } = await source(folder, `a: { password: "${SHA1000}" }`);
    for (const name of ["b", "", "__proto__", "a ", "a\0"]) {
      assert.deepEqual(await users.authenticate(credential(name, HELLO), PEER), { known: false });
    }
    assert.deepEqual(workers.costs, []);
  });

  test("that a password is wrong, never quoting it", async () => {
    await using folder = await temporaryFolder();
    const { users } = await source(folder, `a: { password: "${SHA1000}" }`);
    await assert.rejects(users.authenticate(credential("a", "hunter2"), PEER), (error: Error) => {
      assert.ok(!error.message.includes("hunter2"));
      return refused("badCredential", /wrong password/)(error);
    });
  });

  test("how an account stands only after the right password", async () => {
    await using folder = await temporaryFolder();
    const { users } = await source(
      folder,
      `
off: { password: "{PLAIN}x", disabled: true }
imap: { password: "{PLAIN}x", protocols: [pop3] }
away: { password: "{PLAIN}x", networks: [10.0.0.0/8] }
`,
    );
    for (const [name, why] of [
      ["off", /disabled/],
      ["imap", /protocol/],
      ["away", /network/],
    ] as const) {
      await assert.rejects(users.authenticate(credential(name, "x"), PEER), refused("notAllowed", why));
      await assert.rejects(
        users.authenticate(credential(name, "y"), PEER),
        refused("badCredential", /wrong/),
      );
    }
    await users.authenticate(credential("imap", "x"), { ...PEER, protocol: "pop3" });
    await users.authenticate(credential("away", "x"), { ...PEER, address: "::ffff:10.1.2.3" });
  });

  test("with problems when the file cannot be used", async () => {
    await using folder = await temporaryFolder();
    const workers = new CountingWorkers();
    const missing = await FileSource.load({ path: folder.at("no.yaml"), workers });
    assert.match(JSON.stringify(missing), /"ok":false.*cannot be read: ENOENT/);
    const aFolder = await FileSource.load({ path: folder.path, workers });
    assert.match(JSON.stringify(aFolder), /not a regular file/);
    const latin1 = await FileSource.load({
      path: await folder.write("latin1", Buffer.from([0xe9])),
      workers,
    });
    assert.match(JSON.stringify(latin1), /not UTF-8/);
  });

  test("in the real pool as well", async () => {
    await using folder = await temporaryFolder();
    await using workers = new HashWorkers();
    const path = await folder.write(
      "users.yaml",
      `a: { password: "${SHA1000}" }\nb: { password: "${BCRYPT5}" }`,
    );
    const loaded = await FileSource.load({ path, workers });
    assert.ok(loaded.ok);
    for (const name of ["a", "b"]) {
      await loaded.source.authenticate(credential(name, HELLO), PEER);
      await assert.rejects(loaded.source.authenticate(credential(name, "x"), PEER), Refused);
      await loaded.source.pretend(credential("nobody", "x"));
    }
    assert.equal(workers.stats.done, 6);
  });
});

describe("what an unknown user costs", () => {
  const MIXED =
    ["a", "b", "c"].map((name) => `${name}: { password: "${SHA1000}" }`).join("\n") +
    `\nd: { password: "${BCRYPT5}" }\n`;

  test("is spread over names as it is over the users", async () => {
    await using folder = await temporaryFolder();
    const { users, workers } = await source(folder, MIXED, { secret: Buffer.alloc(32, 7) });
    for (let n = 0; n < 2000; n += 1) await users.pretend(credential(`nobody${n}`, "x"));
    const dear = workers.costs.filter((cost) => cost === "SHA512-CRYPT rounds=1000").length / 2000;
    assert.ok(Math.abs(dear - 0.75) < 0.03, `${dear}`);
  });

  test("is the same each time for one name, in any spelling, and after a swap", async () => {
    await using folder = await temporaryFolder();
    const { users, workers, path } = await source(folder, MIXED, { secret: Buffer.alloc(32, 7) });
    for (let n = 0; n < 20; n += 1) await users.pretend(credential(`nobody${n}`, "x"));
    await writeFile(
      path,
      `${MIXED}e: { password: "${SHA1000}" }\nf: { password: "${SHA1000}" }\ng: { password: "${SHA1000}", disabled: true }\nh: { password: "${BCRYPT5}" }\n`,
    );
    await users.refresh();
    assert.equal(users.size, 8);
    for (let n = 0; n < 20; n += 1) await users.pretend(credential(`NOBODY${n}`, "x"));
    assert.deepEqual(workers.costs.slice(20), workers.costs.slice(0, 20));
  });

  test("is an argon2id hash when the file is empty", async () => {
    await using folder = await temporaryFolder();
    const { users, workers } = await source(folder, "{}");
    await users.pretend(credential("nobody", "x"));
    assert.deepEqual(workers.costs, ["ARGON2ID m=19456,t=2,p=1"]);
  });
});

describe("the cache of right passwords", () => {
  const proven = () => new ProvenPasswords({ ttlMs: 60_000 });

  test("saves the second hash, but no check of the account", async () => {
    await using folder = await temporaryFolder();
    const { users, workers } = await source(folder, `a: { password: "${SHA1000}", protocols: [imap] }`, {
      proven: proven(),
    });
    await users.authenticate(credential("a", HELLO), PEER);
    await users.authenticate(credential("A", HELLO), PEER);
    assert.equal(workers.costs.length, 1);
    await assert.rejects(
      users.authenticate(credential("a", HELLO), { ...PEER, protocol: "pop3" }),
      refused("notAllowed", /protocol/),
    );
    assert.equal(workers.costs.length, 1);
  });

  test("never makes a wrong password cheaper, nor an unknown name", async () => {
    await using folder = await temporaryFolder();
    const { users, workers } = await source(folder, `a: { password: "${SHA1000}" }`, { proven: proven() });
    await users.authenticate(credential("a", HELLO), PEER);
    for (let n = 0; n < 3; n += 1) {
      await assert.rejects(users.authenticate(credential("a", "x"), PEER), Refused);
      await users.pretend(credential("nobody", "x"));
      // The very password of the user whose hash is the decoy.
      await users.pretend(credential("nobody", HELLO));
    }
    assert.equal(workers.costs.length, 10);
  });

  test("knows nothing of a password that was changed, and forgets none that was not", async () => {
    await using folder = await temporaryFolder();
    const before = 'a: { password: "{PLAIN}old" }\nb: { password: "{PLAIN}same" }\n';
    const { users, workers, path } = await source(folder, before, { proven: proven() });
    for (const [name, password] of [
      ["a", "old"],
      ["b", "same"],
    ] as const)
      await users.authenticate(credential(name, password), PEER);
    await writeFile(path, before.replace("old", "new"));
    await users.refresh();
    await assert.rejects(users.authenticate(credential("a", "old"), PEER), refused("badCredential", /wrong/));
    await users.authenticate(credential("b", "same"), PEER);
    assert.equal(workers.costs.length, 3);
  });

  test("does not keep a user in who was taken out or disabled", async () => {
    await using folder = await temporaryFolder();
    const { users, path } = await source(folder, 'a: { password: "{PLAIN}x" }\nb: { password: "{PLAIN}x" }', {
      proven: proven(),
    });
    for (const name of ["a", "b"]) await users.authenticate(credential(name, "x"), PEER);
    await writeFile(path, 'b: { password: "{PLAIN}x", disabled: true }');
    await users.refresh();
    assert.deepEqual(await users.authenticate(credential("a", "x"), PEER), { known: false });
    await assert.rejects(users.authenticate(credential("b", "x"), PEER), refused("notAllowed", /disabled/));
  });
});

/** The events of a source as something to wait for. */
function follow(users: FileSource, options = { settleMs: 10, pollMs: 60_000 }) {
  const news = new EventEmitter();
  users.watch(
    {
      onReload: (count) => void news.emit("reload", count),
      onProblem: (problems) => void news.emit("problem", problems),
    },
    options,
  );
  const next = async (what: "reload" | "problem") => {
    const [told] = await within(PATIENCE_MS, `a ${what} is told`, once(news, what));
    return told;
  };
  return { next, news };
}

const ONE = 'a: { password: "{PLAIN}x" }\n';
const TWO = `${ONE}b: { password: "{PLAIN}x" }\n`;

describe("a users file that changes", () => {
  test("is swapped when written in place", async () => {
    await using folder = await temporaryFolder();
    const { users, path } = await source(folder, ONE);
    await using _open = users;
    const { next } = follow(users);
    const reload = next("reload");
    await writeFile(path, TWO);
    assert.equal(await reload, 2);
    assert.equal((await users.authenticate(credential("b", "x"), PEER)).known, true);
  });

  test("is swapped when replaced, again and again", async () => {
    await using folder = await temporaryFolder();
    const { users, path } = await source(folder, ONE);
    await using _open = users;
    const { next } = follow(users);
    for (const [text, count] of [
      [TWO, 2],
      [ONE, 1],
      [TWO, 2],
    ] as const) {
      const reload = next("reload");
      await rename(await folder.write("users.yaml.new", text), path);
      assert.equal(await reload, count);
    }
  });

  test("is swapped when Kubernetes turns the symlink beside it", async () => {
    await using folder = await temporaryFolder();
    for (const [version, text] of [
      ["v1", ONE],
      ["v2", TWO],
    ] as const) {
      await mkdir(folder.at(version));
      await folder.write(`${version}/users.yaml`, text);
    }
    await symlink("v1", folder.at("..data"));
    await symlink("..data/users.yaml", folder.at("users.yaml"));
    const loaded = await FileSource.load({ path: folder.at("users.yaml"), workers: new CountingWorkers() });
    assert.ok(loaded.ok);
    await using users = loaded.source;
    const { next } = follow(users);
    const reload = next("reload");
    await symlink("v2", folder.at("..data_tmp"));
    await rename(folder.at("..data_tmp"), folder.at("..data"));
    assert.equal(await reload, 2);
  });

  test("is swapped by the poll when nothing in its folder moves", async () => {
    await using folder = await temporaryFolder();
    await mkdir(folder.at("elsewhere"));
    const real = await folder.write("elsewhere/users.yaml", ONE);
    await symlink(real, folder.at("users.yaml"));
    const loaded = await FileSource.load({ path: folder.at("users.yaml"), workers: new CountingWorkers() });
    assert.ok(loaded.ok);
    await using users = loaded.source;
    const { next } = follow(users, { settleMs: 5, pollMs: 20 });
    const reload = next("reload");
    await writeFile(real, TWO);
    assert.equal(await reload, 2);
  });

  test("is swapped when it changed between load and watch", async () => {
    await using folder = await temporaryFolder();
    const { users, path } = await source(folder, ONE);
    await using _open = users;
    await writeFile(path, TWO);
    const { next } = follow(users);
    assert.equal(await next("reload"), 2);
  });

  for (const [how, breakIt, says] of [
    ["broken", (path: string) => writeFile(path, "a: [hunter2"), /users\.yaml/],
    ["missing", (path: string) => rm(path), /cannot be read: ENOENT/],
    ["empty", (path: string) => writeFile(path, "\n"), /is empty/],
  ] as const) {
    test(`keeps the old users while it is ${how}, says so once, and heals`, async () => {
      await using folder = await temporaryFolder();
      const { users, path } = await source(folder, ONE);
      await using _open = users;
      const { next, news } = follow(users, { settleMs: 5, pollMs: 20 });
      let told = 0;
      news.on("problem", () => {
        told += 1;
      });
      const problem = next("problem");
      await breakIt(path);
      assert.match(JSON.stringify(await problem), says);
      await users.refresh();
      await users.refresh();
      assert.equal(told, 1);
      assert.equal((await users.authenticate(credential("a", "x"), PEER)).known, true);
      const reload = next("reload");
      await writeFile(path, ONE);
      assert.equal(await reload, 1);
    });
  }

  test("is not swapped when only its time changed", async () => {
    await using folder = await temporaryFolder();
    const { users, path } = await source(folder, ONE);
    await using _open = users;
    const { next, news } = follow(users);
    news.on("reload", (count) => assert.equal(count, 2, "a reload without a change"));
    await utimes(path, 1, 1);
    await users.refresh();
    const reload = next("reload");
    await writeFile(path, TWO);
    assert.equal(await reload, 2);
  });

  test("emptied by {} locks everybody out, as it says", async () => {
    await using folder = await temporaryFolder();
    const { users, path } = await source(folder, ONE);
    await writeFile(path, "{}");
    await users.refresh();
    assert.equal(users.size, 0);
  });

  test("is no longer followed after close", async () => {
    await using folder = await temporaryFolder();
    const { users, path } = await source(folder, ONE);
    const { news } = follow(users);
    news.on("reload", () => assert.fail("told after close"));
    await users.close();
    await writeFile(path, TWO);
    await users.refresh();
  });
});
