import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { type Conversation, connect } from "../support/conversation.ts";
import { startDovecot } from "../support/dovecot.ts";
import { type Gateway, startGateway } from "../support/gateway.ts";
import { message } from "../support/mail.ts";
import { freePort } from "../support/ports.ts";
import { says } from "../support/postern.ts";
import { type Postfix, startPostfix, withoutPostfix } from "../support/postfix.ts";
import { gone, isAlive } from "../support/process-tree.ts";
import { startScriptedSmtp } from "../support/scripted-smtp.ts";
import { openSmtpDoor, plain, type SmtpDoor, talk } from "../support/smtp-door.ts";
import { type TemporaryFolder, temporaryFolder } from "../support/temp.ts";
import { eventually, within } from "../support/waiting.ts";

const HERE = "here.example";
const ALICE = "alice@example.org";
const LIMITS = [
  { name: "recipients", count: "recipients", per: "user", limit: "4/1h" },
  { name: "messages", count: "messages", per: "user", limit: "100/1h" },
  { name: "bytes", count: "bytesIn", per: "user", limit: "1GiB/1d" },
  {
    name: "strangers",
    count: "recipients",
    per: "ip",
    limit: "3/1h",
    match: { protocol: "smtp", listener: "relay" },
  },
];

/** Where Postern listens, and how Postfix calls it. */
interface Place {
  readonly serve: Readonly<Record<string, unknown>>;
  readonly service: string;
}

const PLACES: Readonly<Record<string, (folder: TemporaryFolder) => Promise<Place>>> = {
  async inet() {
    const port = await freePort();
    return { serve: { port, name: "relay" }, service: `inet:127.0.0.1:${port}` };
  },
  async unix(folder) {
    const socket = folder.at("policy");
    return { serve: { socket, group: "postfix", name: "relay" }, service: `unix:${socket}` };
  },
};

/** A submission server whose own doors Postern does not guard, and that asks it. */
async function askingPostfix(
  stack: AsyncDisposableStack,
  { service }: Place,
  settings = "",
): Promise<Postfix> {
  const folder = stack.use(await temporaryFolder());
  const auth = folder.at("auth");
  stack.use(
    await startDovecot({
      tls: "none",
      users: { [ALICE]: "right" },
      settings: `service auth {\n  unix_listener ${auth} {\n    mode = 0666\n  }\n}`,
    }),
  );
  const asks = `check_policy_service ${service}`;
  const restrictions = `
smtpd_delay_reject = no
smtpd_client_restrictions = ${asks}
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_recipient_restrictions = ${asks}, permit_sasl_authenticated, reject_unauth_destination
smtpd_end_of_data_restrictions = ${asks}
${settings}`;
  return stack.use(await startPostfix({ domains: [HERE], tls: "none", auth, settings: restrictions }));
}

async function atPostfix(postfix: Postfix, localAddress: string): Promise<Conversation> {
  const client = await connect({ port: postfix.port, localAddress, name: "Postfix" });
  await talkFirst(client);
  return client;
}

async function talkFirst(client: Conversation): Promise<void> {
  await client.expect("220 ");
  await talk(client, ["EHLO client.example", "250 "]);
}

const rcpt = (name: string) => `RCPT TO:<${name}@${HERE}>`;

async function sendAtPostfix(postfix: Postfix, localAddress: string, ...recipients: string[]): Promise<void> {
  await using client = await atPostfix(postfix, localAddress);
  await talk(
    client,
    ["MAIL FROM:<a@far.example>", "250 "],
    ...recipients.map((name) => [rcpt(name), "250 "] as const),
    ["DATA", "354 "],
    [`${message("hello", "hi\r\n")}.`, "250 "],
    ["QUIT", "221 "],
  );
}

/** Its configuration, with another name for Postfix. */
async function renamed(gateway: Gateway): Promise<string> {
  const text = await readFile(gateway.folder.at("postern.yaml"), "utf8");
  return text
    .replace('"name": "relay"', '"name": "other"')
    .replace('"listener": "relay"', '"listener": "submission-587"');
}

interface Standing {
  readonly limit: string;
  readonly taken: number;
}

async function taken(door: SmtpDoor): Promise<Readonly<Record<string, number>>> {
  const { body } = await door.gateway.admin(`/api/v1/explain?user=${ALICE}`);
  const { limits } = JSON.parse(body) as { limits: Standing[] };
  return Object.fromEntries(limits.map(({ limit, taken }) => [limit, taken]));
}

for (const workers of [0, 2])
  for (const [kind, placeIn] of Object.entries(PLACES))
    test(`with ${workers} workers a Postfix asks by ${kind}, and what passes there counts as what passes here`, {
      skip: withoutPostfix,
    }, async () => {
      await using stack = new AsyncDisposableStack();
      const place = await placeIn(stack.use(await temporaryFolder()));
      const backend = stack.use(await startScriptedSmtp({ auth: true }));
      const door = stack.use(
        await openSmtpDoor({
          authority: await certificateAuthority(),
          users: { [ALICE]: "right" },
          backends: { backend },
          config: { workers, policy: { exempt: [], limits: LIMITS, serve: place.serve } },
        }),
      );
      const postfix = await askingPostfix(stack, place);

      // Two recipients by Postern, two by Postfix: then there are none left, on either side.
      await using here = await door.signedIn(ALICE, "right");
      await talk(
        here,
        [`MAIL FROM:<${ALICE}>`, "250 "],
        [rcpt("a"), "250 "],
        [rcpt("b"), "250 "],
        ["DATA", "354 "],
        [`${message("one", "hi\r\n")}.`, "250 "],
      );
      await using there = await atPostfix(postfix, "127.0.0.66");
      await talk(
        there,
        [`AUTH PLAIN ${plain(ALICE, "right")}`, "235 "],
        [`MAIL FROM:<${ALICE}>`, "250 "],
        [rcpt("a"), "250 "],
        // Named twice, it is one.
        [rcpt("a"), "250 "],
        [rcpt("b"), "250 "],
        [rcpt("c"), /^450 4\.7\.1 .*Too much in too short a time/],
        ["DATA", "354 "],
        [`${message("two", "hi\r\n")}.`, "250 "],
        [`MAIL FROM:<${ALICE}>`, "250 "],
        [rcpt("a"), /^450 4\.7\.1 /],
      );
      await talk(here, [`MAIL FROM:<${ALICE}>`, "250 "], [rcpt("c"), "450 4.7.1 "]);
      const { recipients, messages, bytes = 0 } = await taken(door);
      assert.deepEqual({ recipients, messages }, { recipients: 4, messages: 3 });
      assert.ok(bytes > message("two", "hi\r\n").length);
      const told = door.gateway.log().find(({ msg }) => msg === "refused at Postfix");
      assert.match(String(told?.["reason"]), /^limit recipients: 4 of 4 in 1h for user=alice@example\.org/);
      assert.equal(told?.["listener"], "relay");

      // Mail of strangers counts by their network.
      await sendAtPostfix(postfix, "127.0.0.67", "x", "y", "z");
      await using fourth = await atPostfix(postfix, "127.0.0.67");
      await talk(fourth, ["MAIL FROM:<a@far.example>", "250 "], [rcpt("w"), /^450 4\.7\.1 /]);
      await sendAtPostfix(postfix, "127.0.0.68", "w");

      // A ban turns away before a greeting, and in the middle.
      await says(door.gateway, "ban --ip 127.0.0.68 --for 1h", /^ip=127\.0\.0\.68: banned/);
      await using banned = await connect({ port: postfix.port, localAddress: "127.0.0.68" });
      await banned.expect(/^421 4\.7\.0 .*Your network or account is blocked for now/);
      await says(door.gateway, "ban --ip 127.0.0.67 --for 1h", /^ip=127\.0\.0\.67: banned/);
      await talk(fourth, [rcpt("w"), /^421 4\.7\.0 /]);
      await fourth.expectClosed();
      await says(door.gateway, "unban --ip 127.0.0.68", /lifted/);
      await sendAtPostfix(postfix, "127.0.0.68", "w");
      assert.equal(await door.gateway.metric("postern_policy_requests_total", { answer: "banned" }), 2);
      assert.equal(await door.gateway.metric("postern_policy_requests_total", { answer: "failed" }), 0);
      assert.equal(
        await door.gateway.metric("postern_limit_total", { limit: "recipients", answer: "refused" }),
        3,
      );
      await postfix.keeps(HERE, 2 + 3 + 1 + 1);
    });

for (const [kind, placeIn] of Object.entries(PLACES))
  test(`a Postfix that asks by ${kind} goes on through a reload, an upgrade and a restart of Postern`, {
    skip: withoutPostfix,
  }, async () => {
    await using stack = new AsyncDisposableStack();
    const place = await placeIn(stack.use(await temporaryFolder()));
    const options = {
      users: { [ALICE]: "right" },
      config: {
        workers: 1,
        tls: { selfSigned: true },
        listeners: [
          { protocol: "submission", name: "submission-587", port: await freePort(), host: "127.0.0.1" },
        ],
        backends: { none: { host: "127.0.0.1", protocols: { submission: await freePort() }, tls: "none" } },
        routes: [{ to: "none" }],
        policy: { exempt: [], limits: LIMITS, serve: place.serve },
      },
    };
    const first = stack.use(await startGateway(options));
    const postfix = await askingPostfix(stack, place);
    await sendAtPostfix(postfix, "127.0.0.66", "a");

    await first.folder.write("postern.yaml", await renamed(first));
    first.signal("SIGHUP");
    await first.metricIs("postern_reloads_total", 1, { outcome: "ok" });
    // Under its new name no limit matches it any more.
    await sendAtPostfix(postfix, "127.0.0.66", "a", "b", "c", "d", "e");

    const url = `http://127.0.0.1:${first.adminPort}/api/v1/upgrade`;
    const answer = await within(40_000, "an upgrade", fetch(url, { method: "POST" }));
    const said = await answer.text();
    assert.equal(answer.status, 200, said);
    const heir = Number(/process (\d+) serves now/.exec(said)?.[1]);
    stack.defer(async () => {
      if (await isAlive(heir)) process.kill(heir, "SIGTERM");
      await gone(heir);
    });
    await gone(first.pid);
    await sendAtPostfix(postfix, "127.0.0.66", "a");
    process.kill(heir, "SIGTERM");
    await gone(heir);

    // Nobody is there: then it is as Postfix's administrator has chosen.
    await using alone = await connect({ port: postfix.port, localAddress: "127.0.0.66" });
    await alone.expect(/^451 4\.3\.5 /);

    stack.use(await startGateway(options));
    await sendAtPostfix(postfix, "127.0.0.66", "a", "b", "c");
    await eventually("all mail", async () => (await postfix.kept(HERE)).length === 10);
  });

test("a reload opens the place where Postfix asks, and closes it", { skip: withoutPostfix }, async () => {
  await using stack = new AsyncDisposableStack();
  const place = await (PLACES["inet"] as (typeof PLACES)[string])(stack.use(await temporaryFolder()));
  const door = stack.use(
    await openSmtpDoor({
      authority: await certificateAuthority(),
      users: { [ALICE]: "right" },
      backends: { backend: stack.use(await startScriptedSmtp({ auth: true })) },
      config: { policy: { exempt: [], limits: [] } },
    }),
  );
  const { gateway } = door;
  const postfix = await askingPostfix(
    stack,
    place,
    "smtpd_policy_service_default_action = 454 4.3.0 Nobody to ask",
  );
  const greeting = async (words: RegExp) => {
    await using client = await connect({ port: postfix.port, localAddress: "127.0.0.66" });
    await client.expect(words);
  };
  await greeting(/^454 4\.3\.0 .*Nobody to ask/);
  const without = JSON.parse(await readFile(gateway.folder.at("postern.yaml"), "utf8")) as Record<
    string,
    unknown
  >;
  const reload = async (policy: object, times: number) => {
    await gateway.folder.write("postern.yaml", JSON.stringify({ ...without, policy }));
    gateway.signal("SIGHUP");
    await gateway.metricIs("postern_reloads_total", times, { outcome: "ok" });
  };
  await reload({ exempt: [], limits: [], serve: place.serve }, 1);
  await greeting(/^220 /);
  await reload({ exempt: [], limits: [] }, 2);
  await greeting(/^454 /);
});
