import assert from "node:assert/strict";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { newEvent, type PolicyEvent } from "../../src/policy/events/event.ts";
import { eventLine } from "../../src/policy/events/event-line.ts";
import { EventLog } from "../../src/policy/events/event-log.ts";
import { NftFile } from "../../src/policy/events/nft-file.ts";
import { nftRules } from "../../src/policy/events/nft-rules.ts";
import { MemoryStore } from "../../src/policy/store/memory.ts";
import type { Ban } from "../../src/policy/store/store.ts";
import { runProcess } from "../support/processes.ts";
import { temporaryFolder } from "../support/temp.ts";
import { eventually } from "../support/waiting.ts";

const FILTER = fileURLToPath(new URL("../../deploy/fail2ban/filter.d/postern.conf", import.meta.url));
const BASE = fileURLToPath(new URL("../../deploy/nftables/postern.nft", import.meta.url));

const ban = (key: string): PolicyEvent =>
  newEvent("mail.example.org", key, {
    ...{ kind: "ban", by: "guesses", seconds: 900, times: 1 },
    until: "2026-05-04T10:35:30.123Z",
  });
const suspected = (key: string): PolicyEvent =>
  newEvent("mail.example.org", key, {
    ...{ kind: "suspected", limit: "roaming", count: "networks", then: "alert" },
    ...{ taken: 11, points: 10, windowSeconds: 3_600, untold: 0 },
  });

/** What fail2ban's own program takes out of a file: one address for each line that it would ban for. */
async function bannedByFail2ban(file: string): Promise<string[]> {
  const { stdout, stderr } = await runProcess("fail2ban-regex", ["--out", "ip", file, FILTER]);
  assert.equal(stderr, "");
  return stdout.split("\n").filter(Boolean);
}

const rulesOf = (bans: readonly Ban[], exempt: readonly string[]) => [...nftRules(bans, exempt)].join("");

function watchFile() {
  const said: string[] = [];
  const observer = {
    notWritten: (_path: string, reason: string) => said.push(`not written: ${reason.split(",")[0]}`),
    written: () => said.push("written"),
    dropped: (lines: number) => said.push(`dropped ${lines}`),
  };
  return { said, observer };
}

test("a line has time and address in front, and reads as what happened", () => {
  const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z /;
  const line = (event: PolicyEvent) => eventLine(event).replace(time, "");
  assert.equal(line(ban("ip=192.0.2.1")), "192.0.2.1 ban guesses seconds=900 times=1\n");
  assert.equal(
    line(ban("ip=192.0.2.1\u0000user=bob@example.org")),
    "- ban guesses seconds=900 times=1 ip=192.0.2.1 user=bob@example.org\n",
  );
  assert.equal(
    line(suspected("user=bob")),
    "- suspected roaming count=networks taken=11 points=10 then=alert user=bob\n",
  );
  const lifted = newEvent("mail.example.org", "ip=192.0.2.1", { kind: "unban", by: "operator" });
  assert.equal(line(lifted), "192.0.2.1 unban operator\n");
});

test("whatever a client calls himself, a line is one line, and names no address but the one in front", () => {
  const sly = fc.constantFrom(
    "\n",
    "\r",
    "\u001b[2J",
    "\u202e",
    "\u2028",
    "192.0.2.9 ban x",
    " ip=",
    "%0A",
    "\ud800",
  );
  const name = fc
    .array(fc.oneof(sly, fc.string({ unit: "binary" })), { minLength: 1 })
    .map((parts) => parts.join(""));
  fc.assert(
    fc.property(name, fc.constantFrom(ban, suspected), (user, make) => {
      const line = eventLine(make(`user=${user.replaceAll("\u0000", "")}`));
      assert.match(line, /^[\x21-\x7e]+( [\x21-\x7e]+)*\n$/);
      assert.match(line, /^\S+Z - (ban|suspected) /);
      assert.ok(!/ \d+\.\d+\.\d+\.\d+ ban/.test(line));
      assert.ok(line.length < 1_000);
    }),
  );
});

test("fail2ban reads each banned address and network, and nothing that names would have it read", async () => {
  await using folder = await temporaryFolder();
  const path = folder.at("events.log");
  const { observer, said } = watchFile();
  const log = new EventLog(path, observer);
  const names = [
    "192.0.2.9",
    "x\n2026-05-04T10:20:30.123Z 192.0.2.9 ban g seconds=1 times=1\n",
    "a 192.0.2.9 ban b",
  ];
  for (const key of ["ip=192.0.2.1", "ip=2001:db8:0:1:0:0:0:0/64", ...names.map((name) => `user=${name}`)])
    log.tell(ban(key));
  for (const name of names) log.tell(ban(`ip=192.0.2.8\u0000user=${name}`));
  for (const key of ["ip=192.0.2.7", `user=${names[1]}`]) log.tell(suspected(key));
  await log[Symbol.asyncDispose]();
  const found = await bannedByFail2ban(path);
  assert.deepEqual(found, ["192.0.2.1", "2001:db8:0:1::/64"]);
  assert.deepEqual(said, []);
});

test("a file that was rotated away is not written to any more", async () => {
  await using folder = await temporaryFolder();
  const path = folder.at("events.log");
  const log = new EventLog(path, watchFile().observer);
  log.tell(ban("ip=192.0.2.1"));
  await eventually("the first line", async () => (await readFile(path, "utf8").catch(() => "")) !== "");
  await rename(path, `${path}.1`);
  log.tell(ban("ip=192.0.2.2"));
  await log[Symbol.asyncDispose]();
  assert.match(await readFile(path, "utf8"), /^\S+ 192\.0\.2\.2 ban .*\n$/);
  assert.match(await readFile(`${path}.1`, "utf8"), /^\S+ 192\.0\.2\.1 ban .*\n$/);
});

test("a pipe that nobody reads is a file that cannot be written, and holds up no stop", async () => {
  await using folder = await temporaryFolder();
  const path = folder.at("pipe");
  assert.equal((await runProcess("mkfifo", [path])).code, 0);
  const { observer, said } = watchFile();
  const log = new EventLog(path, observer);
  log.tell(ban("ip=192.0.2.1"));
  await log[Symbol.asyncDispose]();
  assert.deepEqual(said, ["not written: ENXIO: no such device or address", "dropped 1"]);
});

test("a full disk is said once, as is its end, and nothing goes on behind half a line", async () => {
  const { observer, said } = watchFile();
  const full = new EventLog("/dev/full", observer);
  for (let times = 0; times < 3; times += 1) {
    full.tell(ban("ip=192.0.2.1"));
    await full[Symbol.asyncDispose]();
  }
  assert.deepEqual(said, [
    "not written: ENOSPC: no space left on device",
    "dropped 1",
    "dropped 1",
    "dropped 1",
  ]);

  await using folder = await temporaryFolder();
  const { observer: other, said: then } = watchFile();
  const log = new EventLog(folder.at("later", "events.log"), other);
  log.tell(ban("ip=192.0.2.1"));
  await log[Symbol.asyncDispose]();
  await mkdir(folder.at("later"));
  await writeFile(folder.at("later", "events.log"), "2026-05-04T10:20:30.123Z 192.0.2.1 ban gue");
  log.tell(ban("ip=192.0.2.2"));
  await log[Symbol.asyncDispose]();
  assert.deepEqual(then, ["not written: ENOENT: no such file or directory", "dropped 1", "written"]);
  assert.deepEqual(await bannedByFail2ban(folder.at("later", "events.log")), ["192.0.2.2"]);
});

const standing = (key: string, leftMs = 900_000): Ban => ({ key, by: "guesses", leftMs, times: 1 });

/** Loads files in a network namespace of its own, in their order, and lists what is there then. */
async function loaded(...files: string[]): Promise<string> {
  const steps = [...files.map((file) => `nft -f '${file}'`), "nft list table inet postern"].join(" && ");
  const { code, stdout, stderr } = await runProcess("unshare", ["--net", "sh", "-c", steps]);
  assert.deepEqual([code, stderr], [0, ""]);
  return stdout;
}

test("nftables takes the file, before and behind the rules, and has each address until its ban ends", async () => {
  await using folder = await temporaryFolder();
  const bans = [
    standing("ip=192.0.2.1"),
    standing("ip=192.0.2.2", 3_650 * 86_400_000 - 1_000),
    standing("ip=2001:db8:0:1:0:0:0:0/64", 1),
    standing("ip=2001:db8:0:0:0:0:0:0/56"),
    standing("ip=2001:db8:5:5:0:0:0:1/128"),
    standing("user=alice"),
    standing("ip=192.0.2.3\u0000user=alice"),
    standing("ip=192.0.2.4 }\nflush ruleset\n"),
    standing("ip=127.0.0.1"),
    standing("ip=2001:db8:7:7:0:0:0:0/64"),
  ];
  const exempt = ["127.0.0.0/8", "::1", "2001:db8:7:7::25"];
  const file = await folder.write("banned.nft", rulesOf(bans, exempt));
  const checked = await runProcess("nft", ["-c", "-f", file]);
  assert.deepEqual([checked.code, checked.stderr], [0, ""]);
  for (const order of [
    [BASE, file],
    [file, BASE, file],
    [file, file, BASE],
  ]) {
    const there = await loaded(...order);
    const elements = [...there.matchAll(/([\da-f.:]+(?:\/\d+)?) timeout (\S+)/g)].map(
      ([, net, time]) => `${net} ${time}`,
    );
    assert.deepEqual(
      elements.toSorted(),
      ["192.0.2.1 15m", "192.0.2.2 3649d23h59m59s", "2001:db8:5:5::1 15m", "2001:db8::/56 15m"],
      order.join(),
    );
    assert.match(there, /ip saddr @banned4 tcp dport .* drop/);
  }
  const none = await folder.write("none.nft", rulesOf([], exempt));
  assert.doesNotMatch(await loaded(BASE, file, none), /timeout \d/);
});

test("the sets hold so many, those that are banned longest", () => {
  const bans = Array.from({ length: 70_000 }, (_, at) =>
    standing(`ip=10.${at >> 16}.${(at >> 8) & 255}.${at & 255}`, 1_000 + at),
  );
  const rules = rulesOf(bans, []);
  assert.equal(rules.split("\n").filter((line) => line.includes(" timeout ")).length, 65_536);
  assert.ok(rules.includes("  10.1.17.111 timeout 71s"));
  assert.ok(!rules.includes(" 10.0.0.1 timeout"));
});

test("the file follows the bans, written once a second at most, and not by one that stands back", async () => {
  await using folder = await temporaryFolder();
  const path = folder.at("banned.nft");
  const store = new MemoryStore();
  const { observer, said } = watchFile();
  let asked = 0;
  let away = false;
  const bans = () => {
    asked += 1;
    return away ? Promise.reject(new Error("away")) : store.bans();
  };
  const file = new NftFile({ path, exempt: () => [], bans, shared: false }, observer);
  const has = (text: string) =>
    eventually(text, async () => (await readFile(path, "utf8").catch(() => "")).includes(text));
  await has("add set inet postern banned4");
  for (let at = 1; at < 200; at += 1) {
    const key = `ip=192.0.2.${at}`;
    await store.ban({ key, by: "guesses", ms: 900_000 });
    file.tell(ban(key));
  }
  await has("192.0.2.199 timeout");
  assert.equal(asked, 2);
  away = true;
  file.tell(ban("ip=192.0.2.1"));
  await eventually("a question to a store that is away", () => asked === 3);
  away = false;
  await store.unban("ip=192.0.2.199", []);
  file.tell(newEvent("mail.example.org", "ip=192.0.2.199", { kind: "unban", by: "operator" }));
  await eventually("the pardon", async () => !(await readFile(path, "utf8")).includes("192.0.2.199 "));

  await file.pause();
  await writeFile(path, "another's");
  await store.unban("ip=192.0.2.1", []);
  file.tell(newEvent("mail.example.org", "ip=192.0.2.1", { kind: "unban", by: "operator" }));
  await new Promise((resolve) => setTimeout(resolve, 1_200));
  assert.equal(await readFile(path, "utf8"), "another's");
  file.goOn();
  await has("192.0.2.2 timeout");
  await rm(folder.path, { recursive: true });
  await store.ban({ key: "ip=192.0.2.9", by: "guesses", ms: 900_000_000 });
  file.tell(ban("ip=192.0.2.9"));
  await eventually("the failure", () => said.length > 0);
  assert.deepEqual(said, ["not written: ENOENT: no such file or directory"]);
  await file[Symbol.asyncDispose]();
});
