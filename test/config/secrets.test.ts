import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { inspect } from "node:util";
import { parseConfig } from "../../src/config/load.ts";
import { fileWith, linesOf, mustLoad, newFolder } from "./workspace.ts";

const SECRET = "hunter2hunter2";
const folder = newFolder({
  "with-newline": `${SECRET}\n`,
  windows: `${SECRET}\r\n`,
  "two-newlines": `${SECRET}\n\n`,
  empty: "",
  blank: "\n",
});
const path = `${folder}/postern.yaml`;

function tokenFrom(yaml: string, env: NodeJS.ProcessEnv = {}): string | undefined {
  return mustLoad(fileWith({ admin: `admin: { token: ${yaml} }` }), path, env).admin.token;
}

describe("a secret", () => {
  test("stands in the file itself", () => assert.equal(tokenFrom(SECRET), SECRET));
  test("comes from the environment", () =>
    assert.equal(tokenFrom("{ env: TOKEN }", { TOKEN: SECRET }), SECRET));
  test("comes from a file, relative to the configuration, without the newline at its end", () => {
    assert.equal(tokenFrom("{ file: with-newline }"), SECRET);
    assert.equal(tokenFrom("{ file: ./windows }"), SECRET);
    assert.equal(tokenFrom(`{ file: ${folder}/two-newlines }`), `${SECRET}\n`);
  });
});

describe("a secret that cannot be had is an error where it stands", () => {
  const cases: Record<string, RegExp> = {
    "{ file: empty }": /the secret's file is empty/,
    "{ file: blank }": /the secret's file is empty/,
    "{ file: nowhere }": /cannot be read: there is no such file/,
    "{ file: . }": /cannot be read: it is a folder/,
    "{ env: NOT_SET }": /environment variable is not set/,
    "{ env: toString }": /environment variable is not set/,
    "{ env: EMPTY }": /environment variable is empty/,
    '""': /is not valid here/,
    "{ file: 1 }": /is not valid here/,
    "{}": /is not valid here/,
  };
  for (const [yaml, message] of Object.entries(cases))
    test(yaml, () => {
      const [line = "", ...rest] = linesOf(
        parseConfig(fileWith({ admin: `admin:\n  token: ${yaml}` }), path, { EMPTY: "" }),
        "problems",
      );
      assert.match(line, message);
      assert.ok(line.startsWith(`${path}:6:10: admin.token: `), line);
      assert.deepEqual(rest, []);
    });
});

describe("a secret is never part of an error, wherever it was put", () => {
  const misplaced = [
    `admin: ${SECRET}`,
    `admin: [${SECRET}]`,
    `admin: { token: [${SECRET}] }`,
    `admin: { token: { ${SECRET}: x } }`,
    `admin: { token: { file: { x: ${SECRET} } } }`,
    `admin: { token: *${SECRET} }`,
    `admin: { token: !${SECRET} x }`,
    `admin: { token: &${SECRET} }`,
    `admin: { token: @${SECRET} }`,
    `admin: { token: "${SECRET}\\q" }`,
    `admin: { token: {${SECRET}}x }`,
    `admin: { tokn: ${SECRET} }`,
    `admin: { host: 0.0.0.0, port: x, token: ${SECRET} }`,
    `backends: ${SECRET}`,
    `backends: { a: ${SECRET} }`,
    `backends: { a: { host: b, protocols: { imap: 1 }, login: ${SECRET} } }`,
    `backends: { a: { host: b, protocols: { imap: 1 }, login: { master: ${SECRET} } } }`,
    `backends: { a: { host: b, protocols: { imap: 1 }, login: { master: { user: 1, password: ${SECRET} } } } }`,
    `token ${SECRET}!`,
  ];
  for (const yaml of misplaced)
    test(yaml, () => {
      const result = parseConfig(fileWith({ backends: undefined, last: yaml }), path, {});
      assert.equal(result.ok, false);
      assert.doesNotMatch(inspect(result, { depth: 9 }), new RegExp(SECRET));
    });
});
