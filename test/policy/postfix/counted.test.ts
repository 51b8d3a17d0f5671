import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { CountedMail } from "../../../src/policy/postfix/counted.ts";

test("a recipient is known again in the same message, and in no other", () => {
  const counted = new CountedMail();
  counted.addRecipient("one", "bob@example.net");
  assert.equal(counted.hasRecipient("one", "bob@example.net"), true);
  assert.equal(counted.hasRecipient("one", "eve@example.net"), false);
  assert.equal(counted.hasRecipient("two", "bob@example.net"), false);
});

test("whoever does not say which message it is, is known in none", () => {
  const counted = new CountedMail();
  counted.addRecipient(undefined, "bob@example.net");
  counted.addMessage(undefined, true);
  assert.equal(counted.hasRecipient(undefined, "bob@example.net"), false);
  assert.equal(counted.hasMessage(undefined), false);
  assert.equal(counted.size, 0);
});

test("a message has its recipients counted with it, unless they came one by one", () => {
  const counted = new CountedMail();
  const known = (instance: string) => [
    counted.hasRecipients(instance),
    counted.hasMessage(instance),
    counted.hasBytes(instance),
  ];
  assert.deepEqual(known("one"), [false, false, false]);
  counted.addRecipient("one", "bob@example.net");
  assert.deepEqual(known("one"), [true, false, false]);
  counted.addMessage("two", false);
  assert.deepEqual(known("two"), [true, true, false]);
  counted.addMessage("two", true);
  assert.deepEqual(known("two"), [true, true, true]);
});

test("the oldest message is forgotten first", () => {
  const counted = new CountedMail(4);
  counted.addRecipient("one", "a");
  counted.addRecipient("two", "a");
  counted.addRecipient("one", "b");
  assert.equal(counted.hasRecipient("two", "a"), false);
  assert.equal(counted.hasRecipient("one", "a"), true);
});

test("it never holds more than it may, whatever is asked", () => {
  const act = fc.tuple(fc.nat(6), fc.nat(9), fc.boolean());
  fc.assert(
    fc.property(fc.array(act, { maxLength: 80 }), (acts) => {
      const counted = new CountedMail(10);
      for (const [instance, many, whole] of acts) {
        if (whole) counted.addMessage(`${instance}`, true);
        else counted.addRecipient(`${instance}`, `${many}`);
        assert.ok(counted.size <= 10 && counted.size >= 0);
      }
    }),
  );
});
