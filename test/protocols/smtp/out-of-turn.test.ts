import assert from "node:assert/strict";
import { test } from "node:test";
import { smtp, submission } from "../../../src/protocols/smtp/index.ts";
import { Refused } from "../../../src/refusal.ts";
import type { Session } from "../../../src/session/session.ts";

for (const protocol of [submission, smtp]) {
  test(`item 12: who speaks before the greeting of ${protocol.name} is not greeted`, async () => {
    const said: string[] = [];
    const channel = { pending: 6, write: async (text: string) => said.push(text) };
    const session = { channel, frontend: { hostname: "door.example.org" } } as unknown as Session;
    await assert.rejects(
      protocol.greet(session),
      (error) => error instanceof Refused && error.refusal.kind === "notOurProtocol",
    );
    assert.deepEqual(said, []);
    channel.pending = 0;
    await protocol.greet(session);
    assert.deepEqual(said, ["220 door.example.org ESMTP\r\n"]);
  });
}
