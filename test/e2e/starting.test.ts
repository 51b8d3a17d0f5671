import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { certificateAuthority } from "../support/certificates.ts";
import { connect } from "../support/conversation.ts";
import { startGateway } from "../support/gateway.ts";
import { freePort, freePorts } from "../support/ports.ts";
import { runProcess } from "../support/processes.ts";
import { startScriptedBackend } from "../support/scripted-backend.ts";
import { temporaryFolder } from "../support/temp.ts";

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

/** `postern run` or `postern check` to its end, on this text. */
async function postern(command: "run" | "check", text: string) {
  await using folder = await temporaryFolder();
  await folder.write("users.yaml", "alice@example.org: { password: '{PLAIN}pw' }\n");
  const file = await folder.write("postern.yaml", text);
  const finished = await runProcess(process.execPath, [MAIN, command, "--config", file], {
    timeoutMs: 15_000,
  });
  return { ...finished, said: `${finished.stdout}${finished.stderr}`.replaceAll(folder.path, ".") };
}

test("a configuration of ten lines is enough", async () => {
  await using backend = await startScriptedBackend({ tls: "none" });
  const port = await freePort();
  await using gateway = await startGateway({
    users: { "alice@example.org": "pw" },
    config: `tls: { selfSigned: true }
listeners:
  - { protocol: imap, port: ${port}, tls: implicit }
authentication:
  sources:
    - { type: file, path: users.yaml }
backends:
  store: { host: 127.0.0.1, tls: none, protocols: { imap: ${backend.port} } }
`,
  });
  // Every address, IPv4 and IPv6, when none is named.
  for (const host of ["127.0.0.1", "::1"]) {
    await using client = await connect({ host, port, tls: { rejectUnauthorized: false } });
    await client.expect("* OK ");
    await client.send("a LOGIN alice@example.org pw");
    await client.expectUntil("a OK ");
    await client.send("z LOGOUT");
    await client.expectUntil("z OK ");
    const account = await gateway.account((record) => record.peer === host);
    assert.equal(account.listener, `imap-${port}`);
  }
});

test("a wrong configuration stops the start, with every mistake in its place", async () => {
  const text = `listeners:
  - { protocol: imap, port: 70000 }
authentication: { sources: [{ type: file, path: users.yaml }] }
backends:
  store: { host: 127.0.0.1, tls: sometimes, protocols: { imap: 143 } }
timeuots: { login: 5s }
`;
  for (const command of ["run", "check"] as const) {
    const { code, said } = await postern(command, text);
    assert.equal(code, 1, said);
    for (const place of ["postern.yaml:2:", "postern.yaml:5:", "postern.yaml:6:"]) {
      assert.ok(said.includes(place), `${place} in:\n${said}`);
    }
    assert.doesNotMatch(said, /\n\s+at /, "a stack trace is not for people");
  }
});

test("a port that is taken stops the start, says which, and leaves nothing half-open", async () => {
  const authority = await certificateAuthority();
  const [free = 0, taken = 0, adminPort = 0] = await freePorts(3);
  const squatter = createServer().listen(taken, "127.0.0.1");
  await once(squatter, "listening");
  try {
    const { cert, key } = await authority.issue(["localhost"]);
    await using folder = await temporaryFolder();
    await folder.write("cert.pem", cert);
    await folder.write("key.pem", key);
    await folder.write("users.yaml", "alice@example.org: { password: '{PLAIN}pw' }\n");
    const file = await folder.write(
      "postern.yaml",
      `tls: { certificates: [{ cert: cert.pem, key: key.pem }] }
listeners:
  - { protocol: imap, port: ${free}, host: 127.0.0.1 }
  - { protocol: imap, port: ${taken}, host: 127.0.0.1, tls: implicit }
authentication: { sources: [{ type: file, path: users.yaml }] }
backends: { store: { host: 127.0.0.1, tls: none, protocols: { imap: 143 } } }
admin: { port: ${adminPort} }
`,
    );
    const run = await runProcess(process.execPath, [MAIN, "run", "--config", file], { timeoutMs: 15_000 });
    assert.equal(run.code, 1, run.stderr);
    assert.match(run.stderr, new RegExp(`${taken}`));
    assert.doesNotMatch(run.stderr, /\n\s+at /, "a stack trace is not for people");
    await assert.rejects(connect({ port: free }), { code: "ECONNREFUSED" });
  } finally {
    squatter.close();
  }
});
