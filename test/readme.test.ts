import assert from "node:assert/strict";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { parseConfig } from "../src/config/load.ts";
import { formatProblem } from "../src/config/problem.ts";
import { selfSigned } from "../src/tls/self-signed.ts";
import { temporaryFolder } from "./support/temp.ts";

const README = await readFile(new URL("../README.md", import.meta.url), "utf8");

function block(containing: string): string {
  const blocks = [...README.matchAll(/^```\w*\n(.*?)^```$/gms)].map(([, text = ""]) => text);
  return blocks.find((text) => text.includes(containing)) ?? assert.fail(`no block with ${containing}`);
}

/** What a page shows of `policy`. */
async function policiesIn(page: string): Promise<string[]> {
  const text = await readFile(new URL(`../${page}`, import.meta.url), "utf8");
  const blocks = [...text.matchAll(/^```yaml\n(.*?)^```$/gms)].map(([, yaml = ""]) => yaml);
  return blocks.flatMap((yaml) => /^policy:\n.*/ms.exec(yaml)?.[0] ?? []);
}

test("the configuration that the README shows is one that Postern takes", async () => {
  await using folder = await temporaryFolder();
  const { cert, key } = await selfSigned(["mail.example.org"]);
  const files = {
    "tls/fullchain.pem": cert,
    "tls/privkey.pem": key,
    "tls/internal-ca.pem": cert,
    "users.yaml": "{}\n",
  };
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(folder.path, name)), { recursive: true });
    await writeFile(join(folder.path, name), text);
  }
  const loaded = parseConfig(block("listeners:"), join(folder.path, "postern.yaml"));
  assert.ok(loaded.ok, loaded.ok ? "" : loaded.problems.map(formatProblem).join("\n"));
  assert.deepEqual(loaded.warnings, []);
});

test("what the documentation shows of the policy is taken as it stands", async () => {
  await using folder = await temporaryFolder();
  const base = block("listeners:").replace(/^ *certificates:\n.*$/m, "  selfSigned: true");
  const files = {
    "users.yaml": "{}\n",
    "tls/internal-ca.pem": (await selfSigned(["mail.example.org"])).cert,
  };
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(folder.path, name)), { recursive: true });
    await writeFile(join(folder.path, name), text);
  }
  const shown = await Promise.all(["README.md", "docs/policy.md", "docs/events.md"].map(policiesIn));
  assert.deepEqual(
    shown.map(({ length }) => length > 0),
    [true, true, true],
  );
  for (const policy of shown.flat()) {
    const loaded = parseConfig(`${base}${policy}`, join(folder.path, "postern.yaml"));
    // Files of the reader's own: secrets and databases.
    const problems = loaded.ok ? [] : loaded.problems.map(formatProblem);
    const wrong = problems.filter((line) => !/cannot be read: there is no such file/.test(line));
    assert.deepEqual(wrong, [], policy);
  }
});

test("the users that the README shows have keys that the users file knows", () => {
  const users = parse(block("alice@example.org:")) as Record<string, object>;
  assert.deepEqual(Object.keys(users), ["alice@example.org", "bob@example.org"]);
  assert.deepEqual(Object.keys(users["bob@example.org"] ?? {}), ["password", "backend", "login", "networks"]);
});

test("continuous integration runs the very test command of the README", async () => {
  const script = await readFile(new URL("../.ci/run", import.meta.url), "utf8");
  assert.match(README, /^npm ci && npm test\b/m);
  assert.match(script, /^npm ci && npm test$/m);
});
