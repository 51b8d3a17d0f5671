import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import { parseConfig } from "../../src/config/load.ts";
import { temporaryFolder } from "../support/temp.ts";

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

const CONFIG = `
hostname: mail.example.org
tls: { selfSigned: true }
listeners: [{ protocol: imap, port: 1143 }]
authentication: { sources: [{ type: file, path: users.yaml }] }
backends:
  alpha:
    host: alpha.internal
    tls: implicit
    protocols: { imap: 993 }
    login: { master: { user: postern, password: swordfish-1, separator: "*" } }
  beta:
    host: beta.internal
    tls: implicit
    protocols: { imap: { port: 993, tls: implicit } }
    login: { master: { user: postern, password: { file: beta-password }, separator: "*" } }
admin: { token: swordfish-3 }
policy: { mode: observe, store: "redis://:swordfish-4@127.0.0.1:6379/1" }
`;

test("check --effective prints all that is in force, loads to the same, and tells no secret", async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, "postern.yaml");
  writeFileSync(file, CONFIG);
  writeFileSync(join(folder.path, "users.yaml"), "{}\n");
  writeFileSync(join(folder.path, "beta-password"), "swordfish-2\n");
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, "check", "--effective", file], {
    encoding: "utf8",
  });
  assert.equal(status, 0, stderr);
  assert.doesNotMatch(stdout + stderr, /swordfish/);
  const shown = parse(stdout);
  assert.equal(shown.backends.alpha.login.master.password, "***");
  assert.deepEqual(shown.backends.beta.login.master.password, { file: "beta-password" });
  assert.equal(shown.admin.token, "***");
  assert.equal(shown.policy.mode, "observe");
  assert.equal(shown.policy.store, "redis://***@127.0.0.1:6379/1");
  assert.deepEqual(
    shown.policy.limits.map(({ name }: { name: string }) => name),
    ["connects", "guesses", "owner", "attacked", "open", "messages", "recipients", "hijacked", "roaming"],
  );
  const masked = parseConfig(CONFIG.replace(":swordfish-4", "***").replace(/swordfish-\d/g, '"***"'), file);
  const again = parseConfig(stdout, file);
  assert.ok(masked.ok && again.ok);
  assert.deepEqual(again.config, masked.config);
});

test("check --effective of a broken file prints what is wrong, and nothing else", async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, "postern.yaml");
  writeFileSync(file, "admin: { token: swordfish, prot: 1 }\n");
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, "check", "--effective", file], {
    encoding: "utf8",
  });
  assert.equal(status, 1);
  assert.equal(stdout, "");
  assert.match(stderr, /admin\.prot: is not a known key/);
  assert.doesNotMatch(stderr, /swordfish/);
});
