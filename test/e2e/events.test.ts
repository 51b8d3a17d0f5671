import assert from "node:assert/strict";
import { readFile, rename, writeFile } from "node:fs/promises";
import { test } from "node:test";
import type { PolicyEvent } from "../../src/policy/events/event.ts";
import { type Receiver, startReceiver } from "../policy/webhook-kit.ts";
import { certificateAuthority } from "../support/certificates.ts";
import { type Door, openDoor } from "../support/door.ts";
import { freePort } from "../support/ports.ts";
import { says } from "../support/postern.ts";
import { gone, isAlive } from "../support/process-tree.ts";
import { runProcess } from "../support/processes.ts";
import { startRedis } from "../support/redis.ts";
import { startScriptedBackend } from "../support/scripted-backend.ts";
import { startScriptedSmtp } from "../support/scripted-smtp.ts";
import { openSmtpDoor, talk } from "../support/smtp-door.ts";
import { eventually } from "../support/waiting.ts";

const USERS = { "alice@example.org": "right", "bob@example.org": "right" };
const SECRET = "swordfish-swordfish";
const GUESSES = { name: "guesses", count: "authFailures", per: "ip", limit: "3/10m", then: { ban: "1h" } };
const ROAMING = { name: "roaming", count: "networks", per: "user", limit: "2/1h", then: "alert" };

function policy(url: string, more: object = {}) {
  const events = { webhook: { url, secret: SECRET }, file: "events.log", nftables: "banned.nft", ...more };
  return { exempt: ["127.0.0.9"], limits: [GUESSES, ROAMING], events };
}

async function guessUntilBanned(door: Door, from: string): Promise<void> {
  await using client = await door.greetedInTls({ localAddress: from });
  for (const tag of ["a", "b", "c"]) {
    await client.send(`${tag} LOGIN alice@example.org wrong${tag}${from}`);
    await client.expect(`${tag} NO [AUTHENTICATIONFAILED] `);
  }
}

/** Puts another policy in the configuration's place and has it taken. */
async function reload(door: Door, change: object): Promise<void> {
  const path = door.gateway.folder.at("postern.yaml");
  const config = JSON.parse(await readFile(path, "utf8"));
  await writeFile(`${path}.new`, JSON.stringify({ ...config, policy: change }));
  await rename(`${path}.new`, path);
  await says(door.gateway, "reload");
}

const seen = (receiver: Receiver) =>
  receiver.events().map((event) => [event.kind, event.whom, "by" in event ? event.by : event.limit]);

for (const workers of [0, 2])
  test(`with ${workers} workers bans, pardons and suspects are told to webhook, file and nftables, once each`, async () => {
    await using receiver = await startReceiver();
    await using store = await startScriptedBackend({ tls: "none" });
    await using door = await openDoor({
      authority: await certificateAuthority(),
      backends: { store },
      users: USERS,
      config: { policy: policy(receiver.url), routes: [{ to: "store" }], workers },
    });
    await guessUntilBanned(door, "127.0.0.66");
    await eventually("the ban", () => receiver.events().length > 0);
    for (const localAddress of ["127.0.0.71", "127.0.0.72", "127.0.0.73", "127.0.0.74"]) {
      await using alice = await door.signedIn("alice@example.org", "right", { localAddress });
      await alice.send("n NOOP");
      await alice.expectUntil("n OK ");
    }
    await eventually("the suspicion", () => receiver.events().length > 1);
    await says(door.gateway, "ban --user Bob@example.org --for 1h");
    await says(door.gateway, "unban --ip 127.0.0.66");
    await eventually("the pardon", () => receiver.events().length > 3);
    assert.deepEqual(seen(receiver), [
      ["ban", { ip: "127.0.0.66" }, "guesses"],
      ["suspected", { user: "alice@example.org" }, "roaming"],
      ["ban", { user: "bob@example.org" }, "operator"],
      ["unban", { ip: "127.0.0.66" }, "operator"],
    ]);
    for (const { gateway } of receiver.events() as PolicyEvent[]) assert.equal(gateway, "door.example.org");

    const { gateway } = door;
    const lines = (await readFile(gateway.folder.at("events.log"), "utf8")).trim().split("\n");
    assert.deepEqual(
      lines.map((line) => line.split(" ").slice(1, 4)),
      [
        ["127.0.0.66", "ban", "guesses"],
        ["-", "suspected", "roaming"],
        ["-", "ban", "operator"],
        ["127.0.0.66", "unban", "operator"],
      ],
    );
    await guessUntilBanned(door, "127.0.0.67");
    const file = gateway.folder.at("banned.nft");
    await eventually("the address for nftables", async () =>
      (await readFile(file, "utf8")).includes("127.0.0.67"),
    );
    assert.doesNotMatch(await readFile(file, "utf8"), /127\.0\.0\.66/);
    assert.equal((await runProcess("nft", ["-c", "-f", file])).code, 0);

    await gateway.metricIs("postern_events_total", 3, { kind: "ban" });
    await gateway.metricIs("postern_events_total", 1, { kind: "suspected" });
    await gateway.metricIs("postern_bans_total", 1, { limit: "operator" });
    await gateway.metricIs("postern_bans_total", 2, { limit: "guesses" });
    await gateway.metricIs("postern_unbans_total", 1);
    await gateway.metricIs("postern_webhook_waiting", 0);
    const suspected = gateway.log().filter(({ msg }) => msg === "suspected");
    assert.deepEqual(
      suspected.map(({ limit, key, taken }) => [limit, key, taken]),
      [["roaming", "user=alice@example.org", 3]],
    );
    assert.ok(!gateway.output().includes(SECRET) && !gateway.output().includes("t0ken"));
  });

test("who does most is told by the API and on the command line, and no metric has a name in it", async () => {
  await using store = await startScriptedBackend({ tls: "none" });
  await using door = await openDoor({
    authority: await certificateAuthority(),
    backends: { store },
    users: USERS,
    config: { policy: policy("http://127.0.0.1:9/"), routes: [{ to: "store" }], workers: 2 },
  });
  await guessUntilBanned(door, "127.0.0.66");
  const said = await says(door.gateway, "top");
  assert.match(said, /^authFailures by network, in this gateway since 20\d\d-.*Z\n3 {2}127\.0\.0\.66\n$/);
  assert.match(await says(door.gateway, "top --by user --limit 1"), /\n3 {2}alice@example\.org\n$/);
  assert.match(await says(door.gateway, "top --count messages"), /\nnone\n$/);
  const { body } = await door.gateway.admin("/api/v1/top?by=user&count=authFailures&limit=5");
  const { since, ...answer } = JSON.parse(body);
  assert.ok(Date.now() - Date.parse(since) < 60_000);
  const top = [{ user: "alice@example.org", count: 3, error: 0 }];
  assert.deepEqual(answer, { by: "user", count: "authFailures", top });
  for (const wrong of ["by=password", "count=passwords", "limit=0", "limit=100000", "whom=x"])
    assert.equal((await door.gateway.admin(`/api/v1/top?${wrong}`)).status, 400, wrong);
  assert.doesNotMatch(await door.gateway.metrics(), /alice|127\.0\.0\.66/);
});

test("a webhook that is down makes nobody wait; after a reload its successor hears what it did not, and a stop ends", async () => {
  await using store = await startScriptedBackend({ tls: "none" });
  await using door = await openDoor({
    authority: await certificateAuthority(),
    backends: { store },
    users: USERS,
    config: { policy: policy(`http://127.0.0.1:${await freePort()}/`), routes: [{ to: "store" }] },
  });
  await guessUntilBanned(door, "127.0.0.66");
  await eventually("the failure", () =>
    door.gateway.log().some(({ msg }) => String(msg).startsWith("the webhook")),
  );
  await door.gateway.metricIs("postern_webhook_waiting", 1);
  await using receiver = await startReceiver();
  await reload(door, policy(receiver.url, { file: "others.log" }));
  await eventually("the event", () => receiver.events().length > 0);
  assert.deepEqual(seen(receiver), [["ban", { ip: "127.0.0.66" }, "guesses"]]);
  await guessUntilBanned(door, "127.0.0.67");
  await eventually("the next", () => receiver.events().length > 1);
  assert.match(await readFile(door.gateway.folder.at("others.log"), "utf8"), /^\S+ 127\.0\.0\.67 ban /);
  await reload(door, { ...policy(receiver.url), events: {} });
  await guessUntilBanned(door, "127.0.0.68");
  await reload(door, policy(`http://127.0.0.1:${await freePort()}/`));
  await guessUntilBanned(door, "127.0.0.69");
  assert.equal(await door.gateway.stop(), 0);
  assert.equal(receiver.events().length, 2);
});

test("of two gateways with one Redis each tells what it did itself, and nftables hears of both", async () => {
  await using redis = await startRedis();
  await using store = await startScriptedBackend({ tls: "none" });
  await using receivers = new AsyncDisposableStack();
  const authority = await certificateAuthority();
  const open = async () => {
    const receiver = receivers.use(await startReceiver());
    const config = { policy: { ...policy(receiver.url), store: redis.url }, routes: [{ to: "store" }] };
    const door = receivers.use(await openDoor({ authority, backends: { store }, users: USERS, config }));
    return { receiver, door };
  };
  const [one, other] = [await open(), await open()];
  await guessUntilBanned(one.door, "127.0.0.66");
  await eventually("the ban", () => one.receiver.events().length > 0);
  const file = other.door.gateway.folder.at("banned.nft");
  await eventually("the other's ban", async () => (await readFile(file, "utf8")).includes("127.0.0.66"), {
    timeoutMs: 15_000,
  });
  assert.deepEqual(other.receiver.events(), []);
  assert.equal(one.receiver.events().length, 1);
});

test("over an upgrade bans stay in the file for nftables, which the new process writes from then on", async () => {
  await using receiver = await startReceiver();
  await using store = await startScriptedBackend({ tls: "none" });
  await using door = await openDoor({
    authority: await certificateAuthority(),
    backends: { store },
    users: USERS,
    config: { policy: policy(receiver.url), routes: [{ to: "store" }] },
  });
  await using cleanup = new AsyncDisposableStack();
  const file = door.gateway.folder.at("banned.nft");
  const holds = (...addresses: string[]) =>
    eventually(addresses.join(), async () => {
      const text = await readFile(file, "utf8").catch(() => "");
      return addresses.every((address) => text.includes(`${address} timeout`));
    });
  await guessUntilBanned(door, "127.0.0.66");
  await holds("127.0.0.66");
  const heir = Number(/process (\d+) serves now/.exec(await says(door.gateway, "upgrade"))?.[1]);
  cleanup.defer(async () => {
    if (await isAlive(heir)) process.kill(heir, "SIGTERM");
    await gone(heir);
  });
  await gone(door.gateway.pid);
  await guessUntilBanned(door, "127.0.0.67");
  await holds("127.0.0.66", "127.0.0.67");
  await eventually("both events", () => receiver.events().length === 2);
  const problems = door.gateway.log().filter(({ msg }) => String(msg).includes("cannot be written"));
  assert.deepEqual(problems, []);
});

test("recipients that nobody takes mail for are counted by the address of a server that guesses them", async () => {
  await using receiver = await startReceiver();
  await using backend = await startScriptedSmtp({
    acts: { rcpt: (line) => (line.includes("nobody") ? { say: "550 5.1.1 nobody\r\n" } : undefined) },
  });
  const harvest = { name: "harvest", count: "refusedRecipients", per: "ip", limit: "3/1h", then: "refuse" };
  await using door = await openSmtpDoor({
    authority: await certificateAuthority(),
    backends: { backend },
    domains: { backend: "example.net" },
    config: {
      policy: { exempt: [], limits: [harvest], events: { webhook: { url: receiver.url, secret: SECRET } } },
    },
  });
  await using client = await door.fromServer();
  await talk(
    client,
    ["MAIL FROM:<a@example.com>", "250 "],
    // No route; the backend, as the first recipient; no route behind it; and then it is enough.
    ["RCPT TO:<a@elsewhere.example>", "550 "],
    ["RCPT TO:<nobody@example.net>", "550 "],
    ["RCPT TO:<a@elsewhere.example>", "550 "],
    ["RCPT TO:<bob@example.net>", "450 4.7.1 "],
  );
  await eventually("the event", () => receiver.events().length > 0);
  assert.deepEqual(seen(receiver), [["limit", { ip: "127.0.0.1" }, "harvest"]]);
});

test("recipients that the backend refuses make an account suspected; its own troubles do not", async () => {
  await using receiver = await startReceiver();
  await using backend = await startScriptedSmtp({
    auth: true,
    acts: {
      rcpt: (line) => ({
        say: line.includes("full") ? "452 4.5.3 too many\r\n" : "550 5.1.1 nobody\r\n",
      }),
    },
  });
  const hijacked = {
    name: "hijacked",
    count: "refusedRecipients",
    per: "user",
    limit: "3/1h",
    then: "alert",
  };
  await using door = await openSmtpDoor({
    authority: await certificateAuthority(),
    users: USERS,
    backends: { backend },
    config: {
      policy: { exempt: [], limits: [hijacked], events: { webhook: { url: receiver.url, secret: SECRET } } },
    },
  });
  await using client = await door.signedIn("alice@example.org", "right");
  await talk(client, ["MAIL FROM:<alice@example.org>", "250 "]);
  for (let times = 0; times < 9; times += 1) await talk(client, ["RCPT TO:<full@example.net>", "452 "]);
  for (let times = 0; times < 3; times += 1) await talk(client, ["RCPT TO:<a@example.net>", "550 "]);
  await talk(client, ["RCPT TO:<b@example.net>", "550 "]);
  await eventually("the event", () => receiver.events().length > 0);
  assert.deepEqual(seen(receiver), [["suspected", { user: "alice@example.org" }, "hijacked"]]);
});
