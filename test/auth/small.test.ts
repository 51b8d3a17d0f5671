import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { type Choice, pickFor } from "../../src/auth/decoy.ts";
import { canonicalName, nameProblem } from "../../src/auth/name.ts";
import { ProvenPasswords } from "../../src/auth/proven-passwords.ts";
import { isNetwork, Networks } from "../../src/wire/networks.ts";

describe("networks", () => {
  const cases: readonly [network: string, inside: string[], outside: string[]][] = [
    [
      "10.0.0.0/8",
      ["10.0.0.1", "10.255.255.255", "::ffff:10.1.2.3", "::FFFF:10.1.2.3"],
      ["11.0.0.1", "::1", "::10.1.2.3"],
    ],
    ["192.0.2.1", ["192.0.2.1", "::ffff:192.0.2.1", "::ffff:c000:201"], ["192.0.2.2"]],
    ["0.0.0.0/0", ["1.2.3.4", "::ffff:1.2.3.4"], ["2001:db8::1"]],
    ["::/0", ["2001:db8::1", "fe80::1%eth0"], ["", "no address", "::ffff:1.2.3.4"]],
    ["2001:db8::/32", ["2001:db8:ffff::1"], ["2001:db9::1", "32.1.13.184"]],
    ["::ffff:10.0.0.0/104", ["10.9.9.9", "::ffff:10.9.9.9", "0:0:0:0:0:FFFF:0a09:0909"], ["11.0.0.1"]],
  ];
  for (const [network, inside, outside] of cases) {
    test(network, () => {
      const list = new Networks([network]);
      for (const address of inside) assert.equal(list.contains(address), true, address);
      for (const address of outside) assert.equal(list.contains(address), false, address);
    });
  }

  test("what is none", () => {
    for (const text of [
      "",
      "10.0.0.0/33",
      "10.0.0.0/08",
      "10.0.0.0/",
      "10.0.0.0/8/8",
      "::/129",
      "fe80::1%eth0",
      "a",
      "10.0.0",
    ]) {
      assert.equal(isNetwork(text), false, text);
      assert.throws(() => new Networks([text]), TypeError);
    }
  });

  test("any text as a network or an address", () => {
    const list = new Networks(["10.0.0.0/8"]);
    fc.assert(fc.property(fc.string(), (text) => void [isNetwork(text), list.contains(text)]));
  });
});

describe("names", () => {
  test("that can be nobody's", () => {
    for (const name of [
      "",
      "a\0",
      "a\tb",
      "a\r\nb",
      "a\u007f",
      "a\u0085",
      "a\u2028",
      "\ud800",
      "a".repeat(256),
      "é".repeat(128),
    ]) {
      assert.ok(nameProblem(name), JSON.stringify(name));
    }
    for (const name of ["a", "a b", "ä@exämple.org", "a".repeat(255), "用户@例子"])
      assert.equal(nameProblem(name), undefined);
  });

  test("are compared without case and in NFC", () => {
    assert.equal(canonicalName("E\u0301Va@Example.ORG"), "\u00e9va@example.org");
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (name) => {
        assert.equal(canonicalName(canonicalName(name)), canonicalName(name));
      }),
    );
  });
});

describe("proven passwords", () => {
  test("are remembered for their time and no longer", () => {
    let now = 0;
    const proven = new ProvenPasswords({ ttlMs: 100, clock: () => now });
    proven.add(["a"], "x");
    assert.equal(proven.has(["a"], "x"), true);
    now = 99;
    assert.equal(proven.has(["a"], "x"), true);
    now = 100;
    assert.equal(proven.has(["a"], "x"), false, "using it did not prolong it");
    assert.equal(proven.size, 0);
  });

  test("are of one subject and one password, however the parts are cut", () => {
    const proven = new ProvenPasswords({ ttlMs: 100 });
    proven.add(["a", "b"], "c");
    for (const [subject, password] of [
      [["a", "b"], "d"],
      [["ab"], "c"],
      [["a"], "bc"],
      [["a", "1:b"], "c"],
      [["b", "a"], "c"],
    ] as const) {
      assert.equal(proven.has(subject, password), false);
    }
  });

  test("are bounded; the longest unused goes first", () => {
    const proven = new ProvenPasswords({ ttlMs: 100, limit: 2, clock: () => 0 });
    proven.add(["a"], "x");
    proven.add(["b"], "x");
    assert.equal(proven.has(["a"], "x"), true);
    proven.add(["c"], "x");
    assert.equal(proven.size, 2);
    assert.deepEqual(
      ["a", "b", "c"].map((name) => proven.has([name], "x")),
      [true, false, true],
    );
  });

  test("with no time are not kept", () => {
    const proven = new ProvenPasswords({ ttlMs: 0 });
    proven.add(["a"], "x");
    assert.equal(proven.has(["a"], "x"), false);
    assert.equal(proven.size, 0);
  });
});

describe("a pick by weight", () => {
  const secret = Buffer.alloc(32, 7);
  const names = Array.from({ length: 5000 }, (_, n) => `nobody${n}`);
  const choices: Choice<string>[] = [
    { key: "A", weight: 3, value: "A" },
    { key: "B", weight: 1, value: "B" },
  ];
  const share = (of: string, among: readonly Choice<string>[]) =>
    names.filter((name) => pickFor(secret, name, among) === of).length / names.length;

  test("is as likely as its weight", () => {
    // The secret is fixed, so is the outcome; 0.02 is three standard deviations.
    assert.ok(Math.abs(share("A", choices) - 0.75) < 0.02, `${share("A", choices)}`);
  });

  test("stays, but for the names that a new choice takes", () => {
    const more = [...choices, { key: "C", weight: 1, value: "C" }];
    for (const name of names) {
      const after = pickFor(secret, name, more);
      if (after !== "C") assert.equal(after, pickFor(secret, name, choices));
    }
    assert.ok(Math.abs(share("C", more) - 0.2) < 0.02);
  });

  test("of nothing is nothing", () => {
    assert.equal(pickFor(secret, "a", []), undefined);
  });
});
