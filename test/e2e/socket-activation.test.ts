import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { connect } from "../support/conversation.ts";
import { freePorts } from "../support/ports.ts";
import { runProcess, startProcess } from "../support/processes.ts";
import { temporaryFolder } from "../support/temp.ts";

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

/** Opens a listening socket as systemd does, and becomes the program that it is for. */
const ACTIVATE = `
import os, socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="mail")
os.execv(sys.argv[2], sys.argv[2:])
`;

async function written(port: number, adminPort: number, workers: number) {
  const folder = await temporaryFolder();
  await folder.write("users.yaml", "{}");
  const config = {
    workers,
    tls: { selfSigned: true },
    listeners: [{ protocol: "imap", port, host: "127.0.0.1", fd: "mail" }],
    authentication: { sources: [{ type: "file", path: "users.yaml" }] },
    backends: { store: { host: "127.0.0.1", tls: "none", protocols: { imap: 1 } } },
    admin: { port: adminPort },
  };
  return { folder, config: await folder.write("postern.yaml", JSON.stringify(config)) };
}

for (const workers of [0, 1]) {
  test(`with ${workers} workers systemd's socket is taken by its name`, async () => {
    const [port = 0, adminPort = 0] = await freePorts(2);
    const { folder, config } = await written(port, adminPort, workers);
    await using _folder = folder;
    const args = ["-c", ACTIVATE, String(port), process.execPath, MAIN, "run", "--config", config];
    await using gateway = await startProcess("python3", args, { name: "gateway" });
    // Whoever comes before it is ready waits in that socket.
    await gateway.waitFor(/"msg":"listening"/);
    await using client = await connect({ port });
    await client.expect("* OK ");
    assert.deepEqual(await gateway.stop(), { code: 0, signal: null });
  });
}

test("a socket that systemd did not open stops the start, by its name", async () => {
  const [port = 0, adminPort = 0] = await freePorts(2);
  const { folder, config } = await written(port, adminPort, 0);
  await using _folder = folder;
  const { code, stderr } = await runProcess(process.execPath, [MAIN, "run", "--config", config]);
  assert.equal(code, 1);
  assert.match(stderr, /listener imap-\d+: systemd has opened no socket with FileDescriptorName=mail for us/);
});
