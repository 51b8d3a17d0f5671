import assert from "node:assert/strict";
import { cp, readdir, readFile, symlink } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runProcess } from "../support/processes.ts";
import { temporaryFolder } from "../support/temp.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

test("what npm run build makes runs on plain Node with nothing but the dependencies of production", async () => {
  await using folder = await temporaryFolder();
  const dist = join(folder.path, "dist");
  const built = await runProcess(join(ROOT, "node_modules/.bin/tsc"), [
    "-p",
    join(ROOT, "tsconfig.build.json"),
    "--outDir",
    dist,
  ]);
  assert.equal(built.code, 0, built.stdout);
  await cp(join(ROOT, "package.json"), join(folder.path, "package.json"));
  await symlink(join(ROOT, "node_modules"), join(folder.path, "node_modules"));

  const hashed = await runProcess(process.execPath, [join(dist, "main.js"), "hash"], {
    input: "a password\n",
  });
  assert.equal(hashed.code, 0, hashed.stderr);
  assert.match(hashed.stdout, /^\{ARGON2ID\}\$argon2id\$/);
  const verify = ["hash", "--verify", hashed.stdout.trim()];
  const right = await runProcess(process.execPath, [join(dist, "main.js"), ...verify], {
    input: "a password\n",
  });
  assert.equal(right.code, 0, right.stderr);

  const { dependencies } = JSON.parse(await readFile(join(ROOT, "package.json"), "utf8")) as {
    dependencies: object;
  };
  assert.deepEqual(await packagesUsed(dist), Object.keys(dependencies).sort());
});

/** The packages that the built files import. */
async function packagesUsed(folder: string): Promise<string[]> {
  const used = new Set<string>();
  for (const file of await readdir(folder, { recursive: true })) {
    if (!file.endsWith(".js")) continue;
    const text = await readFile(join(folder, file), "utf8");
    const statements = text.matchAll(/^(?:import|export) .*?from "([^".][^"]*)"/gms);
    // What is loaded only when it is needed.
    const calls = text.matchAll(/\bimport\("([^".][^"]*)"\)/g);
    for (const [, from = ""] of [...statements, ...calls]) {
      if (!from.startsWith("node:"))
        used.add(
          from
            .split("/")
            .slice(0, from.startsWith("@") ? 2 : 1)
            .join("/"),
        );
    }
  }
  return [...used].sort();
}
