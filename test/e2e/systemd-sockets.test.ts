import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "../support/conversation.ts";
import { freePorts } from "../support/ports.ts";
import { startProcess } from "../support/processes.ts";
import { startScriptedBackend } from "../support/scripted-backend.ts";
import { temporaryFolder } from "../support/temp.ts";

/** What systemd does: binds as root, then becomes the program, which could not have bound anything. */
const LAUNCHER = `
import fcntl, os, socket, sys
ports, command = sys.argv[1].split(","), sys.argv[2:]
held = []
for port in ports:
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("127.0.0.1", int(port)))
    s.listen(64)
    # Out of the way of the numbers that they are to have.
    held.append(fcntl.fcntl(s.detach(), fcntl.F_DUPFD, 100))
for at, fd in enumerate(held):
    os.dup2(fd, 3 + at)
os.environ["LISTEN_FDS"] = str(len(ports))
os.environ["LISTEN_PID"] = str(os.getpid())
os.execvp(command[0], command)
`;

for (const workers of [0, 1]) {
  test(`sockets of a systemd unit are the listeners of their addresses, workers: ${workers}`, async () => {
    await using folder = await temporaryFolder();
    await using backend = await startScriptedBackend({ tls: "none" });
    const [given = 0, bound = 0, stray = 0, admin = 0] = await freePorts(4);
    await folder.write("users.yaml", '"alice@example.org": { password: "{PLAIN}pw" }\n');
    const listener = (port: number, name: string) => ({ protocol: "imap", host: "127.0.0.1", port, name });
    const config = await folder.write(
      "postern.yaml",
      JSON.stringify({
        hostname: "door.example.org",
        workers,
        tls: { selfSigned: true },
        listeners: [listener(given, "given"), listener(bound, "bound")],
        authentication: { sources: [{ type: "file", path: "users.yaml" }] },
        backends: { store: { host: "127.0.0.1", tls: "none", protocols: { imap: backend.port } } },
        admin: { port: admin },
      }),
    );
    const launcher = await folder.write("launcher.py", LAUNCHER);
    const program = new URL("../../src/main.ts", import.meta.url).pathname;
    const command = [process.execPath, program, "run", "--config", config];
    await using gateway = await startProcess("python3", [launcher, `${given},${stray}`, ...command], {
      name: "gateway",
    });
    // Whoever came before the gateway was up has waited in the socket's own queue.
    await gateway.waitFor(/"msg":"ready"/);
    for (const port of [given, bound]) {
      await using client = await connect({ port });
      await client.expect("* OK ");
      await client.send("a NOOP");
      await client.expect("a OK ");
    }
    assert.match(
      gateway.output(),
      new RegExp(`"address":"127.0.0.1 port ${stray}","msg":"the service manager gave us`),
    );
    assert.equal((await gateway.stop()).code, 0);
  });
}
