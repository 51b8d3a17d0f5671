import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { readQuestion } from "../../../src/policy/postfix/question.ts";

const ask = (attributes: Record<string, string>) =>
  readQuestion(new Map(Object.entries(attributes)), "postfix");

test("whoever has signed in is a user of submission, whoever has not another server", () => {
  const known = ask({ client_address: "192.0.2.1", sasl_username: "alice" });
  assert.deepEqual(known?.facts, {
    ip: "192.0.2.1",
    listener: "postfix",
    protocol: "submission",
    user: "alice",
  });
  const other = ask({ client_address: "192.0.2.1", sasl_username: "" });
  assert.deepEqual(other?.facts, { ip: "192.0.2.1", listener: "postfix", protocol: "smtp" });
});

for (const [address, read] of [
  ["192.0.2.1", "192.0.2.1"],
  ["2001:DB8:0:0::1", "2001:db8::1"],
  ["::ffff:192.0.2.1", "192.0.2.1"],
  ["fe80::1%eth0", "fe80::1"],
  ["unknown", undefined],
  ["", undefined],
  ["192.0.2.1.5", undefined],
] as const)
  test(`the client address ${JSON.stringify(address)} is ${read ?? "nobody's"}`, () => {
    assert.equal(ask({ client_address: address })?.facts.ip, read);
  });

test("without an address there is no question", () => {
  assert.equal(ask({ protocol_state: "RCPT" }), undefined);
});

for (const [size, read] of [
  ["10240", 10_240],
  ["", 0],
  ["-1", 0],
  ["1e3", 0],
  ["99999999999999999999", 0],
] as const)
  test(`a size of ${JSON.stringify(size)} is ${read}`, () => {
    assert.equal(ask({ client_address: "192.0.2.1", size })?.size, read);
  });

test("nothing that is asked throws", () => {
  const names = [
    "client_address",
    "sasl_username",
    "size",
    "recipient_count",
    "instance",
    "protocol_state",
    "x",
  ];
  const any = fc.dictionary(fc.constantFrom(...names), fc.string({ unit: "binary" }));
  fc.assert(fc.property(any, (attributes) => void ask(attributes)));
});
