import assert from "node:assert/strict";
import { cp, readFile } from "node:fs/promises";
import { test } from "node:test";
import { loadConfig } from "../../src/config/load.ts";
import { runProcess } from "../support/processes.ts";
import { temporaryFolder } from "../support/temp.ts";

const path = (name: string) => new URL(`../../${name}`, import.meta.url);
const UNIT = await readFile(path("deploy/postern.service"), "utf8");

const said = (name: string) =>
  [...UNIT.matchAll(new RegExp(`^${name}=(.*)$`, "gm"))].map(([, value]) => value);

test("systemd takes the unit without a word, and finds little that is open in it", async () => {
  await using folder = await temporaryFolder();
  // It looks for the program as well, and Node may be elsewhere on this machine.
  const unit = await folder.write("postern.service", UNIT.replace("/usr/bin/node", process.execPath));
  const verified = await runProcess("systemd-analyze", ["verify", "--man=no", unit]);
  assert.deepEqual([verified.code, verified.stdout, verified.stderr], [0, "", ""]);

  // Of 100; what is left is the network, which is its business, and what Node cannot do without.
  const security = ["security", "--offline=true", "--no-pager", "--threshold=20", unit];
  const judged = await runProcess("systemd-analyze", security);
  assert.equal(judged.code, 0, judged.stdout);
});

test("systemd takes the units that load bans into nftables, and nft the rules", async () => {
  await using folder = await temporaryFolder();
  const units = ["postern-bans.path", "postern-bans.service"];
  for (const name of units) await folder.write(name, await readFile(path(`deploy/nftables/${name}`), "utf8"));
  const files = units.map((name) => folder.at(name));
  const verified = await runProcess("systemd-analyze", ["verify", "--man=no", ...files]);
  assert.deepEqual([verified.code, verified.stdout, verified.stderr], [0, "", ""]);
  const checked = await runProcess("nft", ["-c", "-f", path("deploy/nftables/postern.nft").pathname]);
  assert.deepEqual([checked.code, checked.stderr], [0, ""]);
});

test("fail2ban takes the jail with the filter beside it", async () => {
  await using folder = await temporaryFolder();
  const config = folder.at("fail2ban");
  await cp("/etc/fail2ban", config, { recursive: true });
  await cp(path("deploy/fail2ban"), config, { recursive: true, force: true });
  const log = await folder.write("events.log", "");
  const jail = await readFile(path("deploy/fail2ban/jail.d/postern.conf"), "utf8");
  await folder.write("fail2ban/jail.d/postern.conf", jail.replace("/var/lib/postern/events.log", log));
  await folder.write("fail2ban/jail.d/defaults-debian.conf", "");
  const dumped = await runProcess("fail2ban-client", ["-c", config, "--dp"]);
  assert.equal(dumped.code, 0, dumped.stderr);
  assert.match(dumped.stdout, /'set', 'postern', 'addlogpath', '.*events\.log'/);
  assert.match(dumped.stdout, /\['set', 'postern', 'maxretry', 1\]/);
});

test("the unit waits longer for a stop than Postern lets sessions go on", () => {
  const loaded = loadConfig(new URL("config/minimal.yaml", path("")).pathname);
  assert.ok(loaded.ok);
  const [minutes] = /^\d+(?=min$)/.exec(said("TimeoutStopSec")[0] ?? "") ?? [];
  assert.ok(Number(minutes) * 60_000 > loaded.config.timeouts.drain);
});

test("the unit has what the gateway's words to systemd need, and what would kill Node it has not", () => {
  assert.deepEqual([said("Type"), said("NotifyAccess"), said("KillMode")], [["notify"], ["all"], ["mixed"]]);
  assert.match(said("RestrictAddressFamilies")[0] ?? "", /\bAF_UNIX\b/);
  for (const name of ["MemoryDenyWriteExecute", "PrivateUsers"]) assert.deepEqual(said(name), []);
  assert.deepEqual(said("CapabilityBoundingSet"), ["CAP_NET_BIND_SERVICE"]);
});

test("the unit's user is one that systemd-sysusers makes", async () => {
  await using folder = await temporaryFolder();
  const file = path("deploy/sysusers.conf").pathname;
  const dry = ["--dry-run", `--root=${folder.path}`, file];
  const made = await runProcess("systemd-sysusers", dry);
  assert.equal(made.code, 0, made.stderr);
  assert.match(made.stdout + made.stderr, new RegExp(`^Creating user '${said("User")[0]}'`, "m"));
});
