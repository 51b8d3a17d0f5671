import assert from "node:assert/strict";
import { once } from "node:events";
import { stat, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { test } from "node:test";
import { BindError } from "../../src/listen/listener.ts";
import { openSocketFile } from "../../src/listen/socket-file.ts";
import { runProcess } from "../support/processes.ts";
import { temporaryFolder } from "../support/temp.ts";

/** What the one who listens there says. */
async function heard(path: string): Promise<string> {
  const socket = connect(path);
  const [said] = await Promise.race([once(socket, "data"), once(socket, "error")]);
  socket.destroy();
  return String(said);
}

const open = (path: string, says: string, replaces = false, more = {}) =>
  openSocketFile({ path, mode: "0660", ...more }, replaces, (socket) =>
    socket.on("error", () => {}).end(says),
  );

test("a socket is there when it is shown, with its permissions, and gone when it is closed", async () => {
  await using folder = await temporaryFolder();
  const path = folder.at("policy");
  const file = await open(path, "one");
  await assert.rejects(stat(path));
  file.show();
  assert.equal((await stat(path)).mode & 0o777, 0o660);
  assert.equal(await heard(path), "one");
  file.close();
  await assert.rejects(stat(path));
});

test("where somebody listens nobody else does, unless he takes over", async () => {
  await using folder = await temporaryFolder();
  const path = folder.at("policy");
  const first = await open(path, "one");
  first.show();
  await assert.rejects(open(path, "two"), (error: Error) => {
    assert.ok(error instanceof BindError);
    assert.match(error.message, /another program listens there/);
    return true;
  });
  const second = await open(path, "two", true);
  assert.equal(await heard(path), "one");
  second.show();
  first.close();
  assert.equal(await heard(path), "two");
  second.close();
});

test("what a crash left behind is in nobody's way", async () => {
  await using folder = await temporaryFolder();
  const path = folder.at("policy");
  const script = `require("node:net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, "SIGKILL"))`;
  await runProcess(process.execPath, ["-e", script]).catch(() => {});
  assert.ok((await stat(path)).isSocket());
  const file = await open(path, "one");
  file.show();
  assert.equal(await heard(path), "one");
  file.close();
});

test("what is no socket stays as it is", async () => {
  await using folder = await temporaryFolder();
  const path = folder.at("policy");
  await writeFile(path, "a file of somebody");
  await assert.rejects(open(path, "one", true), /something else lies there/);
  assert.ok((await stat(path)).isFile());
});

for (const [what, place, words] of [
  ["no folder", "missing/policy", /no right to make it there, or no such folder/],
  ["a path that is too long", `${"x".repeat(120)}`, /too long|ENAMETOOLONG|EINVAL/],
] as const)
  test(`${what} is an operator's problem`, async () => {
    await using folder = await temporaryFolder();
    await assert.rejects(open(folder.at(place), "one"), (error: Error) => {
      assert.ok(error instanceof BindError);
      assert.match(error.message, words);
      return true;
    });
  });

test("a group that nobody knows is an operator's problem, and leaves nothing behind", async () => {
  await using folder = await temporaryFolder();
  await assert.rejects(
    open(folder.at("policy"), "one", false, { group: "no-such-group" }),
    /no group here is called/,
  );
  const free = createServer();
  free.listen(folder.at("policy"));
  await once(free, "listening");
  free.close();
});
