import assert from "node:assert/strict";
import { test } from "node:test";
import { maySendAs } from "../../../src/protocols/smtp/senders.ts";

const senders = new Map([
  ["alice@example.org", ["sales@example.org", "@example.net", "*@example.com"]],
  ["root", ["*"]],
]);

const TABLE: readonly (readonly [string, string, boolean])[] = [
  ["alice@example.org", "alice@example.org", true],
  ["Alice@Example.org", "ALICE@example.ORG", true],
  ["alice@example.org", "Sales@example.org", true],
  ["alice@example.org", "anyone@example.net", true],
  ["alice@example.org", "anyone@EXAMPLE.com", true],
  ["alice@example.org", "anyone@sub.example.net", false],
  ["alice@example.org", "anyone@notexample.net", false],
  ["alice@example.org", "x@evil.example@example.net", true],
  ["alice@example.org", "anyone@example.net@evil.example", false],
  ["alice@example.org", "bob@example.org", false],
  ["alice@example.org", "", false],
  ["bob@example.org", "bob@example.org", true],
  ["bob@example.org", "alice@example.org", false],
  ["root", "anyone@anywhere.example", true],
  ["constructor", "toString@x.example", false],
];

for (const [user, address, may] of TABLE) {
  test(`${user} ${may ? "may" : "may not"} send as ${address || "nobody"}`, () => {
    assert.equal(maySendAs(senders, user, address), may);
  });
}
