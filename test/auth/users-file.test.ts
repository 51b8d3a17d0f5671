import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { readUsers } from "../../src/auth/read-users.ts";
import { parseUsersFile } from "../../src/auth/users-file.ts";
import { formatProblem } from "../../src/config/problem.ts";

const SHA =
  "{SHA512-CRYPT}$6$rounds=1000$$.iDmP65p8twH4xRklgLM6b3KeMLRiE5OWGUiqIhHf/NGBlIiq.8G4dF5pUKl4NZyp6LUp47BEfZtAmJZfmV07/";

function complaints(text: string, backends?: readonly string[]): string[] {
  return parseUsersFile(text, "users.yaml", backends).problems.map(formatProblem);
}

describe("a users file", () => {
  test("with every key", () => {
    const text = `
alice@example.org:
  password: "{PLAIN}secret"
Bob:
  password: "${SHA}"
  backend: beta
  login: bob
  networks: [10.0.0.0/8, "::1", 192.0.2.1]
  protocols: [imap, submission]
  disabled: true
`;
    const { users, problems } = parseUsersFile(text, "users.yaml", ["alpha", "beta"]);
    assert.deepEqual(problems, []);
    assert.deepEqual(users, [
      {
        name: "alice@example.org",
        password: { scheme: "PLAIN", cost: "PLAIN", stored: "{PLAIN}secret" },
        disabled: false,
      },
      {
        name: "Bob",
        password: { scheme: "SHA512-CRYPT", cost: "SHA512-CRYPT rounds=1000", stored: SHA },
        backend: "beta",
        login: "bob",
        networks: ["10.0.0.0/8", "::1", "192.0.2.1"],
        protocols: ["imap", "submission"],
        disabled: true,
      },
    ]);
  });

  test("with nobody in it", () => {
    for (const text of ["", "{}", "# nobody yet\n", "\ufeff"]) {
      assert.deepEqual(parseUsersFile(text, "users.yaml"), { users: [], problems: [] });
    }
  });

  test("with names that YAML would take for numbers, and names that JavaScript has plans for", () => {
    const { users, problems } = parseUsersFile(
      '007: { password: "{PLAIN}x" }\n__proto__: { password: "{PLAIN}y" }\nconstructor: { password: "{PLAIN}z" }\n',
      "users.yaml",
    );
    assert.deepEqual(problems, []);
    assert.deepEqual(users.map(({ name }) => name).sort(), ["007", "__proto__", "constructor"]);
  });
});

/** The text, and what each complaint has to match, in order. */
const BROKEN: readonly [what: string, text: string, ...says: RegExp[]][] = [
  [
    "an unknown key",
    'a: { password: "{PLAIN}x", pasword: y }',
    /^users\.yaml:1:28: a\.pasword: is not a key.*networks/,
  ],
  ["no password", "a: { backend: beta }", /^users\.yaml:1:1: a: lacks a password/],
  ["nothing", "a:", /^users\.yaml:1:1: a: .*found nothing/],
  ["a bad scheme", 'a: { password: "{SSHA}x" }', /:1:16: a\.password: .*unknown scheme \{SSHA\}/],
  ["a password that is a number", "a: { password: 12 }", /a\.password: .*a number/],
  ["an empty password", 'a: { password: "" }', /a\.password: .*not valid/],
  [
    "networks that are none",
    'a: { password: "{PLAIN}x", networks: [10.0.0.0/33, ::1/x, a] }',
    /networks\[0\]/,
    /networks\[1\]/,
    /networks\[2\]/,
  ],
  ["no network", 'a: { password: "{PLAIN}x", networks: [] }', /a\.networks/],
  [
    "a protocol without login",
    'a: { password: "{PLAIN}x", protocols: [imap, smtp] }',
    /a\.protocols\[1\]: .*found "smtp"; valid: .*submission/,
  ],
  ["a login with a line end", 'a: { password: "{PLAIN}x", login: "b\\r\\nc" }', /a\.login/],
  ["a name with a line end", '"a\\nb": { password: "{PLAIN}x" }', /:1:1: .*control character/],
  ["a name that is too long", `? ${"a".repeat(256)}\n: { password: "{PLAIN}x" }`, /255 bytes/],
  [
    "one name twice",
    'a: { password: "{PLAIN}x" }\na: { password: "{PLAIN}x" }',
    /:2:1: a: stands here twice/,
  ],
  [
    "one name in two cases",
    'a: { password: "{PLAIN}x" }\nA: { password: "{PLAIN}x" }',
    /:2:1: A: is the same user as in line 1/,
  ],
  [
    "one name in two normal forms",
    '"\\u00e9": { password: "{PLAIN}x" }\n"e\\u0301": { password: "{PLAIN}x" }',
    /:2:1: .*same user as in line 1/,
  ],
  ["a list", "- a", /is not a users file/],
  ["no YAML", "a: [", /users\.yaml:1:/],
];

describe("what is wrong with a users file is told with its place", () => {
  for (const [what, text, ...says] of BROKEN) {
    test(what, () => {
      const told = complaints(text);
      assert.equal(told.length, says.length, told.join("\n"));
      for (const [index, pattern] of says.entries()) assert.match(told[index] ?? "", pattern);
    });
  }

  test("a backend that the configuration lacks", () => {
    const [told = ""] = complaints('a: { password: "{PLAIN}x", backend: gamma }', ["alpha", "beta"]);
    assert.match(told, /:1:37: a\.backend: .*found "gamma"; valid: alpha, beta/);
  });

  test("all at once, in order", () => {
    const text = 'a: { password: "{PLAIN}x", x: 1 }\nb: {}\nA: { password: "nonsense" }\n';
    assert.deepEqual(
      complaints(text).map((line) => line.split(":")[1]),
      ["1", "2", "3", "3"],
    );
  });

  test("without a password in it", () => {
    const texts = [
      "a: hunter2",
      "a: [hunter2]",
      "a: { password: [hunter2] }",
      "a: { password: hunter2 }",
      "a: { password: *hunter2 }",
      "a: { password: '{PLAIN}hunter2' hunter2 }",
      'a: { password: "{ARGON2ID}hunter2" }',
      'a: { password: "hunter2\n b: c',
      "a:\n  password: hunter2: hunter2\n",
      "a:\n password: @hunter2",
    ];
    for (const text of texts) {
      const told = complaints(text);
      assert.ok(told.length > 0, text);
      assert.ok(!told.join().includes("hunter2"), told.join("\n"));
    }
  });

  test("whatever stands in it", () => {
    fc.assert(fc.property(fc.string({ unit: "binary", maxLength: 60 }), (text) => void complaints(text)));
    const value = fc.object({
      maxDepth: 2,
      key: fc.constantFrom("password", "networks", "protocols", "login", "x"),
    });
    fc.assert(fc.property(value, (user) => void complaints(JSON.stringify({ a: user }))));
  });
});

test("a large file is read in a thread, and the event loop goes on", async () => {
  const text = Array.from({ length: 5000 }, (_, n) => `user${n}@example.org:\n  password: "${SHA}"\n`).join(
    "",
  );
  let turns = 0;
  const turning = setInterval(() => {
    turns += 1;
  }, 1);
  const { users, problems } = await readUsers(`${text}bad: {}\n`, "users.yaml");
  clearInterval(turning);
  assert.equal(users.length, 5000);
  assert.deepEqual(
    problems.map(formatProblem).map((line) => line.split(": ")[0]),
    ["users.yaml:10001:1"],
  );
  assert.ok(turns > 5, `the event loop turned ${turns} times`);
});
