import assert from "node:assert/strict";
import { test } from "node:test";
import { Account } from "../../src/sandbox/account.ts";
import { MailStore } from "../../src/sandbox/mail-store.ts";
import type { MailboxEvent } from "../../src/sandbox/mailbox.ts";
import { ACCOUNT_BYTES, MESSAGE_BYTES } from "../../src/sandbox/quota.ts";
import { StoreError, type StoreErrorKind } from "../../src/sandbox/store-error.ts";

const MAIL = Buffer.from("Subject: x\r\n\r\ny\r\n");

function refuses(kind: StoreErrorKind, act: () => unknown): void {
  assert.throws(act, (error) => error instanceof StoreError && error.kind === kind);
}

test("an account begins with the special-use mailboxes, all subscribed", () => {
  const account = new Account("alice");
  assert.deepEqual(account.mailboxNames, ["INBOX", "Drafts", "Sent", "Trash", "Junk", "Archive"]);
  assert.equal(account.get("Sent").specialUse, "\\Sent");
  assert.deepEqual(account.subscriptions, account.mailboxNames);
});

test("INBOX is one name in any case, other names are not", () => {
  const account = new Account("alice");
  assert.equal(account.find("inbox"), account.inbox);
  assert.equal(account.find("sent"), undefined);
  account.create("inbox/Old");
  assert.ok(account.find("INBOX/Old"));
});

test("creating makes superiors, deleting spares those with inferiors", () => {
  const account = new Account("alice");
  account.create("a/b/c/");
  assert.ok(account.find("a/b"));
  refuses("ALREADYEXISTS", () => account.create("a"));
  refuses("HASCHILDREN", () => account.delete("a/b"));
  refuses("CANNOT", () => account.delete("INBOX"));
  refuses("NONEXISTENT", () => account.delete("b"));
  account.delete("a/b/c");
  assert.equal(account.find("a/b/c"), undefined);
});

test("names that no client could read are refused", () => {
  const account = new Account("alice");
  for (const name of ["", "/", "a//b", "/a", "a\rb", "caf\xe9", "a*", "a%b", "a\0"]) {
    refuses("CANNOT", () => account.create(name));
  }
  refuses("LIMIT", () => account.create("x".repeat(300)));
});

test("renaming takes inferiors along and makes superiors", () => {
  const account = new Account("alice");
  account.create("a/b");
  const moved = account.get("a/b");
  account.rename("a", "x/y");
  assert.equal(account.get("x/y/b"), moved);
  assert.equal(account.find("a"), undefined);
  refuses("CANNOT", () => account.rename("x", "x/z"));
  refuses("ALREADYEXISTS", () => account.rename("x", "Sent"));
});

test("renaming INBOX moves its messages and leaves it in place", () => {
  const account = new Account("alice");
  account.inbox.append(MAIL, ["\\Seen"]);
  account.rename("inbox", "Old");
  assert.equal(account.inbox.messages.length, 0);
  assert.deepEqual([...(account.get("Old").messages[0]?.flags ?? [])], ["\\Seen"]);
});

test("a mailbox made again has another UIDVALIDITY", () => {
  const account = new Account("alice");
  const first = account.create("a").uidValidity;
  account.delete("a");
  assert.ok(account.create("a").uidValidity > first);
});

test("flags compare without case and keep the first spelling of a keyword", () => {
  const { inbox } = new Account("alice");
  const message = inbox.append(MAIL, ["\\seen", "Work"]);
  inbox.changeFlags(message, "add", ["WORK", "\\FLAGGED"]);
  assert.deepEqual([...message.flags], ["\\Seen", "Work", "\\Flagged"]);
  inbox.changeFlags(message, "remove", ["work"]);
  inbox.changeFlags(message, "replace", ["\\Draft"]);
  assert.deepEqual([...message.flags], ["\\Draft"]);
});

test("watchers hear of additions, flag changes and expunges, with who asked", () => {
  const { inbox } = new Account("alice");
  const heard: MailboxEvent[] = [];
  const stop = inbox.watch((event) => heard.push(event));
  const message = inbox.append(MAIL);
  inbox.changeFlags(message, "add", ["\\Seen"], "me");
  inbox.changeFlags(message, "add", ["\\Seen"], "me");
  inbox.expunge([message], "me");
  inbox.expunge([message], "me");
  stop();
  inbox.append(MAIL);
  assert.deepEqual(
    heard.map(({ kind, origin }) => [kind, origin]),
    [
      ["added", undefined],
      ["flags", "me"],
      ["expunged", "me"],
    ],
  );
});

test("a full account refuses, can be tidied up, and gives room back", () => {
  const account = new Account("alice");
  const half = Buffer.alloc(ACCOUNT_BYTES / 2);
  const message = account.inbox.append(half);
  account.inbox.append(half);
  refuses("OVERQUOTA", () => account.inbox.append(MAIL));
  refuses("OVERQUOTA", () => account.inbox.copyTo(account.get("Trash"), [message]));
  const [[, moved] = []] = account.inbox.moveTo(account.get("Trash"), [message]);
  assert.ok(moved);
  account.get("Trash").expunge([moved, moved]);
  account.inbox.append(MAIL);
  assert.equal(account.quota.bytes, half.length + MAIL.length);
});

test("one message can be too large, and a refused one leaves nothing behind", () => {
  const account = new Account("alice");
  refuses("LIMIT", () => account.inbox.append(Buffer.alloc(MESSAGE_BYTES + 1)));
  const tooMany = Array.from({ length: 101 }, (_, index) => `k${index}`);
  refuses("LIMIT", () => account.inbox.append(MAIL, tooMany));
  assert.equal(account.quota.bytes, 0);
});

test("moving what someone else has just expunged moves nothing", () => {
  const account = new Account("alice");
  const message = account.inbox.append(MAIL);
  account.inbox.expunge([message]);
  assert.deepEqual(account.inbox.moveTo(account.get("Trash"), [message]), []);
  assert.equal(account.quota.bytes, 0);
});

test("a login needs the password of whoever proves, and the account of whoever is meant", () => {
  const accounts = [
    { name: "alice", password: "wonder" },
    { name: "bob", password: "builder" },
  ];
  const store = new MailStore(accounts, { user: "root", password: "toor", separator: "*" });
  const login = (...given: [string, string, string?]): string | undefined => store.login(...given)?.name;
  assert.equal(login("alice", "wonder"), "alice");
  assert.equal(login("alice", "wonder", "alice"), "alice");
  assert.equal(login("alice", "builder"), undefined);
  assert.equal(login("alice", "wonder", "bob"), undefined);
  assert.equal(login("nobody", ""), undefined);
  assert.equal(login("alice*root", "toor"), "alice");
  assert.equal(login("root", "toor", "bob"), "bob");
  assert.equal(login("alice*root", "toor", "bob"), undefined);
  assert.equal(login("alice*root", "wonder"), undefined);
  assert.equal(login("alice*bob", "builder"), undefined);
  assert.equal(login("root", "toor"), undefined);
});
