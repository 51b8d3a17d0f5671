import assert from "node:assert/strict";
import { stat } from "node:fs/promises";
import { test } from "node:test";
import type { Config } from "../../src/config/schema.ts";
import { PolicySocket, placesOf } from "../../src/supervisor/policy-places.ts";
import { connectPolicy } from "../support/policy-client.ts";
import { temporaryFolder } from "../support/temp.ts";

const configWith = (serve: object | undefined) => ({ listeners: [], policy: { serve } }) as unknown as Config;

/** A gateway's socket that says its name. */
const socketOf = (name: string) => new PolicySocket((socket) => socket.end(`action=${name}\n\n`));

async function heard(path: string): Promise<string> {
  await using client = await connectPolicy({ path });
  return await client.answer();
}

test("a successor takes the place, and gives it back where it comes to nothing", async () => {
  await using folder = await temporaryFolder();
  const path = folder.at("policy");
  const config = configWith({ socket: path, mode: "0660" });
  const old = socketOf("old");
  (await old.change(config, false)).commit();
  const heir = socketOf("heir");
  (await heir.change(config, true)).commit();
  assert.equal(await heard(path), "heir");
  await old.restore(config);
  assert.equal(await heard(path), "old");
  heir.close();
  await old.restore(config);
  assert.equal(await heard(path), "old");
  old.close();
  await assert.rejects(stat(path));
});

test("a change moves it, and one that is undone leaves all as it was", async () => {
  await using folder = await temporaryFolder();
  const socket = socketOf("here");
  const one = configWith({ socket: folder.at("one"), mode: "0660" });
  const two = configWith({ socket: folder.at("two"), mode: "0600" });
  (await socket.change(one, false)).commit();
  (await socket.change(two, false)).undo();
  assert.equal(await heard(folder.at("one")), "here");
  (await socket.change(two, false)).commit();
  assert.equal(await heard(folder.at("two")), "here");
  await assert.rejects(stat(folder.at("one")));
  (await socket.change(configWith({ socket: folder.at("two"), mode: "0666" }), false)).commit();
  assert.equal((await stat(folder.at("two"))).mode & 0o777, 0o666);
  (await socket.change(configWith(undefined), false)).commit();
  await assert.rejects(stat(folder.at("two")));
});

test("a port stands among the listeners, under a name that none of them can have", () => {
  assert.deepEqual(placesOf(configWith({ host: "127.0.0.1", port: 10_040 })), [
    { name: "policy/serve", host: "127.0.0.1", port: 10_040 },
  ]);
  assert.deepEqual(placesOf(configWith({ socket: "/a" })), []);
});
