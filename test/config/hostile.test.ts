import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { parseConfig } from "../../src/config/load.ts";
import { formatProblem } from "../../src/config/problem.ts";
import { fileWith, newFolder } from "./workspace.ts";

const path = `${newFolder()}/postern.yaml`;

/** Loads and prints everything; a bad result must say at least one thing, at a real place. */
function loadAndPrint(text: string): void {
  const result = parseConfig(text, path, {});
  const problems = result.ok ? [] : result.problems;
  assert.equal(result.ok, problems.length === 0);
  for (const problem of [...problems, ...result.warnings]) {
    assert.ok(problem.line >= 1 && problem.column >= 1);
    assert.doesNotMatch(formatProblem(problem), /\n|cannot be understood/);
  }
}

describe("no text makes the loader throw", () => {
  test("any text at all", () => {
    fc.assert(fc.property(fc.string({ unit: "binary", maxLength: 200 }), loadAndPrint), { numRuns: 500 });
  });

  test("anything in the place of any part of a good file", () => {
    const text = fileWith({
      routes: "routes: [{ to: alpha, match: { user: a } }]",
      policy: "policy: { ipv6Prefix: 64 }",
    });
    const cut = fc.tuple(fc.nat(text.length), fc.nat(20), fc.string({ unit: YAML_PIECE, maxLength: 5 }));
    fc.assert(
      fc.property(cut, ([at, length, piece]) =>
        loadAndPrint(text.slice(0, at) + piece + text.slice(at + length)),
      ),
      { numRuns: 1000 },
    );
  });

  test("any value at any key", () => {
    const keys = [
      "tls",
      "listeners",
      "authentication",
      "backends",
      "routes",
      "policy",
      "admin",
      "workers",
      "hostname",
    ];
    const anyMapping = fc.dictionary(fc.constantFrom(...keys, "__proto__", "constructor"), fc.jsonValue());
    fc.assert(
      fc.property(anyMapping, (value) => loadAndPrint(JSON.stringify(value))),
      { numRuns: 500 },
    );
  });

  const unit = fc.constantFrom(..."{}[]:,-?&*!|>%@`\"'# \n\ta1~");
  test("anything made of YAML's own characters", () => {
    fc.assert(fc.property(fc.string({ unit, maxLength: 40 }), loadAndPrint), { numRuns: 1000 });
  });
});

const YAML_PIECE = fc.constantFrom(
  "{",
  "}",
  "[",
  "]",
  ": ",
  ", ",
  "- ",
  "\n",
  "  ",
  "~",
  "*a",
  "&a ",
  "!!map ",
  '"',
  "'",
  "|",
  "0",
  "imap",
  "null",
);

describe("a small file stays small", () => {
  test("aliases of aliases of aliases are not unfolded", () => {
    const level = (name: string, below: string) =>
      `${name}: &${name} [${Array(9).fill(`*${below}`).join(", ")}]`;
    const names = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    const bomb = ["z: &z [x]", ...names.map((name, i) => level(name, names[i - 1] ?? "z"))].join("\n");
    assert.match(firstProblem(bomb), /aliases/);
  });

  test("an alias of something large counts for what it holds", () => {
    const large = `a: &a [${"x,".repeat(2000)}]\nb: [${"*a,".repeat(900)}]`;
    assert.match(firstProblem(large), /repeated by aliases too often/);
  });

  test("a very deep file is refused before it can overflow the stack", () => {
    assert.match(firstProblem("[".repeat(100_000)), /nested too deep|lacks a closing/);
  });

  test("many keys are read in reasonable time", () => {
    const started = performance.now();
    firstProblem(Array.from({ length: 20_000 }, (_, i) => `key${i}: 1`).join("\n"));
    assert.ok(performance.now() - started < 5000);
  });
});

function firstProblem(text: string): string {
  const result = parseConfig(text, path, {});
  const [problem] = result.ok ? [] : result.problems;
  return problem === undefined ? "" : formatProblem(problem);
}
