import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parseCommand } from "../../../src/protocols/imap/grammar.ts";
import { fieldsOf, formatId } from "../../../src/protocols/imap/identification.ts";

const CLIENT = {
  address: "192.0.2.7",
  port: 4711,
  local: { address: "192.0.2.1", port: 993 },
  session: "mwu5h2el-181ri4e",
};
const KNOWN =
  '"x-originating-ip" "192.0.2.7" "x-originating-port" "4711" "x-connected-ip" "192.0.2.1"' +
  ' "x-connected-port" "993" "x-session-id" "mwu5h2el-181ri4e" "x-proxy-ttl" "6" "x-client-transport" "insecure"';

function said(text: string) {
  const pieces = text.split(/(?<=\{\d+\})\r\n/);
  const command = parseCommand(
    pieces.flatMap((piece, at) => {
      const size = Number(/\{(\d+)\}$/.exec(pieces[at - 1] ?? "")?.[1] ?? -1);
      return size < 0
        ? [Buffer.from(piece, "latin1")]
        : [piece.slice(0, size), piece.slice(size)].map((part) => Buffer.from(part, "latin1"));
    }),
  );
  assert.ok("args" in command, text);
  return fieldsOf(command.args);
}

test("what we know, then what the client says of itself", () => {
  assert.equal(formatId(CLIENT, []), `ID (${KNOWN})`);
  assert.equal(
    formatId(CLIENT, said('a ID ("name" "Mutt \\"1\\"" "vendor" NIL)')),
    `ID (${KNOWN} "name" "Mutt \\"1\\"" "vendor" NIL)`,
  );
  const tls = { version: "TLSv1.3", cipher: "x", serverName: "mail.example.org" };
  assert.match(
    formatId({ ...CLIENT, tls }, []),
    /"x-client-transport" "TLS" "x-connected-name" "mail.example.org"\)$/,
  );
  assert.deepEqual(said("a ID NIL"), []);
});

for (const forged of [
  '"x-originating-ip" "10.0.0.1"',
  '"X-Originating-IP" "10.0.0.1"',
  '{16}\r\nX-originating-ip "10.0.0.1"',
  '" x-originating-ip" "10.0.0.1"',
  '"x-forward-user" "root"',
  '"x-multiplex" "0"',
  '"x-anything" "1"',
  '{17}\r\nx-originating-ip\0 "10.0.0.1"',
  `"${"k".repeat(31)}" "too long a name"`,
  `"name" "${"v".repeat(1025)}"`,
  '"name" "\xc3\xbc"',
  '{5}\r\nna\0me "x"',
  '"" "x"',
])
  test(`not passed on: ${JSON.stringify(forged).slice(0, 60)}`, () => {
    assert.deepEqual(said(`a ID (${forged} "os" "Linux")`), [["os", "Linux"]]);
  });

test("thirty fields at most, and never a name of ours from a client", () => {
  const many = Array.from({ length: 30 }, (_, at) => [`f${at}`, "v"] as const);
  assert.equal(formatId(CLIENT, many).match(/"[^"]*" "[^"]*"/g)?.length, 30);
  const text = fc.string({ unit: "binary", maxLength: 40 });
  const names = fc.oneof(text, fc.constantFrom("x-originating-ip", "X-SESSION-ID", "x-", "name"));
  fc.assert(
    fc.property(
      fc.array(fc.tuple(names, fc.option(text, { nil: undefined })), { maxLength: 30 }),
      (fields) => {
        const line = formatId(CLIENT, fields);
        assert.match(line, /^[ -~]*$/);
        assert.ok(line.length < 8000);
        const theirs = line.slice(`ID (${KNOWN}`.length);
        assert.doesNotMatch(theirs, /(?:^| )"\s*x-[^"]*" (?:NIL|")/i);
      },
    ),
    { numRuns: 2000 },
  );
});
