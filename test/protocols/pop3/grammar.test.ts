import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  findCapability,
  parseApop,
  parseCapability,
  parseCommand,
  parseReply,
  parseWords,
} from "../../../src/protocols/pop3/grammar.ts";

const bytes = (text: string) => Buffer.from(text, "latin1");

function parse(line: string): string {
  const command = parseCommand(bytes(line));
  if ("malformed" in command) return "malformed";
  return `${command.name}${command.argument === undefined ? "" : `|${command.argument.toString("latin1")}|`}`;
}

for (const [given, wanted] of [
  ["QUIT", "QUIT"],
  ["quit", "QUIT"],
  ["QuIt", "QUIT"],
  ["QUIT ", "QUIT||"],
  ["USER alice", "USER|alice|"],
  ["PASS  two  spaces ", "PASS| two  spaces |"],
  ["PASS ", "PASS||"],
  ["PASS", "PASS"],
  ["PASS \0\r\xff\t", "PASS|\0\r\xff\t|"],
  ["AUTH PLAIN =", "AUTH|PLAIN =|"],
  ["GET / HTTP/1.1", "GET|/ HTTP/1.1|"],
  ["XCLIENT ADDR=1", "XCLIENT|ADDR=1|"],
] as const) {
  test(`${JSON.stringify(given)} is a command`, () => assert.equal(parse(given), wanted));
}

for (const given of [
  "",
  " ",
  " USER x",
  "USER\tx",
  "USER\0",
  "QUIT\r",
  "\x16\x03\x01",
  "US\xc9R x",
  "<html>",
  "1USER x",
  "-",
  "x".repeat(33),
  "__proto__",
]) {
  test(`${JSON.stringify(given)} is no command`, () => assert.equal(parse(given), "malformed"));
}

for (const [given, wanted] of [
  ["PLAIN", ["PLAIN"]],
  ["PLAIN =", ["PLAIN", "="]],
  ["a b c", ["a", "b", "c"]],
  ["", undefined],
  [" PLAIN", undefined],
  ["PLAIN ", undefined],
  ["PLAIN  x", undefined],
  ["PL\0AIN", undefined],
  ["PL\xc4IN", undefined],
  ["a\tb", undefined],
] as const) {
  test(`words of ${JSON.stringify(given)}`, () => assert.deepEqual(parseWords(bytes(given)), wanted));
}

const DIGEST = "c4c9334bac560ecc979e58001b3e22fb";
for (const [given, wanted] of [
  [`mrose ${DIGEST}`, "mrose"],
  [`two words ${DIGEST}`, "two words"],
  [`mrose  ${DIGEST}`, "mrose "],
  [`mrose ${DIGEST.toUpperCase()}`, undefined],
  [`mrose ${DIGEST}0`, undefined],
  [`mrose ${DIGEST.slice(1)}`, undefined],
  [`mrose ${DIGEST} `, undefined],
  [` ${DIGEST}`, undefined],
  [DIGEST, undefined],
  ["mrose", undefined],
  ["", undefined],
] as const) {
  test(`APOP ${JSON.stringify(given)}`, () => {
    const read = parseApop(bytes(given));
    assert.equal(read?.name.toString("latin1"), wanted);
    if (read) assert.equal(read.digest, DIGEST);
  });
}

for (const [given, wanted] of [
  ["+OK", { type: "ok", code: undefined, text: "" }],
  ["+OK ", { type: "ok", code: undefined, text: "" }],
  ["+OK ready <1.2@x>", { type: "ok", code: undefined, text: "ready <1.2@x>" }],
  ["-ERR", { type: "err", code: undefined, text: "" }],
  ["-ERR no", { type: "err", code: undefined, text: "no" }],
  ["-ERR [AUTH] no", { type: "err", code: "AUTH", text: "no" }],
  ["-ERR [sys/temp] later", { type: "err", code: "SYS/TEMP", text: "later" }],
  ["-ERR [IN-USE]", { type: "err", code: "IN-USE", text: "" }],
  ["-ERR [AUTH no", { type: "err", code: undefined, text: "[AUTH no" }],
  ["+", { type: "continuation" }],
  ["+ ", { type: "continuation" }],
  ["+ VXNlcm5hbWU6", { type: "continuation" }],
  ["+OKAY", undefined],
  ["+ok", undefined],
  ["-ERROR", undefined],
  ["* OK", undefined],
  ["220 ready", undefined],
  ["", undefined],
  [" +OK", undefined],
  ["+OK a\rb", undefined],
] as const) {
  test(`the reply ${JSON.stringify(given)}`, () => assert.deepEqual(parseReply(bytes(given)), wanted));
}

for (const [given, wanted] of [
  ["TOP", "TOP"],
  ["top", "TOP"],
  ["UIDL ", "UIDL"],
  ["sasl PLAIN cram-md5", "SASL PLAIN cram-md5"],
  ["EXPIRE 60 USER", "EXPIRE 60 USER"],
  ["IMPLEMENTATION Shlemazle-Plotz-v302", "IMPLEMENTATION Shlemazle-Plotz-v302"],
  ["", undefined],
  [" TOP", undefined],
  ["TOP  x", undefined],
  ["T\0P", undefined],
  ["TOP\r", "TOP"],
  ["T\xc4P", undefined],
  ["X".repeat(129), undefined],
] as const) {
  test(`the capability ${JSON.stringify(given.slice(0, 40))}`, () =>
    assert.equal(parseCapability(bytes(given)), wanted));
}

test("a capability is found by its whole name, with its parameters", () => {
  const offers = ["SASL PLAIN LOGIN", "USER", "EXPIRE 60"];
  assert.deepEqual(findCapability(offers, "SASL"), ["PLAIN", "LOGIN"]);
  assert.deepEqual(findCapability(offers, "USER"), []);
  assert.equal(findCapability(offers, "SAS"), undefined);
  assert.equal(findCapability([], "USER"), undefined);
});

test("no bytes make a reader throw, and nothing it gives could end a line", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (given) => {
      const line = Buffer.from(given);
      const command = parseCommand(line);
      if ("name" in command) assert.match(command.name, /^[A-Z][A-Z0-9-]{0,31}$/);
      parseApop(line);
      for (const word of parseWords(line) ?? []) assert.match(word, /^[!-~]+$/);
      const capability = parseCapability(line);
      if (capability) assert.match(capability, /^[!-~]+( [!-~]+)*$/);
      const reply = parseReply(line);
      if (reply && reply.type !== "continuation") assert.doesNotMatch(reply.text, /[\r\n]/);
    }),
    { numRuns: 3000 },
  );
});
