import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { formatProblem } from "../../src/config/problem.ts";
import { loadSenders } from "../../src/config/senders.ts";
import { temporaryFolder } from "../support/temp.ts";

async function load(text: string) {
  await using folder = await temporaryFolder();
  const path = join(folder.path, "senders.yaml");
  await writeFile(path, text);
  const loaded = loadSenders(path);
  return loaded.ok
    ? Object.fromEntries(loaded.senders)
    : loaded.problems.map((problem) => formatProblem(problem).replace(path, "senders.yaml"));
}

test("one address or a list, for logins in any spelling", async () => {
  assert.deepEqual(await load('Alice@example.org: ["sales@example.org", "@example.net"]\nbob: "*"\n'), {
    "alice@example.org": ["sales@example.org", "@example.net"],
    bob: ["*"],
  });
});

test("what is no address is told with its line", async () => {
  const problems = await load("alice: sales\nbob: [x@y.example, 7]\ncarol: c@d.example\n");
  assert.equal(problems.length, 2);
  assert.match(String(problems), /^senders\.yaml:1:.*valid: an address, @DOMAIN.*senders\.yaml:2:/s);
});

test("an empty file gives nobody anything, and a missing one is a problem", async () => {
  assert.deepEqual(await load(""), {});
  assert.equal(loadSenders("/nowhere/senders.yaml").ok, false);
});
