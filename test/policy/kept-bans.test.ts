import assert from "node:assert/strict";
import { mkdir, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { mock, test } from "node:test";
import { readBans, writeBans } from "../../src/policy/store/ban-file.ts";
import { bansOf, Keeper } from "../../src/policy/store/keeper.ts";
import type { KeeperObserver } from "../../src/policy/store/kept-file.ts";
import { MemoryStore } from "../../src/policy/store/memory.ts";
import type { KeptBan } from "../../src/policy/store/store.ts";
import { temporaryFolder } from "../support/temp.ts";
import { eventually } from "../support/waiting.ts";
import { Clock } from "./engine-kit.ts";

const HOUR = 3_600_000;
const KEY = "ip=203.0.113.5";
const sentence = { key: KEY, by: "guesses", ms: HOUR, upToMs: 24 * HOUR };

function witness(): KeeperObserver & { readonly heard: string[] } {
  const heard: string[] = [];
  return {
    heard,
    notWritten: (_what, _path, reason) => heard.push(`not written: ${reason}`),
    written: () => heard.push("written"),
    ignored: (_what, _path, reason) => heard.push(`ignored: ${reason}`),
  };
}

test("bans outlive the store, with how often they were and whom they spare", async () => {
  await using folder = await temporaryFolder();
  const data = folder.at("data");
  const [clock, heard] = [new Clock(), witness()];
  const before = new MemoryStore(clock.read);
  {
    await using _keeper = await Keeper.open(data, [bansOf(before)], heard);
    await before.ban(sentence);
    clock.pass(HOUR + 1);
    await before.ban(sentence);
    await before.ban({ key: "user=bob\u0000ip=::1", by: "attacked", ms: HOUR, sparesKnown: true });
    await before.ban({ key: "ip=192.0.2.1", by: "operator", ms: 2 });
    clock.pass(1);
  }
  const path = join(data, "bans.json");
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  assert.deepEqual(await readdir(data), ["bans.json"]);

  const later = new Clock();
  later.now = 77;
  const after = new MemoryStore(later.read);
  await using _keeper = await Keeper.open(data, [bansOf(after)], heard);
  const [first, second] = await after.bans();
  assert.equal(first?.key, KEY);
  assert.equal(first?.times, 2);
  assert.ok(first && first.leftMs > 2 * HOUR - 60_000 && first.leftMs <= 2 * HOUR, String(first?.leftMs));
  assert.equal(second?.key, "user=bob\u0000ip=::1");
  // Known networks were not kept, but what the ban spares was.
  const [, bob] = after.keepBans();
  assert.equal(bob?.sparesKnown, true);
  // One that is over is remembered as long as the next would be a repeat.
  later.pass(2 * HOUR);
  assert.equal((await after.ban(sentence))?.ms, 4 * HOUR);
  assert.deepEqual(heard.heard, []);
});

test("a change is in the file within seconds, and no change writes nothing", async () => {
  await using folder = await temporaryFolder();
  mock.timers.enable({ apis: ["setInterval"] });
  const store = new MemoryStore();
  await using keeper = await Keeper.open(folder.path, [bansOf(store)], witness());
  const keys = async () => (await readBans(folder.at("bans.json")))?.map(({ key }) => key);
  mock.timers.tick(10_000);
  await keeper.flush();
  assert.equal(await keys(), undefined);
  await store.ban(sentence);
  mock.timers.tick(2_000);
  mock.timers.reset();
  await eventually("the file", async () => (await keys())?.length === 1);
  await store.unban(KEY, []);
  await keeper.flush();
  assert.deepEqual(await keys(), []);
});

test("who has handed over leaves the file alone, until it has to go on", async () => {
  await using folder = await temporaryFolder();
  const [old, heir] = [new MemoryStore(), new MemoryStore()];
  await using keeper = await Keeper.open(folder.path, [bansOf(old)], witness());
  await using successor = await Keeper.open(folder.path, [bansOf(heir)], witness());
  await old.ban(sentence);
  await keeper.pause();
  await successor.read();
  assert.deepEqual(
    (await heir.bans()).map(({ key }) => key),
    [KEY],
  );
  await old.ban({ ...sentence, key: "user=bob" });
  await keeper.flush();
  assert.equal((await readBans(folder.at("bans.json")))?.length, 1);
  keeper.goOn();
  await keeper.flush();
  assert.equal((await readBans(folder.at("bans.json")))?.length, 2);
});

const kept = (more: Partial<KeptBan> = {}): KeptBan => ({
  ...{ key: KEY, by: "guesses", times: 1, leftMs: HOUR, forgetInMs: HOUR, sparesKnown: false },
  ...more,
});

test("a clock that went back makes no ban longer, and one that went on ends them in time", async () => {
  await using folder = await temporaryFolder();
  const path = folder.at("bans.json");
  await writeBans(path, [kept(), kept({ key: "user=bob", leftMs: 3 * HOUR, forgetInMs: 4 * HOUR })]);
  const leftAt = async (ms: number) => {
    mock.timers.enable({ apis: ["Date"], now: ms });
    try {
      return (await readBans(path))?.map(({ leftMs }) => Math.round(leftMs / HOUR));
    } finally {
      mock.timers.reset();
    }
  };
  const now = Date.now();
  assert.deepEqual(await leftAt(now - 48 * HOUR), [1, 3]);
  assert.deepEqual(await leftAt(now + 2 * HOUR), [1]);
  // Over, but not forgotten.
  assert.deepEqual(await leftAt(now + 3.9 * HOUR), [-1]);
  assert.deepEqual(await leftAt(now + 5 * HOUR), []);
});

test("one name that is too long to keep costs no other ban", async () => {
  await using folder = await temporaryFolder();
  const path = folder.at("bans.json");
  await writeBans(path, [kept(), kept({ key: `user=${"x".repeat(8_000)}` })]);
  assert.deepEqual(
    (await readBans(path))?.map(({ key }) => key),
    [KEY],
  );
});

test("of more bans than are kept, the latest are", async () => {
  await using folder = await temporaryFolder();
  const path = folder.at("bans.json");
  await writeBans(
    path,
    Array.from({ length: 100_500 }, (_, n) => kept({ key: `user=${n}` })),
  );
  const bans = await readBans(path);
  assert.equal(bans?.length, 100_000);
  assert.equal(bans?.[0]?.key, "user=500");
  assert.equal(bans?.at(-1)?.key, "user=100499");
  const long = "x".repeat(4_000);
  await writeBans(
    path,
    Array.from({ length: 20_000 }, (_, n) => kept({ key: `user=${long}${n}` })),
  );
  assert.ok((await stat(path)).size <= 32 * 1024 * 1024);
  assert.equal((await readBans(path))?.at(-1)?.key, `user=${long}19999`);
});

const row = {
  key: KEY,
  by: "x",
  times: 1,
  sparesKnown: false,
  until: "2100-01-01",
  repeatUntil: "2100-01-01",
};
const file = (bans: unknown, writtenAt: unknown = "2020-01-01") => JSON.stringify({ writtenAt, bans });
for (const [what, text] of [
  ["half of a file", file([row]).slice(0, 40)],
  ["nothing", ""],
  ["bytes", "\u0000\uffff"],
  ["null", "null"],
  ["a list", "[]"],
  ["no list", file({})],
  ["no time", file([row], 5)],
  ["a number", file([5])],
  ["no key", file([{ ...row, key: undefined }])],
  ["a key that is none", file([{ ...row, key: "x" }])],
  ["an endless key", file([{ ...row, key: `ip=${"1".repeat(5_000)}` }])],
  ["times that are none", file([{ ...row, times: "1" }])],
  ["no end", file([{ ...row, until: "soon" }])],
  ["nobody spared", file([{ ...row, sparesKnown: 1 }])],
] as const) {
  test(`a file with ${what} is told and ignored`, async () => {
    await using folder = await temporaryFolder();
    await folder.write("bans.json", text);
    const [store, heard] = [new MemoryStore(), witness()];
    await using keeper = await Keeper.open(folder.path, [bansOf(store)], heard);
    assert.equal(heard.heard.length, 1);
    assert.match(heard.heard[0] ?? "", /^ignored: /);
    assert.deepEqual(await store.bans(), []);
    // The next ban makes a good one of it.
    await store.ban(sentence);
    await keeper.flush();
    assert.equal((await readBans(folder.at("bans.json")))?.length, 1);
  });
}

test("a folder that cannot be had is told once, and again when it can", async () => {
  await using folder = await temporaryFolder();
  const [store, heard] = [new MemoryStore(), witness()];
  await folder.write("data", "in the way");
  await using keeper = await Keeper.open(folder.at("free"), [bansOf(store)], heard);
  keeper.moveTo(folder.at("data"));
  await keeper.flush();
  await store.ban(sentence);
  await keeper.flush();
  assert.equal(heard.heard.length, 1);
  assert.match(heard.heard[0] ?? "", /^not written: /);
  keeper.moveTo(folder.at("other"));
  await keeper.flush();
  assert.equal(heard.heard.at(-1), "written");
  assert.equal((await readBans(folder.at("other", "bans.json")))?.length, 1);
});

test("nothing is written through a link that somebody laid there", async () => {
  await using folder = await temporaryFolder();
  await mkdir(folder.at("data"));
  await writeFile(folder.at("victim"), "mine");
  for (const name of ["bans.json", "bans.json.new"])
    await symlink(folder.at("victim"), folder.at("data", name));
  await writeBans(folder.at("data", "bans.json"), [kept()]);
  assert.equal(await readFile(folder.at("victim"), "utf8"), "mine");
});
