import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { startPolicyServer } from "../support/policy-server.ts";
import { startPostgrey } from "../support/postgrey.ts";
import { type ScriptedSmtp, startScriptedSmtp } from "../support/scripted-smtp.ts";
import { openSmtpDoor, type SmtpDoor, talk } from "../support/smtp-door.ts";
import { eventually } from "../support/waiting.ts";

const USER = "alice@example.org";

interface Place extends AsyncDisposable {
  readonly door: SmtpDoor;
  readonly backend: ScriptedSmtp;
}

async function open(server: string, hook: Readonly<Record<string, unknown>> = {}): Promise<Place> {
  const authority = await certificateAuthority();
  const backend = await startScriptedSmtp({ auth: true });
  const door = await openSmtpDoor({
    authority,
    users: { [USER]: "right" },
    backends: { backend },
    domains: { backend: "example.net" },
    config: {
      policy: {
        exempt: [],
        limits: [],
        hooks: [{ type: "postfixPolicy", name: "pf", server, ...hook }],
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

test("a user's recipients are asked about, and hear what the policy server says of them", async () => {
  await using server = await startPolicyServer();
  await using place = await open(server.server);
  await using client = await place.door.signedIn(USER, "right");
  await talk(client, ["MAIL FROM:<alice@example.org> SIZE=77", "250 "], ["RCPT TO:<b@example.com>", "250 "]);
  const asked = server.asked[0];
  assert.deepEqual(
    ["sender", "recipient", "sasl_username", "sasl_method", "helo_name", "protocol_state", "size"].map(
      (name) => asked?.get(name),
    ),
    [USER, "b@example.com", USER, "PLAIN", "client.example.org", "RCPT", "77"],
  );
  assert.match(asked?.get("encryption_protocol") ?? "", /^TLSv1/);
  server.say("REJECT 5.7.1 Not to \u0001them\u00e9");
  await talk(client, ["RCPT TO:<c@example.com>", /^554 5\.7\.1 Not to \?them\?$/]);
  server.say("451 4.3.5 Later");
  await talk(client, ["RCPT TO:<d@example.com>", /^451 4\.3\.5 Later$/]);
  server.say("DUNNO");
  await talk(client, ["RCPT TO:<e@example.com>", "250 "], ["DATA", "354 "], ["x\r\n.", "250 "]);
  assert.deepEqual(place.backend.taken[0]?.rcpts, ["RCPT TO:<b@example.com>", "RCPT TO:<e@example.com>"]);
  assert.equal(new Set(server.asked.map((one) => one.get("instance"))).size, 1, "one message");
  const refused = place.door.gateway.log().find(({ kind }) => kind === "mailRefused");
  assert.equal(refused?.["reason"], "hook pf says 554 5.7.1 Not to ?them?");

  await talk(client, ["MAIL FROM:<alice@example.org>", "250 "], ["RCPT TO:<b@example.com>", "250 "]);
  assert.equal(new Set(server.asked.map((one) => one.get("instance"))).size, 2);
});

test("mail from other servers is asked about from its first recipient on, before any backend hears of it", async () => {
  await using server = await startPolicyServer("REJECT not from you");
  await using place = await open(server.server);
  await using client = await place.door.fromServer();
  await talk(
    client,
    ["MAIL FROM:<a@example.com>", "250 "],
    ["RCPT TO:<b@example.net>", /^554 5\.7\.1 not from you$/],
  );
  assert.equal(
    place.backend.lines().some((line) => line.startsWith("MAIL")),
    false,
  );
  server.say("DUNNO");
  await talk(client, ["RCPT TO:<b@example.net>", "250 "], ["RCPT TO:<c@example.net>", "250 "]);
  server.say("550 5.7.1 nor to him");
  await talk(
    client,
    ["RCPT TO:<d@example.net>", /^550 5\.7\.1 nor to him$/],
    ["DATA", "354 "],
    ["x\r\n.", "250 "],
  );
  assert.equal(new Set(server.asked.map((one) => one.get("instance"))).size, 1);
  assert.deepEqual(
    server.asked.map((one) => one.get("recipient")),
    ["b@example.net", "b@example.net", "c@example.net", "d@example.net"],
  );
  assert.equal(place.backend.taken.length, 1);
});

test("before the content, the number of recipients is known, by DATA and by BDAT", async () => {
  await using server = await startPolicyServer();
  await using place = await open(server.server, { stages: ["data"] });
  await using client = await place.door.signedIn(USER, "right");
  const begin = async (...rcpts: string[]): Promise<void> => {
    await talk(client, ["MAIL FROM:<alice@example.org>", "250 "]);
    for (const rcpt of rcpts) await talk(client, [`RCPT TO:<${rcpt}>`, "250 "]);
  };
  server.say("554 5.7.1 too many for you");
  await begin("b@example.com", "c@example.com");
  await talk(client, ["DATA", /^554 5\.7\.1 too many for you$/], ["RSET", "250 "]);
  const [many] = server.asked;
  assert.deepEqual(
    ["protocol_state", "recipient", "recipient_count"].map((name) => many?.get(name)),
    ["DATA", "", "2"],
  );
  await begin("b@example.com");
  await talk(client, ["BDAT 3 LAST\r\nx", /^554 5\.7\.1 too many for you$/], ["RSET", "250 "]);
  assert.equal(server.asked[1]?.get("recipient"), "b@example.com");
  assert.equal(place.backend.taken.length, 0);
  server.say("OK");
  await begin("b@example.com");
  await talk(client, ["BDAT 3\r\nx", "250 "], ["BDAT 3 LAST\r\ny", "250 "]);
  await begin("b@example.com");
  await talk(client, ["DATA", "354 "], ["x\r\n.", "250 "]);
  assert.equal(server.asked.length, 4, "once for each message");
  assert.equal(place.backend.taken.length, 2);
  await talk(client, ["DATA", "503 "]);
  assert.equal(server.asked.length, 4, "and for none where there is no message");
});

test("without an answer mail comes later, or goes on, as configured", async () => {
  const away = await startPolicyServer();
  const { server } = away;
  await away[Symbol.asyncDispose]();
  await using strict = await open(server);
  await using client = await strict.door.signedIn(USER, "right");
  await talk(client, ["MAIL FROM:<alice@example.org>", "250 "], ["RCPT TO:<b@example.com>", "451 4.4.1 "]);
  await strict.door.gateway.metricIs("postern_hook_total", 1, { hook: "pf", answer: "connect" });
  await using other = await strict.door.fromServer();
  for (let times = 0; times < 5; times += 1)
    await talk(
      other,
      ["MAIL FROM:<a@example.com>", "250 "],
      ["RCPT TO:<b@example.net>", "451 4.4.1 "],
      ["RSET", "250 "],
    );
  await strict.door.gateway.metricIs("postern_hook_resting", 1, { hook: "pf" });
  const lines = strict.door.gateway.log().filter(({ msg }) => msg === "a hook does not answer");
  assert.equal(lines.length, 1);

  await using lenient = await open(server, { onFailure: "allow" });
  await using second = await lenient.door.signedIn(USER, "right");
  await talk(second, ["MAIL FROM:<alice@example.org>", "250 "], ["RCPT TO:<b@example.com>", "250 "]);
});

test("a real postgrey lets nobody's first try pass, and the second", async () => {
  await using postgrey = await startPostgrey();
  await using place = await open(postgrey.server);
  const { door } = place;
  await using client = await door.fromServer();
  await talk(
    client,
    ["MAIL FROM:<a@example.com>", "250 "],
    ["RCPT TO:<b@example.net>", /^450 4\.2\.0 Greylisted/],
    ["RSET", "250 "],
  );
  await eventually("postgrey to let it pass", async () => {
    await talk(client, ["MAIL FROM:<a@example.com>", "250 "]);
    await client.send("RCPT TO:<b@example.net>");
    const heard = (await client.expectUntil(/^\d{3} /)).at(-1) ?? "";
    if (!heard.startsWith("250 ")) await talk(client, ["RSET", "250 "]);
    return heard.startsWith("250 ");
  });
  await talk(client, ["DATA", "354 "], ["x\r\n.", "250 "]);
  assert.equal(place.backend.taken.length, 1);
  // It would have a header put before the message, and says so once.
  const told = door.gateway.log().filter(({ action }) => action === "PREPEND");
  assert.equal(told.length, 1);

  await using user = await door.signedIn(USER, "right");
  await talk(user, ["MAIL FROM:<alice@example.org>", "250 "], ["RCPT TO:<b@example.com>", /^450 4\.2\.0 /]);
});
