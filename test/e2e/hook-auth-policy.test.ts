import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { startAuthPolicyServer } from "../support/auth-policy-server.ts";
import { certificateAuthority } from "../support/certificates.ts";
import { connect } from "../support/conversation.ts";
import { type Door, openDoor } from "../support/door.ts";
import { startDovecot } from "../support/dovecot.ts";
import { startScriptedBackend } from "../support/scripted-backend.ts";
import { eventually } from "../support/waiting.ts";

const USER = "alice@example.org";
const NONCE = "all who ask one server have this one";

async function open(url: string, hook: Readonly<Record<string, unknown>> = {}, policy = {}) {
  const authority = await certificateAuthority();
  const backend = await startScriptedBackend({ tls: "none" });
  const door = await openDoor({
    authority,
    backends: { backend },
    users: { [USER]: "right", "off@example.org": { password: "right", protocols: ["pop3"] } },
    config: {
      logging: { level: "trace" },
      policy: {
        exempt: [],
        limits: [],
        hooks: [{ type: "authPolicy", name: "wf", url, nonce: NONCE, ...hook }],
        ...policy,
      },
    },
  });
  return {
    door,
    backend,
    async [Symbol.asyncDispose]() {
      await door[Symbol.asyncDispose]();
      await backend[Symbol.asyncDispose]();
    },
  };
}

/** What one login hears, without its tag. */
async function tries(door: Door, password: string, user = USER): Promise<string> {
  await using client = await door.greetedInTls();
  await client.send(`a LOGIN ${user} "${password}"`);
  return (await client.expectUntil("a ")).at(-1) ?? "";
}

test("a hook is asked before the password and behind it, and hears how it ended", async () => {
  await using server = await startAuthPolicyServer();
  await using place = await open(`${server.url}ask?tenant=7`, { apiKey: "key-of-the-hook" });
  const { door } = place;
  await using client = await door.greetedInTls();
  await client.send('i ID ("name" "Foo \\"x" "version" NIL)');
  await client.expectUntil("i OK");
  await client.send("a LOGIN Alice@Example.org right");
  await client.expectUntil("a OK");
  await eventually("a report", () => server.heard("report").length === 1);
  const [before, after, report] = server.told;
  assert.equal(before?.query, "?tenant=7&command=allow");
  assert.equal(before?.headers["x-api-key"], "key-of-the-hook");
  const { pwhash, session_id, attrs, ...rest } = before?.body ?? {};
  assert.match(String(pwhash), /^0[0-9a-f]{3}$/);
  assert.match(String(session_id), /^[0-9a-z]+-[0-9a-z]+$/);
  assert.deepEqual(rest, {
    login: USER,
    remote: "127.0.0.1",
    protocol: "imap",
    tls: true,
    device_id: '"name" "Foo \\"x" "version" NIL',
  });
  assert.deepEqual(attrs, { listener: "tls", local: "127.0.0.1", mechanism: "LOGIN", sni: "localhost" });
  assert.deepEqual(after?.body, before?.body);
  assert.deepEqual(report?.body, { ...before?.body, success: true, policy_reject: false });
  assert.equal(report?.query, "?tenant=7&command=report");

  assert.match(await tries(door, "guessed-w0rd"), /^a NO \[AUTHENTICATIONFAILED\]/);
  await eventually("a report", () => server.heard("report").length === 2);
  const failed = server.told.at(-1)?.body ?? {};
  assert.equal(failed["success"], false);
  assert.equal(failed["fail_type"], "credentials");
  assert.equal(failed["policy_reject"], false);
  assert.notEqual(failed["pwhash"], pwhash);
  await tries(door, "guessed-w0rd", "nobody@example.org");
  await eventually("a report", () => server.heard("report").length === 3);
  assert.equal(server.told.at(-1)?.body["fail_type"], "account");

  // Item 115: neither the key, nor what the hash is made of.
  await server[Symbol.asyncDispose]();
  assert.match(await tries(door, "right"), /^a OK/);
  const written = door.gateway.output() + (await door.gateway.metrics());
  for (const secret of ["key-of-the-hook", NONCE, "guessed-w0rd", "pwhash"])
    assert.equal(written.includes(secret), false, secret);
});

test("its hash of a password is the one that a real Dovecot sends", async () => {
  await using server = await startAuthPolicyServer();
  for (const bits of [12, 16, 10, 1, 0]) {
    await using dovecot = await startDovecot({
      tls: "none",
      users: { [USER]: "right" },
      settings: `auth_policy_server_url = ${server.url}?from=dovecot&
auth_policy_hash_nonce = ${NONCE}
auth_policy_hash_truncate = ${bits}
auth_policy_check_after_auth = no`,
    });
    await using client = await connect({ host: dovecot.host, port: dovecot.ports.plain });
    await client.expect("* OK");
    await client.send("a LOGIN Alice@example.org wrong");
    await client.expectUntil("a NO");
    await using place = await open(server.url, { hashTruncate: bits });
    await tries(place.door, "wrong", "Alice@example.org");
    const [theirs, ours] = server.heard("allow").slice(-2);
    assert.match(theirs?.query ?? "", /from=dovecot/);
    assert.equal(ours?.body["pwhash"], theirs?.body["pwhash"], `${bits} bits`);
    assert.equal(ours?.body["login"], theirs?.body["login"]);
    assert.equal(ours?.body["protocol"], theirs?.body["protocol"]);
  }
});

test("its no reads as a wrong password, whatever it says, and the log names the hook", async () => {
  await using server = await startAuthPolicyServer(-1);
  await using place = await open(server.url);
  const { door, backend } = place;
  assert.equal(await tries(door, "right"), "a NO [AUTHENTICATIONFAILED] Authentication failed");
  await eventually("a report", () => server.heard("report").length === 1);
  const { success, policy_reject, fail_type } = server.heard("report")[0]?.body ?? {};
  assert.deepEqual([success, policy_reject, fail_type], [false, true, "policy"]);
  assert.equal(server.heard("allow").length, 1, "no password was looked at, so nothing is asked behind it");
  const refused = door.gateway.log().find(({ msg }) => msg === "refused");
  assert.equal(refused?.["reason"], "hook wf says no: said\\u{a}no");
  assert.equal(backend.commands().includes("LOGIN"), false);

  // Behind a right password it reads the same.
  let asked = 0;
  server.decide(() => {
    asked += 1;
    return asked % 2 ? 0 : -1;
  });
  assert.equal(await tries(door, "right"), "a NO [AUTHENTICATIONFAILED] Authentication failed");
  assert.equal(backend.commands().includes("LOGIN"), false);
  await door.gateway.metricIs("postern_hook_total", 2, { hook: "wf", answer: "refused" });
  await door.gateway.metricIs("postern_hook_reports_total", 2, { hook: "wf", outcome: "sent" });
});

test("a no of a hook is no guess, and no guess that a limit refuses comes to a hook", async () => {
  await using server = await startAuthPolicyServer(-1);
  const limits = [{ name: "guesses", count: "authFailures", per: "ip", limit: "1/1h" }];
  await using place = await open(server.url, {}, { limits });
  const { door } = place;
  for (let times = 0; times < 3; times += 1)
    assert.match(await tries(door, "right"), /AUTHENTICATIONFAILED/, "and not LIMIT");
  server.say(0);
  assert.match(await tries(door, "wrong"), /AUTHENTICATIONFAILED/);
  const asked = server.heard("allow").length;
  assert.match(await tries(door, "another"), /LIMIT/);
  assert.equal(server.heard("allow").length, asked);
});

test("nobody who is exempt is asked about, nor what does not match", async () => {
  await using server = await startAuthPolicyServer(-1);
  await using exempt = await open(server.url, {}, { exempt: ["127.0.0.0/8"] });
  assert.match(await tries(exempt.door, "right"), /^a OK/);
  await using others = await open(server.url, { match: { domain: "example.net" } });
  assert.match(await tries(others.door, "right"), /^a OK/);
  await using network = await open(server.url, { match: { network: "127.0.0.77" } });
  assert.match(await tries(network.door, "right"), /^a OK/);
  assert.equal(server.told.length, 0);
});

test("observed, its no is told and not heeded", async () => {
  await using server = await startAuthPolicyServer(-1);
  await using place = await open(server.url, { mode: "observe" });
  const { door } = place;
  assert.match(await tries(door, "right"), /^a OK/);
  await door.gateway.metricIs("postern_hook_total", 2, { hook: "wf", answer: "wouldRefuse" });
  const line = door.gateway.log().find(({ msg }) => msg === "a hook in observe mode would have refused");
  assert.deepEqual([line?.["hook"], line?.["user"], line?.["peer"]], ["wf", USER, "127.0.0.1"]);
});

test("a tarpit makes a client wait, not longer than it may, and ends when the client leaves", async () => {
  await using server = await startAuthPolicyServer(3_600);
  await using place = await open(server.url, { maxDelay: "300ms" });
  const begun = performance.now();
  assert.match(await tries(place.door, "right"), /^a OK/);
  const took = performance.now() - begun;
  assert.ok(took >= 300 && took < 5_000, `${took} ms`);
  await using long = await open(server.url, { maxDelay: "1h" });
  const client = await long.door.greetedInTls();
  await client.send(`a LOGIN ${USER} right`);
  await long.door.gateway.metricIs("postern_hook_total", 1, { hook: "wf", answer: "delayed" });
  client.vanish();
  await long.door.gateway.metricIs("postern_sessions_open", 0);
});

test("a reload brings hooks and takes them away, and lets go of their servers", async () => {
  await using server = await startAuthPolicyServer(-1);
  await using place = await open(server.url, {}, { hooks: [] });
  const { gateway } = place.door;
  const reload = async (policy: object): Promise<void> => {
    const file = gateway.folder.at("postern.yaml");
    const config = JSON.parse(await readFile(file, "utf8"));
    const before = gateway.log().length;
    await writeFile(file, JSON.stringify({ ...config, policy: { ...config.policy, ...policy } }));
    gateway.signal("SIGHUP");
    await eventually("the reload", () =>
      gateway
        .log()
        .slice(before)
        .some(({ msg }) => String(msg).startsWith("reloaded")),
    );
  };
  assert.match(await tries(place.door, "right"), /^a OK/);
  assert.equal(server.told.length, 0);
  await reload({ hooks: [{ type: "authPolicy", name: "wf", url: server.url, nonce: NONCE }] });
  assert.match(await tries(place.door, "right"), /AUTHENTICATIONFAILED/);
  const told = JSON.parse((await gateway.admin("/api/v1/explain?ip=127.0.0.66")).body);
  assert.deepEqual(told.hooks, ["wf"]);
  assert.equal(server.heard("allow").length, 1, "and explain asks nobody");
  await reload({ hooks: [] });
  assert.match(await tries(place.door, "right"), /^a OK/);
  await eventually("no connection to be kept", async () => (await server.connections()) === 0);
});
