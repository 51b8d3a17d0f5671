import assert from "node:assert/strict";
import { test } from "node:test";
import { difference } from "../../src/config/difference.ts";
import { parseConfig } from "../../src/config/load.ts";
import type { Config } from "../../src/config/schema.ts";
import { temporaryFolder } from "../support/temp.ts";

test("what has changed is said by name, and what a reload cannot change", async () => {
  await using folder = await temporaryFolder();
  await folder.write("users.yaml", "{}");
  const read = (more: object): Config => {
    const written = {
      hostname: "door.example",
      listeners: [{ protocol: "imap", port: 993, tls: "implicit" }],
      tls: { selfSigned: true },
      authentication: { sources: [{ type: "file", path: "users.yaml" }] },
      backends: { alpha: { host: "alpha.example", protocols: { imap: 143 } } },
      ...more,
    };
    const loaded = parseConfig(JSON.stringify(written), folder.at("postern.yaml"), {});
    assert.ok(loaded.ok, JSON.stringify(loaded));
    return loaded.config;
  };
  const before = read({});
  assert.deepEqual(difference(before, read({})), { changes: [], needsRestart: [] });
  const after = read({
    workers: 3,
    listeners: [
      { protocol: "imap", port: 993, tls: "implicit", requireTls: true, name: "imap-993" },
      { protocol: "pop3", port: 995, tls: "implicit" },
    ],
    backends: { beta: { host: "beta.example", protocols: { imap: 143, pop3: 110 } } },
    admin: { port: 8026, token: "secret" },
    logging: { level: "debug" },
  });
  assert.deepEqual(difference(before, after), {
    changes: [
      "listener pop3-995 added",
      "backend alpha removed",
      "backend beta added",
      "admin changed",
      "logging changed",
    ],
    needsRestart: ["workers", "admin.port"],
  });
});
