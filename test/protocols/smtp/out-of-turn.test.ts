import assert from "node:assert/strict";
import { test } from "node:test";
import { smtp, submission } from "../../../src/protocols/smtp/index.ts";
import { Refused } from "../../../src/refusal.ts";
import type { Session } from "../../../src/session/session.ts";

for (const protocol of [submission, smtp]) {
  test(`item 12: who speaks before the greeting of ${protocol.name} is not greeted`, async () => {
    const said: string[] = [];
    let early = true;
    const channel = { speaksWithin: async () => early, write: async (text: string) => said.push(text) };
    const content = { earlyTalkers: "refuse", greetDelay: 20 };
    const session = { channel, frontend: { hostname: "door.example.org", content } } as unknown as Session;
    await assert.rejects(
      protocol.greet(session),
      (error) => error instanceof Refused && error.refusal.kind === "notOurProtocol",
    );
    assert.deepEqual(said, []);
    early = false;
    await protocol.greet(session);
    assert.deepEqual(said, ["220 door.example.org ESMTP\r\n"]);
  });
}
