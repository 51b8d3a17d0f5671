import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Ajv } from "ajv";
import { parse } from "yaml";
import { loadConfig } from "../../src/config/load.ts";
import { publications } from "../../src/config/publish.ts";
import { linesOf } from "./workspace.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const examples = readdirSync(`${root}config`).filter(
  (name) => name.endsWith(".yaml") && name !== "users.yaml",
);
const schema = JSON.parse(readFileSync(`${root}config/postern.schema.json`, "utf8"));

for (const { path, text } of publications())
  test(`${path.slice(root.length)} says what the schema says (else: npm run docs)`, () => {
    assert.ok(readFileSync(path, "utf8") === text);
  });

describe("the examples are what they seem", () => {
  test("there are some", () => assert.deepEqual(examples, ["minimal.yaml", "postern.yaml"]));

  for (const name of examples) {
    test(`${name} loads without a warning`, () => {
      const result = loadConfig(`${root}config/${name}`, {});
      assert.ok(result.ok, linesOf(result, "problems").join("\n"));
      assert.deepEqual(linesOf(result, "warnings"), []);
    });

    test(`${name} satisfies the schema that editors use`, () => {
      const check = new Ajv({ strict: true, strictTypes: false }).compile(schema);
      assert.ok(check(parse(readFileSync(`${root}config/${name}`, "utf8"))), JSON.stringify(check.errors));
    });
  }

  test("postern.yaml names every section that there is", () => {
    const text = readFileSync(`${root}config/postern.yaml`, "utf8");
    // A secret that stood there would be everybody's, so that one is a comment.
    const comments = [...text.matchAll(/^# (clusterSecret):/gm)].map(([, name]) => name);
    const sections = [...Object.keys(parse(text)), ...comments];
    assert.deepEqual(sections.sort(), Object.keys(schema.properties).sort());
  });
});

test("the published schema has nothing of ours that an editor would not know", () => {
  assert.doesNotMatch(JSON.stringify(schema), /"(unit|valid|computed|discriminator|format|~\w+)":"/);
});
