import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { openSmtpDoor, talk } from "../support/smtp-door.ts";

const USER = "alice@example.org";
const PASSWORD = "right";
const LINE = `${"x".repeat(78)}\r\n`;

/** A backend that answers, up to the beginning of a message, and then takes not a byte more. */
async function startStuckBackend() {
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    open.add(socket);
    socket.on("error", () => {});
    socket.write("220 backend.example.net\r\n");
    let text = "";
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1");
      for (let end = text.indexOf("\r\n"); end >= 0; end = text.indexOf("\r\n")) {
        const line = text.slice(0, end);
        text = text.slice(end + 2);
        if (line.startsWith("BDAT") || line === "DATA") socket.pause();
        if (line.startsWith("BDAT")) return;
        if (line.startsWith("EHLO"))
          socket.write("250-x\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 AUTH PLAIN\r\n");
        else if (line.startsWith("AUTH")) socket.write("235 in\r\n");
        else socket.write(line === "DATA" ? "354 go ahead\r\n" : "250 ok\r\n");
      }
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return {
    host: "127.0.0.1",
    port: address.port,
    tls: "none" as const,
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

for (const how of ["DATA", "BDAT"] as const) {
  for (const leaves of [false, true]) {
    test(`a backend that stops reading behind ${how} keeps no session for ever${leaves ? ", whose client has left" : ""}`, async () => {
      await using backend = await startStuckBackend();
      await using door = await openSmtpDoor({
        authority: await certificateAuthority(),
        users: { [USER]: PASSWORD },
        backends: { backend },
        config: { timeouts: { smtpIdle: "1s" } },
      });
      await using client = await door.signedIn(USER, PASSWORD);
      await talk(client, ["MAIL FROM:<>", "250 "], ["RCPT TO:<a@x.example>", "250 "]);
      if (how === "DATA") await talk(client, ["DATA", "354 "]);
      else await client.sendRaw("BDAT 40000000 LAST\r\n");
      // More than all buffers between the two have room for; the last of it is never taken.
      const flood = (async () => {
        for (let sent = 0; sent < 40_000_000; sent += 100_000) await client.sendRaw(LINE.repeat(1_250));
      })().catch(() => {});
      await door.gateway.metricIs("postern_sessions_open", 1);
      if (leaves) {
        await new Promise((resolve) => setTimeout(resolve, 500));
        client.vanish();
      }
      await door.gateway.account(({ user }) => user === USER);
      client.vanish();
      await flood;
    });
  }
}
