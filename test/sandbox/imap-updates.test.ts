import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Account } from "../../src/sandbox/account.ts";
import { Selected } from "../../src/sandbox/imap/selected.ts";
import type { Message } from "../../src/sandbox/mailbox.ts";
import { fillInbox, sandboxFor, selected } from "./support.ts";

test("what one session does the other hears at its next command", async (t) => {
  const sandbox = await sandboxFor(t);
  fillInbox(sandbox, 3);
  const [one, two] = [await selected(t, sandbox), await selected(t, sandbox)];
  await one.ok("STORE 2 +FLAGS (\\Deleted)");
  assert.deepEqual(await two.ok("NOOP"), ["* 2 FETCH (FLAGS (\\Deleted))"]);
  await one.ok("EXPUNGE");
  await one.ok("APPEND INBOX {1+}\r\nx");
  assert.deepEqual(await two.ok("NOOP"), ["* 2 EXPUNGE", "* 3 EXISTS", "* 0 RECENT"]);
  assert.deepEqual(await two.ok("NOOP"), []);
});

test("no expunge is told during FETCH, STORE and SEARCH, and numbers hold still (RFC 3501 7.4.1)", async (t) => {
  const sandbox = await sandboxFor(t);
  fillInbox(sandbox, 3);
  const [one, two] = [await selected(t, sandbox), await selected(t, sandbox)];
  await one.ok("STORE 1 +FLAGS.SILENT \\Deleted");
  await one.ok("EXPUNGE");
  assert.deepEqual(await two.ok("FETCH 1:3 UID"), [
    "* 1 FETCH (UID 1)",
    "* 2 FETCH (UID 2)",
    "* 3 FETCH (UID 3)",
    "* 1 FETCH (FLAGS (\\Deleted))",
  ]);
  assert.deepEqual(await two.ok("SEARCH UID 3"), ["* SEARCH 3"]);
  assert.deepEqual(await two.ok("STORE 3 +FLAGS \\Seen"), ["* 3 FETCH (FLAGS (\\Seen))"]);
  assert.deepEqual(await two.ok("UID FETCH 2 UID"), ["* 2 FETCH (UID 2)"]);
  assert.deepEqual(await two.ok("NOOP"), ["* 1 EXPUNGE"]);
  assert.deepEqual(await two.ok("SEARCH UID 3"), ["* SEARCH 2"]);
});

test("IDLE tells at once", async (t) => {
  const sandbox = await sandboxFor(t);
  const [one, two] = [await selected(t, sandbox), await selected(t, sandbox)];
  await two.wire.send("i IDLE");
  await two.wire.expect("+ ");
  await one.ok("APPEND INBOX {1+}\r\nx");
  await two.wire.expect("* 1 EXISTS");
  await two.wire.expect("* 1 RECENT");
  await one.ok("STORE 1 FLAGS \\Deleted");
  await two.wire.expect("* 1 FETCH (FLAGS (\\Deleted \\Recent))");
  await one.ok("EXPUNGE");
  await two.wire.expect("* 1 EXPUNGE");
  await two.wire.send("done");
  await two.wire.expect("i OK");
  await two.wire.send("j IDLE");
  await two.wire.expect("+ ");
  await two.wire.send("k NOOP");
  await two.wire.expect("j BAD");
  await two.ok("NOOP");
});

test("\\Recent belongs to the first session that selects, and EXAMINE takes it from nobody", async (t) => {
  const sandbox = await sandboxFor(t);
  fillInbox(sandbox, 1);
  const first = await selected(t, sandbox);
  const second = await selected(t, sandbox);
  assert.deepEqual(await first.ok("FETCH 1 FLAGS"), ["* 1 FETCH (FLAGS (\\Recent))"]);
  assert.deepEqual(await second.ok("FETCH 1 FLAGS"), ["* 1 FETCH (FLAGS ())"]);
});

test("a mailbox that is deleted under a session empties and stays usable", async (t) => {
  const sandbox = await sandboxFor(t);
  const [one, two] = [await selected(t, sandbox), await selected(t, sandbox)];
  await one.ok("CREATE x");
  await one.ok("APPEND x {1+}\r\nx");
  await two.ok("SELECT x");
  await one.ok("DELETE x");
  assert.deepEqual(await two.ok("NOOP"), ["* 1 EXPUNGE"]);
  await two.ok("FETCH 1:* FLAGS");
});

interface Step {
  readonly kind: "append" | "expunge" | "flag" | "look";
  /** Which message. */
  readonly at: number;
  readonly mayExpunge: boolean;
}

/** A client that knows only what it was told; `undefined` is a message it has not looked at. */
function hear(known: (Message | undefined)[], updates: string): void {
  for (const line of updates.split("\r\n")) {
    const [, number = "", what] = /^\* (\d+) (EXISTS|EXPUNGE)/.exec(line) ?? [];
    if (what === "EXPUNGE") {
      assert.ok(Number(number) <= known.length, "no message beyond the last is expunged");
      known.splice(Number(number) - 1, 1);
    }
    if (what === "EXISTS") {
      assert.ok(Number(number) >= known.length, "EXISTS never shrinks the mailbox");
      while (known.length < Number(number)) known.push(undefined);
    }
  }
}

test("whatever other sessions do, a client that counts along is never wrong", () => {
  const step = fc.record<Step>({
    kind: fc.constantFrom("append", "expunge", "flag", "look"),
    at: fc.nat(20),
    mayExpunge: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (script) => {
      const { inbox } = new Account("alice");
      for (let count = 0; count < 5; count++) inbox.append(Buffer.from("x"));
      const view = new Selected(inbox, false);
      const known: (Message | undefined)[] = [...inbox.messages];
      for (const { kind, at, mayExpunge } of [...script, { kind: "look", at: 0, mayExpunge: true }]) {
        const message = inbox.messages[at];
        if (kind === "append") inbox.append(Buffer.from("x"));
        else if (kind === "expunge" && message) inbox.expunge([message]);
        else if (kind === "flag" && message) inbox.changeFlags(message, "add", ["\\Seen"]);
        else if (kind === "look") {
          hear(known, view.takeUpdates(mayExpunge));
          const shown = view.all().map(({ message: each }) => each);
          for (const [index, each] of known.entries()) known[index] = each ?? shown[index];
          assert.deepEqual(known, shown);
        }
      }
      assert.deepEqual(known, inbox.messages);
    }),
    { numRuns: 500 },
  );
});
