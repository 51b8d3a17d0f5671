import assert from "node:assert/strict";
import { chmod, readFile } from "node:fs/promises";
import { type TestContext, test } from "node:test";
import { dnsHook } from "../../../src/tls/acme/dns-hook.ts";
import { type TemporaryFolder, temporaryFolder } from "../../support/temp.ts";
import { eventually, within } from "../../support/waiting.ts";

const PROOF = { domain: "example.org", token: "token", keyAuthorization: "di-gest_1" };
const SIGNAL = new AbortController().signal;

async function hook(t: TestContext, script: (folder: TemporaryFolder) => string, timeoutMs?: number) {
  const folder = await temporaryFolder();
  t.after(() => folder.remove());
  const path = await folder.write("hook", `#!/bin/sh\n${script(folder)}\n`);
  await chmod(path, 0o755);
  const said: string[] = [];
  const command = [path, "$(touch injected)", "a b"];
  const options = { command, said: (line: string) => said.push(line) };
  const challenger = dnsHook({ ...options, ...(timeoutMs !== undefined && { timeoutMs }) });
  return { challenger, folder, said };
}

test("the program hears present and cleanup, its own arguments first, and no shell reads them", async (t) => {
  const { challenger, folder, said } = await hook(
    t,
    (folder) => `for word; do echo "<$word>" >> ${folder.at("heard")}; done; echo "it says $3" >&2`,
  );
  {
    await using _shown = await challenger.present(PROOF, SIGNAL);
  }
  const words = (action: string) =>
    ["$(touch injected)", "a b", action, "example.org", "_acme-challenge.example.org", "di-gest_1"]
      .map((word) => `<${word}>\n`)
      .join("");
  assert.equal(await readFile(folder.at("heard"), "utf8"), words("present") + words("cleanup"));
  assert.deepEqual(said, ["it says present", "it says cleanup"]);
});

test("a program that fails: the reason, and a cleanup of what it may have left", async (t) => {
  const { challenger, said } = await hook(t, () => `echo "$3" >&2; [ "$3" = cleanup ] || exit 3`);
  await assert.rejects(challenger.present(PROOF, SIGNAL), /dnsHook present: ended with code 3/);
  assert.deepEqual(said, ["present", "cleanup"]);
});

test("a cleanup that fails costs a line in the log", async (t) => {
  const { challenger, said } = await hook(t, () => `[ "$3" = present ]`);
  {
    await using _shown = await challenger.present(PROOF, SIGNAL);
  }
  assert.deepEqual(said, ["dnsHook cleanup: ended with code 1"]);
});

test("a program that is gone by then is a reason, not a fault", async () => {
  const challenger = dnsHook({ command: ["/nowhere/hook"], said: () => {} });
  await assert.rejects(challenger.present(PROOF, SIGNAL), /dnsHook cannot be run: ENOENT/);
});

test("a program that never ends is ended, with what it has started", async (t) => {
  const { challenger, folder } = await hook(
    t,
    (folder) => `[ "$3" = cleanup ] && exit 0; sleep 600 & echo $! > ${folder.at("child")}; wait`,
    300,
  );
  const present = within(5_000, "an end", challenger.present(PROOF, SIGNAL));
  await assert.rejects(present, /dnsHook present: took too long/);
  const child = Number(await readFile(folder.at("child"), "utf8"));
  await eventually("the child to be gone", () => !isAlive(child));
});

test("a stop of the gateway ends the program at once", async (t) => {
  const { challenger, folder } = await hook(
    t,
    (folder) => `[ "$3" = cleanup ] && exit 0; : > ${folder.at("begun")}; sleep 600`,
  );
  const stop = new AbortController();
  const present = challenger.present(PROOF, stop.signal);
  await eventually("the hook to run", () =>
    readFile(folder.at("begun")).then(
      () => true,
      () => false,
    ),
  );
  stop.abort();
  await assert.rejects(within(5_000, "an end", present));
});

test("what a program pours out is cut, and fit for the log", async (t) => {
  const { challenger, said } = await hook(
    t,
    () => `[ "$3" = cleanup ] || { head -c 5000000 /dev/zero | tr '\\0' x; printf '\\033[31m'; } >&2`,
  );
  {
    await using _shown = await challenger.present(PROOF, SIGNAL);
  }
  assert.deepEqual(
    said.map(({ length }) => length),
    [500],
  );
});

/** A zombie that nobody has buried yet is gone, too. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
