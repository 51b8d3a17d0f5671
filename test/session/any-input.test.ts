import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Conversation } from "../support/conversation.ts";
import { connect } from "../support/conversation.ts";
import { startScriptedBackend } from "../support/scripted-backend.ts";
import { base64, frontDoor } from "./front-door.ts";

/** How to bring a session into each of its states; the input comes then. */
const STATES: Record<string, (client: Conversation) => Promise<void>> = {
  greeted: async () => {},
  understood: async (client) => {
    await client.send("s NOOP");
    await client.expect("s OK");
  },
  "in a literal": async (client) => {
    await client.send("s LOGIN {20}");
    await client.expect("+ ");
  },
  "in AUTHENTICATE PLAIN": async (client) => {
    await client.send("s AUTHENTICATE PLAIN");
    await client.expect("+ ");
  },
  "between the questions of AUTHENTICATE LOGIN": async (client) => {
    await client.send(`s AUTHENTICATE LOGIN ${base64("alice")}`);
    await client.expect("+ ");
  },
  "after a failed login": async (client) => {
    await client.send("s LOGIN alice wrong");
    await client.expect("s NO");
  },
  relaying: async (client) => {
    await client.send("s LOGIN alice secret");
    await client.expect("s OK");
  },
};

const pieces = [
  "a LOGIN ",
  "alice",
  " ",
  "secret",
  "{5}",
  "{5+}",
  "{99999999999+}",
  "{20}",
  "\r\n",
  "\n",
  "\r",
  "\0",
  '"',
  "\\",
  "(",
  ")",
  "*",
  "+",
  "a ",
  "NOOP",
  "CAPABILITY",
  "LOGOUT",
  "STARTTLS",
  "AUTHENTICATE PLAIN",
  "AUTHENTICATE LOGIN",
  "ID NIL",
  "ID (",
  base64("\0alice\0wrong"),
  base64("\0alice\0secret"),
  "=",
  "GET / HTTP/1.1",
  "\xff\xfe",
  "\x16\x03\x01\x02\x00\x01",
  "SELECT INBOX",
];
const input = fc
  .array(
    fc.oneof(
      { weight: 6, arbitrary: fc.constantFrom(...pieces) },
      {
        weight: 1,
        arbitrary: fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes).toString("latin1")),
      },
      { weight: 1, arbitrary: fc.constantFrom("(".repeat(9_000), "x".repeat(13_000)) },
    ),
    { maxLength: 14 },
  )
  .map((parts) => parts.join(""));

test("no input, in any state of a session, does more than end it", async (t) => {
  await using backend = await startScriptedBackend({ tls: "none" });
  const door = await frontDoor(t, { backend: { port: backend.port }, frontend: { loginTimeoutMs: 5_000 } });
  let sessions = 0;
  await fc.assert(
    fc.asyncProperty(
      input,
      fc.constantFrom(...Object.keys(STATES)),
      fc.constantFrom("end", "vanish"),
      async (bytes, state, leave) => {
        const failuresBefore = door.log.filter((line) => line["level"] === 50).length;
        {
          await using client = await connect({ port: door.port, timeoutMs: 3_000 });
          await client.expect("* OK ");
          await STATES[state]?.(client);
          await client.sendRaw(bytes);
          if (leave === "vanish") {
            client.vanish();
          } else {
            client.end();
            // Nobody waits for us any more, so every session ends by itself.
            const lines = await client.readToClose();
            for (const line of lines) {
              if (
                state !== "relaying" &&
                !lines.some((said) => /^\S+ OK .*(LITERAL\+ UIDPLUS|Logged in)/.test(said))
              )
                assert.match(line, /^(\+ |\* |[!-~]{1,64} (OK|NO|BAD) )[ -~]*$/);
            }
          }
        }
        sessions += 1;
        await door.closed(sessions);
        assert.equal(
          door.log.filter((line) => line["level"] === 50).length,
          failuresBefore,
          "a fault of the gateway",
        );
      },
    ),
    { numRuns: 250 },
  );
  assert.equal(door.live.size, 0);
  assert.equal(door.accounts().length, sessions, "one account record for each");
});
