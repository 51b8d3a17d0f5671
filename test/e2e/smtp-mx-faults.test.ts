import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";
import { certificateAuthority } from "../support/certificates.ts";
import type { Conversation } from "../support/conversation.ts";
import { type Act, type Point, startScriptedSmtp } from "../support/scripted-smtp.ts";
import { openSmtpDoor, talk } from "../support/smtp-door.ts";
import { eventually } from "../support/waiting.ts";

const BODY = "Subject: x\r\n\r\nhello\r\n.";
const POINTS = ["greeting", "ehlo", "mail", "rcpt", "data", "body", "end", "rset"] as const;

async function open(config: Readonly<Record<string, unknown>> = {}) {
  const faults: Partial<Record<Point, Act | Promise<undefined>>> = {};
  const acts = Object.fromEntries(POINTS.map((point) => [point, () => faults[point]]));
  const backend = await startScriptedSmtp({ acts });
  const door = await openSmtpDoor({
    authority: await certificateAuthority(),
    backends: { backend },
    speaks: ["smtp"],
    domains: { backend: "north.example" },
    config: { timeouts: { connect: "2s", drain: "20s" }, ...config },
  });
  backend.forget();
  return {
    backend,
    door,
    faults,
    async [Symbol.asyncDispose]() {
      await door[Symbol.asyncDispose]();
      await backend[Symbol.asyncDispose]();
    },
  };
}

/** One message as far as it goes: the last reply. */
async function send(client: Conversation): Promise<string> {
  let last = "";
  for (const [said, good] of [
    ["MAIL FROM:<a@far.example>", "250 "],
    ["RCPT TO:<bob@north.example>", "250 "],
    ["DATA", "354 "],
    [BODY, "250 "],
  ] as const) {
    last = await talk(client, [said, /^\d/]);
    if (!last.startsWith(good)) return last;
  }
  return last;
}

const ENDS: readonly Act[] = [
  "close",
  "reset",
  { say: "not SMTP at all\r\n", next: "close" },
  { say: "421 4.3.2 going down\r\n", next: "close" },
];

test("items 40 to 42 at port 25: a backend that dies costs that message, and is never acknowledged for", async (t) => {
  await using place = await open();
  const { backend, door, faults } = place;
  for (const second of [false, true]) {
    for (const point of POINTS) {
      if (point === "rset" || (second && (point === "greeting" || point === "ehlo"))) continue;
      for (const act of ENDS) {
        await t.test(`${point}${second ? " of a second message" : ""}: ${inspect(act)}`, async () => {
          await using client = await door.fromServer();
          if (second) assert.match(await send(client), /^250 /);
          backend.forget();
          faults[point] = act;
          assert.match(await send(client), /^(451 4\.4\.1|421 4\.(4\.1|3\.2)) /);
          assert.deepEqual(backend.taken, []);
          delete faults[point];
          await using next = await door.fromServer();
          assert.match(await send(next), /^250 /);
        });
      }
    }
  }
});

test("item 44 at port 25: a 421 that comes while nobody speaks is the next command's answer", async () => {
  await using place = await open();
  const { backend, door } = place;
  for (const command of ["NOOP", "MAIL FROM:<>", "RSET", "EHLO x", "RCPT TO:<bob@north.example>"]) {
    await using client = await door.fromServer();
    assert.match(await send(client), /^250 /);
    backend.say("421 4.4.2 idle too long\r\n");
    await eventually("the gateway to let go of the backend", () => backend.open === 0);
    await talk(client, [command, "421 4.4.1 "]);
    await client.expectClosed();
  }
});

test("items 49, 50 at port 25: a message that the backend has whole is left to it, and a stop waits for it", async () => {
  await using place = await open();
  const { backend, door, faults } = place;
  const held = Promise.withResolvers<undefined>();
  faults.end = held.promise;
  await using gone = await door.fromServer();
  await using waits = await door.fromServer();
  for (const client of [gone, waits]) {
    await talk(client, ["MAIL FROM:<>", "250 "], ["RCPT TO:<bob@north.example>", "250 "], ["DATA", "354 "]);
    await client.send(BODY);
  }
  await eventually("both messages at the backend", () => backend.received().split("\r\n.\r\n").length === 3);
  gone.vanish();
  door.gateway.signal("SIGTERM");
  await eventually("the stop to begin", () => door.gateway.output().includes("stopping"));
  assert.equal(backend.open, 2);
  held.resolve(undefined);
  await waits.expect("250 2.0.0 taken");
  await waits.expect("421 4.3.2 ");
  await waits.expectClosed();
  assert.equal(backend.taken.length, 2);
});
