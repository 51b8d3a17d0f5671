import assert from "node:assert/strict";
import { readFile, stat } from "node:fs/promises";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { connect } from "../support/conversation.ts";
import { type Door, openDoor } from "../support/door.ts";
import { says } from "../support/postern.ts";
import { gone, isAlive } from "../support/process-tree.ts";
import { startRedis } from "../support/redis.ts";
import { startScriptedBackend } from "../support/scripted-backend.ts";
import { temporaryFolder } from "../support/temp.ts";
import { within } from "../support/waiting.ts";

const USERS = { "alice@example.org": "right", "bob@example.org": "right" };
const GUESSER = { localAddress: "127.0.0.66" };
const GUESSES = {
  name: "guesses",
  count: "authFailures",
  per: "ip",
  limit: "3/10m",
  then: { ban: "1h", upTo: "1d" },
};
const CONFIG = { policy: { exempt: ["127.0.0.9"], limits: [GUESSES] }, routes: [{ to: "store" }] };

/** Wrong passwords, each another one, until the door has had enough. */
async function guessUntilBanned(door: Door): Promise<void> {
  await using client = await door.greetedInTls(GUESSER);
  for (const tag of ["a", "b", "c"]) {
    await client.send(`${tag} LOGIN alice@example.org wrong${tag}`);
    await client.expect(`${tag} NO [AUTHENTICATIONFAILED] `);
  }
}

/** So many that every worker has its share. */
const EACH = 4;

async function everybodyIsRefused(door: Door, client = GUESSER): Promise<void> {
  for (let times = 0; times < EACH; times++) {
    await using refused = await connect({ ...client, port: door.ports.starttls });
    await refused.expect("* BYE ");
    await refused.expectClosed();
  }
}

async function everybodyIsLetIn(door: Door): Promise<void> {
  await using cleanup = new AsyncDisposableStack();
  for (let times = 0; times < EACH; times++) cleanup.use(await door.secured(GUESSER));
  for (let times = 0; times < EACH; times++)
    cleanup.use(await door.signedIn("alice@example.org", "right", GUESSER));
}

for (const workers of [0, 2]) {
  test(`with ${workers} workers an operator sees why somebody is refused, and lets him in at once`, async () => {
    await using store = await startScriptedBackend({ tls: "none" });
    await using door = await openDoor({
      authority: await certificateAuthority(),
      backends: { store },
      users: USERS,
      config: { ...CONFIG, workers },
    });
    const who = "explain --user alice@example.org --ip 127.0.0.66";
    await says(door.gateway, who, /^alice@example\.org from 127\.0\.0\.66: would be let in\n/);
    await says(door.gateway, "bans", /^0 bans\n$/);
    await guessUntilBanned(door);
    await everybodyIsRefused(door);
    await says(
      door.gateway,
      who,
      /^alice@example\.org from 127\.0\.0\.66: would be refused, banned for (59m|1h)/,
    );
    await says(door.gateway, who, /^ {2}ip=127\.0\.0\.66: banned by guesses until .*\d\d:\d\d \(.* left\)$/m);
    await says(door.gateway, who, /^ {2}guesses: 3 of 3 in 10m for ip=127\.0\.0\.66, begins anew in 9m /m);
    await says(door.gateway, "bans", /^ip=127\.0\.0\.66: banned by guesses until .*\n1 ban\n$/);
    await says(door.gateway, "ban --ip 127.0.0.67 --for 30m", /banned by operator/);
    await says(door.gateway, "unban --by guesses", /^1 ban is lifted\n$/);
    await everybodyIsLetIn(door);
    await says(door.gateway, "unban --by guesses", /^there was no ban by guesses\n$/);
    await says(door.gateway, "bans", /^ip=127\.0\.0\.67: banned by operator until .*\n1 ban\n$/);
    await says(door.gateway, "unban --ip 127.0.0.67", /^the ban is lifted\n$/);
    await says(door.gateway, "unban --ip 127.0.0.66", /^there was no ban/);
    await says(door.gateway, who, /: would be let in\nthe name has signed in from this network lately\n/);
    await says(
      door.gateway,
      `${who} --json`,
      /^\{"exempt":false,"knownNetwork":true,.*"limits":\[\{"limit":"guesses",/,
    );

    await says(
      door.gateway,
      "ban --ip 127.0.0.66 --for 30m",
      /^ip=127\.0\.0\.66: banned by operator until .* left\)\n$/,
    );
    await everybodyIsRefused(door);
    await says(door.gateway, "unban --ip 127.0.0.66", /lifted/);
    await says(
      door.gateway,
      "ban --user Bob@example.org --for 1h",
      /^user=bob@example\.org: banned by operator /,
    );
    await using bob = await door.greetedInTls();
    await bob.send("a LOGIN bob@example.org right");
    await bob.expectUntil(/^\* BYE |^a NO /);
    await using alice = await door.signedIn("alice@example.org", "right");
    await alice.send("n NOOP");
    await alice.expectUntil("n OK ");
  });
}

test("what makes no sense is refused with a reason, and changes nothing", async () => {
  await using store = await startScriptedBackend({ tls: "none" });
  await using door = await openDoor({
    authority: await certificateAuthority(),
    backends: { store },
    users: USERS,
    config: CONFIG,
  });
  const url = `http://127.0.0.1:${door.gateway.adminPort}/api/v1/`;
  const ask = async (method: string, path: string, body?: object, headers?: Record<string, string>) => {
    const json = { "content-type": "application/json", ...headers };
    const answer = await fetch(url + path, {
      method,
      ...(body ? { body: JSON.stringify(body), headers: json } : { headers: headers ?? {} }),
    });
    return { status: answer.status, text: await answer.text() };
  };
  for (const [method, path, body, reason] of [
    ["GET", "explain", undefined, /say who/],
    ["GET", "explain?ip=example.org", undefined, /is no IP address/],
    ["GET", "explain?ip=203.0.113.5/24", undefined, /is no IP address/],
    ["GET", "explain?ip=203.0.113.5&ip=203.0.113.6", undefined, /ip/],
    ["GET", "explain?ip=203.0.113.5&shoe=44", undefined, /additional/],
    ["GET", "explain?ip=203.0.113.5&protocol=http", undefined, /protocol/],
    ["GET", "explain?ip=203.0.113.5&listener=back", undefined, /listener: there is none named back/],
    ["GET", "explain?ip=203.0.113.5&listener=tls&protocol=pop3", undefined, /listener tls speaks imap/],
    ["GET", "explain?user=a%00b", undefined, /user: that can be nobody's/],
    ["GET", "explain?user=a%20ip=203.0.113.5", undefined, /user: that can be nobody's/],
    ["GET", "bans?limit=0", undefined, /limit/],
    ["DELETE", "bans?by=guesses&ip=203.0.113.5", undefined, /by: is for all bans of a limit/],
    ["POST", "bans", {}, /for/],
    ["POST", "bans", { for: "1h" }, /say whom/],
    ["POST", "bans", { ip: "203.0.113.5" }, /for/],
    ["POST", "bans", { ip: "203.0.113.0/24", for: "1h" }, /is no IP address; IPv6 networks are \/64 here/],
    ["POST", "bans", { ip: "2001:db8::/48", for: "1h" }, /is no IP address/],
    ["POST", "bans", { ip: "203.0.113.5", for: "0s" }, /is no time/],
    ["POST", "bans", { ip: "203.0.113.5", for: "1 hour" }, /is no time/],
    ["POST", "bans", { ip: "203.0.113.5", for: "99999d" }, /is no time/],
    ["POST", "bans", { backend: "store", for: "1h" }, /no limit bans by backend/],
    ["POST", "bans", { ip: "203.0.113.5", user: "alice", for: "1h" }, /no limit bans by ip and user/],
    ["DELETE", "bans", undefined, /say whom/],
    ["DELETE", "bans?ip=nowhere", undefined, /is no IP address/],
  ] as const) {
    const { status, text } = await ask(method, path, body);
    assert.equal(status, 400, `${method} ${path} ${text}`);
    assert.match(text, reason);
  }
  const page = { origin: "http://evil.example" };
  assert.equal((await ask("POST", "bans", { ip: "203.0.113.5", for: "1h" }, page)).status, 403);
  assert.equal((await ask("DELETE", "bans?ip=203.0.113.5", undefined, page)).status, 403);
  assert.deepEqual(JSON.parse((await ask("GET", "bans")).text), { total: 0, bans: [] });
  // An IPv6 network is understood as it is shown.
  assert.equal((await ask("POST", "bans", { ip: "2001:db8::7", for: "1h" })).status, 200);
  await says(door.gateway, "bans", /^ip=2001:db8:0:0:0:0:0:0\/64: banned by operator /);
  await says(door.gateway, "unban --ip 2001:db8:0:0:0:0:0:0/64", /lifted/);
  await says(door.gateway, "ban --ip 127.0.0.9 --for 1h", /\nbut this address is exempt/);
  await says(door.gateway, "explain --ip 127.0.0.9", /^from 127\.0\.0\.9: exempt /);
  await says(door.gateway, "explain", /say whom/, 2);
});

test("where a token is set, limits and bans want it", async () => {
  await using store = await startScriptedBackend({ tls: "none" });
  await using door = await openDoor({
    authority: await certificateAuthority(),
    backends: { store },
    users: USERS,
    config: CONFIG,
  });
  const { gateway } = door;
  const path = gateway.folder.at("postern.yaml");
  const config = JSON.parse(await readFile(path, "utf8")) as { admin: object };
  // The gateway is ready when /readyz says so; it wants no token, everything else does from the reload on.
  await gateway.folder.write(
    "postern.yaml",
    JSON.stringify({ ...config, admin: { ...config.admin, token: "open sesame, at least sixteen bytes" } }),
  );
  const url = `http://127.0.0.1:${gateway.adminPort}/api/v1`;
  assert.equal((await fetch(`${url}/reload`, { method: "POST" })).status, 200);
  for (const [method, what] of [
    ["GET", "explain?ip=203.0.113.5"],
    ["GET", "bans"],
    ["POST", "bans"],
    ["DELETE", "bans?ip=203.0.113.5"],
  ] as const) {
    const { status } = await fetch(`${url}/${what}`, { method });
    assert.equal(status, 401, `${method} ${what}`);
  }
  // The command line finds it in the configuration.
  await says(door.gateway, "ban --ip 203.0.113.5 --for 1h", /banned by operator/);
  await says(door.gateway, "bans", /\n1 ban\n$/);
});

test("a ban outlives a restart, and a broken file of bans is told and ignored", async () => {
  await using store = await startScriptedBackend({ tls: "none" });
  await using data = await temporaryFolder();
  const authority = await certificateAuthority();
  const start = () =>
    openDoor({ authority, backends: { store }, users: USERS, config: { ...CONFIG, dataDir: data.path } });
  {
    await using door = await start();
    await guessUntilBanned(door);
    assert.equal(await door.gateway.stop(), 0);
  }
  assert.equal((await stat(data.at("bans.json"))).mode & 0o777, 0o600);
  {
    await using door = await start();
    await everybodyIsRefused(door);
    await says(door.gateway, "unban --ip 127.0.0.66", /lifted/);
  }
  await data.write("bans.json", "{");
  await using door = await start();
  await everybodyIsLetIn(door);
  const told = door.gateway.log().filter(({ msg }) => msg === "the file of bans is broken, and ignored");
  assert.equal(told.length, 1);
});

for (const workers of [0, 1]) {
  test(`with ${workers} workers an upgrade takes the bans along`, async () => {
    await using store = await startScriptedBackend({ tls: "none" });
    await using door = await openDoor({
      authority: await certificateAuthority(),
      backends: { store },
      users: USERS,
      config: { ...CONFIG, workers },
    });
    await using cleanup = new AsyncDisposableStack();
    const { gateway } = door;
    await guessUntilBanned(door);
    const url = `http://127.0.0.1:${gateway.adminPort}/api/v1/upgrade`;
    const answer = await within(40_000, "an answer", fetch(url, { method: "POST" }));
    const text = await answer.text();
    assert.equal(answer.status, 200, text);
    const heir = Number(/process (\d+) serves now/.exec(text)?.[1]);
    cleanup.defer(async () => {
      if (await isAlive(heir)) process.kill(heir, "SIGTERM");
      await gone(heir);
    });
    await everybodyIsRefused(door);
    await says(door.gateway, "bans", /^ip=127\.0\.0\.66: banned by guesses until .*\n1 ban\n$/);
    // The old one is gone, and has not written over what the new one keeps.
    await says(door.gateway, "ban --user bob@example.org --for 1h", /banned by operator/);
    await gone(gateway.pid);
    process.kill(heir, "SIGTERM");
    await gone(heir);
    const kept = await readFile(gateway.folder.at("data", "bans.json"), "utf8");
    assert.match(kept, /ip=127\.0\.0\.66/);
    assert.match(kept, /user=bob@example\.org/);
  });
}

test("an operator at one of two gateways with one Redis sees and lifts the bans of both", async () => {
  await using redis = await startRedis();
  await using store = await startScriptedBackend({ tls: "none" });
  const authority = await certificateAuthority();
  const config = { ...CONFIG, policy: { ...CONFIG.policy, store: redis.url } };
  const open = () => openDoor({ authority, backends: { store }, users: USERS, config });
  await using one = await open();
  await using other = await open();
  await guessUntilBanned(one);
  await everybodyIsRefused(other);
  await says(other.gateway, "explain --ip 127.0.0.66", /^ {2}ip=127\.0\.0\.66: banned by guesses until /m);
  await says(other.gateway, "unban --ip 127.0.0.66", /^the ban is lifted\n$/);
  await everybodyIsLetIn(one);
  await redis.kill();
  await other.gateway.metricIs("postern_store_up", 0);
  await says(other.gateway, "bans", /^the shared store does not answer: .*\n0 bans\n$/);
});

test("explain and ban follow a reload", async () => {
  await using store = await startScriptedBackend({ tls: "none" });
  await using door = await openDoor({
    authority: await certificateAuthority(),
    backends: { store },
    users: USERS,
    config: CONFIG,
  });
  const path = door.gateway.folder.at("postern.yaml");
  const config = JSON.parse(await readFile(path, "utf8")) as object;
  const policy = { exempt: [], limits: [{ ...GUESSES, name: "others", per: ["user", "ip"] }] };
  await door.gateway.folder.write("postern.yaml", JSON.stringify({ ...config, policy }));
  await says(door.gateway, "reload", /^reloaded: /);
  await says(
    door.gateway,
    "explain --user bob --ip 127.0.0.9",
    /^ {2}others: 0 of 3 in 10m for ip=127\.0\.0\.9 user=bob$/m,
  );
  await says(
    door.gateway,
    "ban --user bob --ip 203.0.113.5 --for 1h",
    /^ip=203\.0\.113\.5 user=bob: banned by operator /,
  );
});
