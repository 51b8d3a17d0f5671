import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { type Act, type Point, startScriptedSmtp } from "../support/scripted-smtp.ts";
import { openSmtpDoor, plain, talk } from "../support/smtp-door.ts";

const USER = "alice@example.org";
const PASSWORD = "right";

/** At each point before a client is let in, its ordinary answer and one more. */
const TWICE: Partial<Record<Point, Act>> = {
  greeting: { say: "220 ready\r\n250 2.0.0 by the way\r\n" },
  ehlo: { say: "250-backend\r\n250-PIPELINING\r\n250 AUTH PLAIN\r\n250 2.0.0 by the way\r\n" },
  auth: { say: "235 2.7.0 in\r\n250 2.0.0 by the way\r\n" },
  mail: { say: "250 2.1.0 sender ok\r\n250 2.1.5 recipient ok\r\n" },
  rcpt: { say: "550 5.1.1 no such user\r\n250 2.0.0 by the way\r\n" },
};

for (const [point, twice] of Object.entries(TWICE)) {
  test(`a reply behind the one to ${point} is no reply to what comes next, but an outage`, async () => {
    const faults: Partial<Record<Point, Act>> = { rcpt: { say: "550 5.1.1 no such user\r\n" } };
    const acts = Object.fromEntries(Object.keys(TWICE).map((at) => [at, () => faults[at as Point]]));
    await using backend = await startScriptedSmtp({ auth: true, acts });
    await using door = await openSmtpDoor({
      authority: await certificateAuthority(),
      users: { [USER]: PASSWORD },
      backends: { backend },
      domains: { backend: "north.example" },
    });
    faults[point as Point] = twice;
    if (point !== "mail" && point !== "rcpt") {
      await using client = await door.greetedInTls();
      await talk(client, [`AUTH PLAIN ${plain(USER, PASSWORD)}`, "454 4.7.0 "]);
    }
    if (point !== "auth") {
      await using server = await door.fromServer();
      await talk(server, ["MAIL FROM:<>", "250 "], ["RCPT TO:<bob@north.example>", "451 4.4.1 "]);
    }
    assert.deepEqual(backend.taken, []);
  });
}
