import assert from "node:assert/strict";
import { test } from "node:test";
import { fillInbox, sandboxFor, signedIn } from "./support.ts";

test("LIST shows what there is, with its special use and whether it has children", async (t) => {
  const client = await signedIn(t, await sandboxFor(t));
  await client.ok("CREATE Lists/&AMk-");
  assert.deepEqual(await client.ok('LIST "" *'), [
    '* LIST (\\HasNoChildren) "/" INBOX',
    '* LIST (\\HasNoChildren \\Drafts) "/" Drafts',
    '* LIST (\\HasNoChildren \\Sent) "/" Sent',
    '* LIST (\\HasNoChildren \\Trash) "/" Trash',
    '* LIST (\\HasNoChildren \\Junk) "/" Junk',
    '* LIST (\\HasNoChildren \\Archive) "/" Archive',
    '* LIST (\\HasChildren) "/" Lists',
    '* LIST (\\HasNoChildren) "/" Lists/&AMk-',
  ]);
  assert.deepEqual(await client.ok('LIST "" ""'), ['* LIST (\\Noselect) "/" ""']);
  assert.deepEqual(await client.ok("LIST Lists/ %"), ['* LIST (\\HasNoChildren) "/" Lists/&AMk-']);
  assert.deepEqual(await client.ok('LIST "" inbox'), ['* LIST (\\HasNoChildren) "/" INBOX']);
  assert.equal((await client.ok('LIST (SPECIAL-USE) "" *')).length, 5);
  assert.deepEqual(await client.ok('LIST "" (Sen% L%) RETURN (SUBSCRIBED STATUS (MESSAGES))'), [
    '* LIST (\\HasNoChildren \\Sent \\Subscribed) "/" Sent',
    "* STATUS Sent (MESSAGES 0)",
    '* LIST (\\HasChildren) "/" Lists',
    "* STATUS Lists (MESSAGES 0)",
  ]);
});

test("names that need it are quoted", async (t) => {
  const client = await signedIn(t, await sandboxFor(t));
  await client.ok('CREATE "my \\"own\\""');
  await client.ok('CREATE "NIL"');
  assert.deepEqual(await client.ok('LIST "" (m* N*)'), [
    '* LIST (\\HasNoChildren) "/" "my \\"own\\""',
    '* LIST (\\HasNoChildren) "/" "NIL"',
  ]);
});

test("LSUB shows subscriptions, and the levels that % hides them below (RFC 3501 6.3.9)", async (t) => {
  const client = await signedIn(t, await sandboxFor(t));
  await client.ok("SUBSCRIBE news/comp/mail");
  await client.ok("UNSUBSCRIBE Junk");
  assert.deepEqual(await client.ok('LSUB "" n*'), ['* LSUB () "/" news/comp/mail']);
  assert.deepEqual(await client.ok('LSUB "" n%'), ['* LSUB (\\Noselect) "/" news']);
  assert.deepEqual(await client.ok('LSUB "" J%'), []);
  assert.deepEqual(await client.ok('LIST (SUBSCRIBED) "" news*'), [
    '* LIST (\\NonExistent \\HasNoChildren \\Subscribed) "/" news/comp/mail',
  ]);
});

test("create, rename and delete say why not", async (t) => {
  const client = await signedIn(t, await sandboxFor(t));
  await client.ok("CREATE a/b");
  assert.match(await client.tagged("CREATE a"), /^tag NO \[ALREADYEXISTS\]/);
  assert.match(await client.tagged("CREATE a//b"), /^tag NO \[CANNOT\]/);
  assert.match(await client.tagged("DELETE a"), /^tag NO \[HASCHILDREN\]/);
  assert.match(await client.tagged("DELETE INBOX"), /^tag NO \[CANNOT\]/);
  assert.match(await client.tagged("DELETE nope"), /^tag NO \[NONEXISTENT\]/);
  await client.ok("RENAME a c");
  await client.ok("DELETE c/b");
  assert.match(await client.tagged("RENAME c INBOX"), /^tag NO \[ALREADYEXISTS\]/);
});

test("SELECT describes the mailbox; EXAMINE lets nothing be changed", async (t) => {
  const sandbox = await sandboxFor(t);
  fillInbox(sandbox, 3);
  sandbox.store
    .account("alice")
    ?.inbox.messages.slice(0, 1)
    .forEach((message) => {
      sandbox.store.account("alice")?.inbox.changeFlags(message, "add", ["\\Seen", "Work"]);
    });
  const client = await signedIn(t, sandbox);
  const validity = sandbox.store.account("alice")?.inbox.uidValidity;
  const common = [
    "* 3 EXISTS",
    "* 3 RECENT",
    "* OK [UNSEEN 2] First unseen",
    `* OK [UIDVALIDITY ${validity}] UIDs valid`,
    "* OK [UIDNEXT 4] Next UID",
  ];
  const flags = "\\Answered \\Flagged \\Deleted \\Seen \\Draft Work";
  assert.deepEqual(await client.send("EXAMINE inbox"), [
    `* FLAGS (${flags})`,
    "* OK [PERMANENTFLAGS ()] Flags that stay",
    ...common,
    "tag OK [READ-ONLY] Opened",
  ]);
  for (const command of ["STORE 1 FLAGS ()", "EXPUNGE", "MOVE 1 Trash"]) {
    assert.match(await client.tagged(command), /^tag NO/, command);
  }
  await client.ok("FETCH 2 BODY[]");
  assert.deepEqual(await client.send("SELECT INBOX"), [
    `* FLAGS (${flags})`,
    `* OK [PERMANENTFLAGS (${flags} \\*)] Flags that stay`,
    ...common,
    "tag OK [READ-WRITE] Opened",
  ]);
  await client.ok("SELECT INBOX");
  assert.deepEqual(await client.ok("STATUS INBOX (MESSAGES RECENT UIDNEXT UNSEEN)"), [
    "* STATUS INBOX (MESSAGES 3 RECENT 0 UIDNEXT 4 UNSEEN 2)",
  ]);
  assert.match(await client.tagged("SELECT nope"), /^tag NO \[NONEXISTENT\]/);
  assert.match(await client.tagged("CHECK"), /^tag BAD/, "a failed SELECT leaves nothing selected");
});

test("CLOSE expunges without a word, UNSELECT and EXAMINE do not", async (t) => {
  const sandbox = await sandboxFor(t);
  fillInbox(sandbox, 2);
  const client = await signedIn(t, sandbox);
  const count = (): number | undefined => sandbox.store.account("alice")?.inbox.messages.length;
  await client.ok("SELECT INBOX");
  await client.ok("STORE 1 +FLAGS.SILENT \\Deleted");
  await client.ok("UNSELECT");
  await client.ok("EXAMINE INBOX");
  await client.ok("CLOSE");
  assert.equal(count(), 2);
  await client.ok("SELECT INBOX");
  assert.deepEqual(await client.ok("CLOSE"), []);
  assert.equal(count(), 1);
});

test("accounts do not see each other", async (t) => {
  const sandbox = await sandboxFor(t);
  const [alice, bob] = [await signedIn(t, sandbox), await signedIn(t, sandbox, "bob")];
  await alice.ok("CREATE mine");
  assert.deepEqual(await bob.ok('LIST "" mine'), []);
});
