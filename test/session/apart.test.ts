import assert from "node:assert/strict";
import { test } from "node:test";
import { bind } from "../../src/listen/listener.ts";
import { connect } from "../support/conversation.ts";
import { within } from "../support/waiting.ts";
import { backendByHand } from "../upstream/backend-by-hand.ts";
import { base64, frontDoor } from "./front-door.ts";

test("a fault of ours ends the session it happened in, says nothing of itself, and no other session notices", async (t) => {
  const backend = await backendByHand(t);
  const door = await frontDoor(t, {
    backend,
    faults: 1,
    authenticate: async ({ authcid }) => {
      if (authcid === "mallory") throw new TypeError("undefined is not a function");
      return { user: authcid };
    },
  });
  const other = await door.greeted();
  const unlucky = await door.greeted();
  await unlucky.send("a LOGIN mallory secret");
  const lines = await unlucky.readToClose();
  assert.doesNotMatch(lines.join("\n"), /undefined|TypeError|OK/);
  const [record] = await door.closed(1);
  assert.equal(record?.["reason"], "error");
  await other.send("a LOGIN alice secret");
  await backend.signedIn();
  await other.expect("a OK");
  assert.match(await door.metrics(), /^postern_session_errors_total 1$/m);
});

test("two hundred good logins do not notice two hundred bad ones beside them", async (t) => {
  const door = await frontDoor(t, { users: { alice: "secret" } });
  const bad = ["!!!", "AAA=AAA=", "_-8=", "A".repeat(13_000), "*", base64("\0alice\0wrong")];
  const hears = async (initial: string, reply: string | RegExp): Promise<void> => {
    await using client = await connect({ port: door.port });
    await client.expect("* OK ");
    await client.send("a AUTHENTICATE PLAIN");
    await client.expect("+ ");
    await client.send(initial);
    await client.expect(reply);
  };
  await Promise.all(
    Array.from({ length: 200 }, (_, number) => [
      // There is no backend, so being known shows by its absence.
      hears(base64("\0alice\0secret"), "a NO [UNAVAILABLE] "),
      hears(bad[number % bad.length] ?? "*", /^(a BAD|a NO \[AUTHENTICATIONFAILED\]|\* BYE) /),
    ]).flat(),
  );
});

test("an IPv4 client of a listener on every address is known by its IPv4 address", async (t) => {
  const peer = Promise.withResolvers<string>();
  const listener = await bind({ name: "every", port: 0 }, (socket, { address }) => {
    peer.resolve(address);
    socket.destroy();
  });
  t.after(() => listener.close());
  await using client = await connect({ port: listener.port, host: "127.0.0.1" });
  assert.equal(await within(3_000, "the peer", peer.promise), "127.0.0.1");
  await client.expectClosed();
});
