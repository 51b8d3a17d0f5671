import assert from "node:assert/strict";
import { test } from "node:test";
import { Refused } from "../../src/refusal.ts";
import { base64, frontDoor, type LogLine } from "../session/front-door.ts";
import { certificateAuthority } from "../support/certificates.ts";
import { backendByHand } from "../upstream/backend-by-hand.ts";

const SECRET = "correct-horse-battery-staple";
const MASTER = "the-masters-own-key";

/** A sample of /metrics, by its name and labels as they are written. */
function sample(text: string, name: string): number {
  const line = text.split("\n").find((candidate) => candidate.startsWith(`${name} `));
  assert.ok(line, `${name} is not in:\n${text}`);
  return Number(line.slice(name.length + 1));
}

test("a session that came in has one account record that says all of it", async (t) => {
  const backend = await backendByHand(t);
  const door = await frontDoor(t, { backend, users: { alice: SECRET } });
  const client = await door.greeted();
  await client.send(`a LOGIN alice ${SECRET}`);
  const visit = await backend.signedIn();
  await client.expect("a OK");
  visit.end();
  await client.expectClosed();
  const [record, ...others] = await door.closed(1);
  assert.deepEqual(others, []);
  assert.ok(record);
  const { id, durations, durationMs, bytes, time, ...rest } = record as LogLine & {
    durations: Record<string, number>;
    bytes: { in: number; out: number };
  };
  assert.deepEqual(rest, {
    level: 30,
    msg: "session",
    listener: "imap-143",
    peer: "127.0.0.1",
    user: "alice",
    backend: "north",
    protocol: "imap",
    tls: "none",
    outcome: "ok",
    reason: "backend closed",
    refusals: 0,
  });
  assert.match(String(id), /^[0-9a-z]+-[0-9a-z]+$/);
  assert.equal(bytes.in, `a LOGIN alice ${SECRET}\r\n`.length);
  assert.ok(bytes.out > 50 && Number(durationMs) >= 0 && Number(time) > 0);
  for (const stage of [
    "accepted",
    "greeted",
    "authenticating",
    "routing",
    "connecting",
    "signingIn",
    "relaying",
  ]) {
    assert.equal(typeof durations[stage], "number", stage);
  }
});

for (const [ending, end] of Object.entries({
  "a port scan": async () => {},
  "a logout": async (client) => client.send("a LOGOUT"),
  "a reset": async (client) => client.vanish(),
  "a foreign protocol": async (client) => client.send("GET / HTTP/1.1"),
  "a failed login and a reset": async (client) => {
    await client.send(`a LOGIN alice ${SECRET}`);
    await client.expect("a NO");
    client.vanish();
  },
  "too many errors": async (client) => client.sendRaw("a SELECT x\r\n".repeat(12)),
} satisfies Record<
  string,
  (client: Awaited<ReturnType<Awaited<ReturnType<typeof frontDoor>>["connect"]>>) => Promise<void>
>)) {
  test(`exactly one account record is written for a session that ends by ${ending}`, async (t) => {
    const door = await frontDoor(t, { users: { alice: "other" } });
    const client = await door.greeted();
    await end(client);
    await client[Symbol.asyncDispose]();
    await door.closed(1);
    // Another session from beginning to end, and there are two.
    const second = await door.greeted();
    await second.send("a LOGOUT");
    await second.readToClose();
    const records = await door.closed(2);
    assert.equal(new Set(records.map((record) => record["id"])).size, 2);
    assert.equal(records.length, 2);
  });
}

test("no password is logged at any level, whatever becomes of it", async (t) => {
  const authority = await certificateAuthority();
  const certificate = await authority.issue(["localhost"]);
  const offers = [
    `a LOGIN alice ${SECRET}`,
    `a LOGIN alice {${SECRET.length}+}\r\n${SECRET}`,
    `a LOGIN "alice" "${SECRET}" too much`,
    `a LOGIN "alice" "${SECRET}`,
    `a LOGIN alice ${SECRET} {5+}\r\nabcde`,
    `a AUTHENTICATE PLAIN ${base64(`\0alice\0${SECRET}`)}`,
    `a AUTHENTICATE PLAIN ${base64(`\0alice\0${SECRET}\0`)}`,
    `a AUTHENTICATE PLAIN ${base64(`\0alice\0${SECRET}`)}!`,
    `a AUTHENTICATE PLAIN ${SECRET}`,
    `a ${SECRET} alice`,
    `${SECRET}{ NOOP`,
  ];
  const fail = async (): Promise<never> => {
    throw new Refused("unavailable", "the source is down");
  };
  for (const authenticate of [undefined, fail]) {
    for (const requireTls of [false, true]) {
      const door = await frontDoor(t, {
        certificate,
        users: { alice: SECRET },
        frontend: { requireTls },
        login: { master: { user: "master", password: MASTER } },
        ...(authenticate && { authenticate }),
      });
      let sessions = 0;
      for (const offer of offers) {
        const client = await door.greeted();
        await client.sendRaw(`n NOOP\r\n${offer}\r\n`);
        client.end();
        await client.readToClose();
        sessions += 1;
      }
      await door.closed(sessions);
      const everything = JSON.stringify(door.log) + (await door.metrics());
      for (const secret of [SECRET, base64(`\0alice\0${SECRET}`), MASTER]) {
        assert.ok(!everything.includes(secret), `${secret} in ${everything}`);
      }
    }
  }
});

test("a client's name is one escaped, short value of the log, and no label", async (t) => {
  const door = await frontDoor(t);
  const client = await door.greeted();
  const name = `x\u202e\u2028${"y".repeat(200)}`;
  await client.sendRaw(Buffer.from(`a LOGIN "${name}" "pw"\r\n`));
  await client.expect("a NO");
  await client.send("b LOGOUT");
  await client.readToClose();
  const [record] = await door.closed(1);
  assert.match(String(record?.["user"]), /^x\\u\{202e\}\\u\{2028\}y{100,}…$/);
  assert.doesNotMatch(await door.metrics(), /yyyy/);
});

test("every metric that is promised is there before the first session", async (t) => {
  const door = await frontDoor(t);
  const text = await door.metrics();
  for (const [name, type] of Object.entries({
    postern_connections_total: "counter",
    postern_sessions_open: "gauge",
    postern_logins_total: "counter",
    postern_refusals_total: "counter",
    postern_stage_duration_seconds: "histogram",
    postern_bytes_total: "counter",
    postern_leases: "gauge",
    postern_bans_total: "counter",
    postern_limit_would_refuse_total: "counter",
    postern_session_errors_total: "counter",
    process_cpu_user_seconds_total: "counter",
  })) {
    assert.match(text, new RegExp(`^# TYPE ${name} ${type}$`, "m"));
  }
  assert.doesNotMatch(text, /^# TYPE \S+_total gauge$/m);
  assert.equal(sample(text, 'postern_connections_total{listener="imap-143"}'), 0);
  assert.equal(sample(text, 'postern_sessions_open{listener="imap-143"}'), 0);
  assert.equal(sample(text, 'postern_bytes_total{listener="imap-143",direction="in"}'), 0);
});

test("what sessions do is counted", async (t) => {
  const backend = await backendByHand(t);
  const door = await frontDoor(t, {
    backend,
    limits: [
      { name: "open", count: "sessions", per: ["user"], limit: { points: 5 }, match: {}, then: "refuse" },
    ],
  });
  const client = await door.greeted();
  await client.send("a LOGIN alice wrong");
  await client.expect("a NO");
  await client.send("b LOGIN alice secret");
  const visit = await backend.signedIn();
  await client.expect("b OK");
  const during = await door.metrics();
  assert.equal(sample(during, 'postern_sessions_open{listener="imap-143"}'), 1);
  assert.equal(sample(during, "postern_leases"), 1);
  assert.equal(sample(during, 'postern_logins_total{listener="imap-143",outcome="ok"}'), 1);
  assert.equal(sample(during, 'postern_logins_total{listener="imap-143",outcome="badCredential"}'), 1);
  assert.equal(sample(during, 'postern_refusals_total{kind="badCredential"}'), 1);
  const bytes = 'postern_bytes_total{listener="imap-143",direction="in"}';
  const said = "a LOGIN alice wrong\r\nb LOGIN alice secret\r\n".length;
  assert.equal(sample(during, bytes), said, "of sessions that are open too");
  visit.end();
  await client.expectClosed();
  await door.closed(1);
  const after = await door.metrics();
  assert.equal(sample(after, 'postern_sessions_open{listener="imap-143"}'), 0);
  assert.equal(sample(after, "postern_leases"), 0);
  assert.equal(sample(after, bytes), said, "once, and for good");
  assert.equal(sample(after, 'postern_connections_total{listener="imap-143"}'), 1);
  assert.equal(sample(after, 'postern_stage_duration_seconds_count{stage="connecting"}'), 1);
  assert.equal(sample(after, "postern_session_errors_total"), 0);
});

test("a session's first no of each kind is told, with its limit, and the same again is for debugging only", async (t) => {
  const door = await frontDoor(t, {
    users: { alice: SECRET },
    limits: [
      {
        name: "guesses",
        count: "authFailures",
        per: ["ip"],
        limit: { points: 2, windowMs: 60_000 },
        match: {},
        then: "refuse",
      },
    ],
  });
  const client = await door.greeted();
  for (const [tag, word] of ["a", "b", "c"].entries()) {
    await client.send(`${word} LOGIN alice wrong${tag}`);
    await client.expect(`${word} NO`);
  }
  await client.send("d LOGOUT");
  await client.readToClose();
  await door.closed(1);
  const told = door.log.filter(({ msg }) => msg === "refused");
  assert.deepEqual(
    told.map(({ kind, level }) => [kind, level]),
    [
      ["badCredential", 30],
      ["badCredential", 20],
      ["tooFast", 30],
    ],
  );
  assert.equal(told[2]?.["reason"], "limit guesses: 2 of 2 in 1m for ip=127.0.0.1");
});
