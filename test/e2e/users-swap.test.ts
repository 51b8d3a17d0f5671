import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { type Door, openDoor } from "../support/door.ts";
import { startDovecot } from "../support/dovecot.ts";
import { beginIdle, message, readMessage } from "../support/mail.ts";
import { eventually } from "../support/waiting.ts";

/** The reply to one login, its condition and code alone: `OK`, `NO [AUTHENTICATIONFAILED]`. */
async function tryLogin(door: Door, user: string, password: string): Promise<string> {
  await using client = await door.greetedInTls();
  await client.send(`a LOGIN ${user} "${password}"`);
  const reply = (await client.expectUntil("a ")).at(-1) ?? "";
  return /^a (OK|NO \[\w+\])/.exec(reply)?.[1] ?? reply;
}

async function loginBecomes(door: Door, user: string, password: string, expected: string): Promise<void> {
  let last = "";
  await eventually(
    () => `the login of ${user} to become ${expected}; it is ${last}`,
    async () => {
      last = await tryLogin(door, user, password);
      return last === expected;
    },
    { everyMs: 100 },
  );
}

const WRONG = "NO [AUTHENTICATIONFAILED]";

test("a new users.yaml counts from the next login on, and ends nobody's session", async (t) => {
  const authority = await certificateAuthority();
  const known = { "alice@example.org": "gate", "bob@example.org": "gate", "carol@example.org": "gate" };
  // By a master user, so that the door's file alone decides about passwords.
  await using alpha = await startDovecot({
    name: "alpha",
    tls: "none",
    users: known,
    master: { user: "m", password: "mm" },
  });
  await using beta = await startDovecot({
    name: "beta",
    tls: "none",
    users: known,
    master: { user: "m", password: "mm" },
  });
  for (const user of Object.keys(known)) {
    await alpha.deliver(user, message("at alpha"));
    await beta.deliver(user, message("at beta"));
  }
  const login = { master: { user: "m", password: "mm", separator: "*" } };
  await using door = await openDoor({
    authority,
    backends: { alpha, beta },
    backendKeys: { alpha: { login }, beta: { login } },
    users: { "alice@example.org": "old", "bob@example.org": "bob's" },
    config: { routes: [{ to: "alpha" }] },
  });
  await using staying = await door.signedIn("bob@example.org", "bob's");
  await beginIdle(staying);
  assert.equal(await tryLogin(door, "alice@example.org", "old"), "OK");
  assert.equal(await tryLogin(door, "carol@example.org", "carol's"), WRONG);

  await t.test("a new password, a new user, a user gone, another backend", async () => {
    await door.gateway.writeUsers({
      "alice@example.org": { password: "new", backend: "beta" },
      "carol@example.org": "carol's",
    });
    await loginBecomes(door, "alice@example.org", "new", "OK");
    // At once: a success that was remembered does not outlive its password.
    assert.equal(await tryLogin(door, "alice@example.org", "old"), WRONG);
    assert.equal(await tryLogin(door, "carol@example.org", "carol's"), "OK");
    assert.equal(await tryLogin(door, "bob@example.org", "bob's"), WRONG);
    await using alice = await door.signedIn("alice@example.org", "new");
    assert.match((await readMessage(alice)).toString(), /^Subject: at beta\r$/m);
  });

  await t.test("who is inside stays inside", async () => {
    await alpha.deliver("bob@example.org", message("pushed"));
    await staying.expect("* 2 EXISTS");
  });

  await t.test("a file written in place counts as well", async () => {
    await writeFile(
      door.gateway.folder.at("users.yaml"),
      'alice@example.org: { password: "{PLAIN}third" }\n',
    );
    await loginBecomes(door, "alice@example.org", "third", "OK");
    assert.equal(await tryLogin(door, "alice@example.org", "new"), WRONG);
  });

  await t.test("a broken file changes nothing and is told to the log with its line", async () => {
    await writeFile(door.gateway.folder.at("users.yaml"), 'alice@example.org:\n  pasword: "{PLAIN}typo"\n');
    await eventually(
      () => `the log to tell of the broken file:\n${door.gateway.output()}`,
      () =>
        door.gateway
          .log()
          .some((line) => Number(line["level"]) >= 40 && JSON.stringify(line).includes("users.yaml:2:")),
    );
    assert.equal(await tryLogin(door, "alice@example.org", "third"), "OK");
    assert.equal((await door.gateway.admin("/readyz")).status, 200);
  });

  await t.test("and once mended it counts again", async () => {
    await door.gateway.writeUsers({ "alice@example.org": "fifth" });
    await loginBecomes(door, "alice@example.org", "fifth", "OK");
  });
});
