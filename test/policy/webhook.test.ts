import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { EVENT_KINDS, newEvent, type PolicyEvent } from "../../src/policy/events/event.ts";
import { EventQueue } from "../../src/policy/events/event-queue.ts";
import { Webhook, type WebhookOptions } from "../../src/policy/events/webhook.ts";
import { certificateAuthority } from "../support/certificates.ts";
import { freePort } from "../support/ports.ts";
import { runProcess } from "../support/processes.ts";
import { eventually } from "../support/waiting.ts";
import { Clock } from "./engine-kit.ts";
import { startReceiver } from "./webhook-kit.ts";

const SECRET = "a secret of the test";
const PAUSES = { first: 10, longest: 40 };

const ban = (ip: string): PolicyEvent =>
  newEvent("mail.example.org", `ip=${ip}`, {
    ...{ kind: "ban", by: "guesses", seconds: 900, times: 1 },
    until: new Date().toISOString(),
  });

function open(url: string, more: Partial<WebhookOptions> = {}, pauses = PAUSES) {
  const said: string[] = [];
  const dropped: [string, number][] = [];
  const webhook = new Webhook(
    { url, secret: SECRET, timeoutMs: 200, kinds: EVENT_KINDS, ...more },
    {
      failing: (reason) => said.push(`failing: ${reason}`),
      well: () => said.push("well"),
      asked: (outcome) => said.push(outcome),
      dropped: (reason, events) => dropped.push([reason, events]),
    },
    pauses,
  );
  const changes = () => said.filter((one) => one === "well" || one.startsWith("failing"));
  return { webhook, said, changes, dropped };
}

test("by TLS it believes the authorities that it was given, and without them not this one", async () => {
  const authority = await certificateAuthority();
  await using receiver = await startReceiver(undefined, 0, await authority.issue(["127.0.0.1"]));
  const { webhook: careful, changes } = open(receiver.url);
  careful.tell(ban("192.0.2.1"));
  await eventually("a failure", () => changes().length > 0);
  assert.match(String(changes()[0]), /certificate/);
  assert.equal(receiver.received.length, 0);
  const { webhook } = open(receiver.url, { ca: authority.ca });
  await using _webhook = webhook;
  await careful.handOver(webhook);
  await eventually("the event", () => receiver.events().length > 0);
});

test("an answer without end is not waited for, and asks for nothing again", async () => {
  await using receiver = await startReceiver((response) => response.end("x".repeat(100_000)));
  const { webhook, changes, said } = open(receiver.url);
  await using _webhook = webhook;
  webhook.tell(ban("192.0.2.1"));
  await eventually("the end", () => webhook.waiting === 0);
  assert.deepEqual([receiver.received.length, said.at(-1)], [1, "refused"]);
  assert.match(String(changes()[0]), /tooLarge: the answer is longer/);
});

test("events are posted in their order, those of one moment together", async () => {
  await using receiver = await startReceiver();
  const { webhook, said } = open(receiver.url);
  await using _webhook = webhook;
  const events = ["192.0.2.1", "192.0.2.2", "2001:db8:0:0:0:0:0:0/64"].map(ban);
  for (const event of events) webhook.tell(event);
  await eventually("all of them", () => webhook.waiting === 0);
  assert.deepEqual(receiver.events(), events);
  const [request] = receiver.received;
  assert.equal(receiver.received.length, 1);
  assert.equal(request?.path, "/hook?token=t0ken");
  assert.equal(request?.headers["content-type"], "application/json");
  assert.deepEqual(said, ["ok"]);
});

test("the signature is what openssl and node:crypto make of time, body and secret", async () => {
  await using receiver = await startReceiver();
  const { webhook } = open(receiver.url);
  await using _webhook = webhook;
  webhook.tell(ban("192.0.2.1"));
  await eventually("the event", () => receiver.received.length > 0);
  const { headers, body } = receiver.received[0] as (typeof receiver.received)[number];
  const stamp = String(headers["postern-timestamp"]);
  assert.ok(Math.abs(Date.now() / 1000 - Number(stamp)) < 60);
  const own = createHmac("sha256", SECRET).update(`${stamp}.`).update(body).digest("hex");
  assert.equal(headers["postern-signature"], `sha256=${own}`);
  const text = `printf %s "$1" | openssl dgst -sha256 -hmac "$2" -r`;
  const { stdout } = await runProcess("sh", ["-c", text, "sh", `${stamp}.${body}`, SECRET]);
  assert.equal(headers["postern-signature"], `sha256=${stdout.split(" ")[0]}`);
  assert.ok(!JSON.stringify(receiver.received).includes(SECRET));
});

test("the program in the documentation knows what is genuine", async () => {
  await using receiver = await startReceiver();
  const { webhook } = open(receiver.url);
  await using _webhook = webhook;
  webhook.tell(newEvent("mail.example.org", "user=b\u00f6b", { kind: "unban", by: "operator" }));
  await eventually("the event", () => receiver.received.length > 0);
  const page = await readFile(new URL("../../docs/events.md", import.meta.url), "utf8");
  const [, program = ""] = /```python\n(.*?)```/s.exec(page) ?? [];
  const ask =
    "import json, sys\nr = json.loads(sys.argv[1])\nprint([genuine(s, r['headers'], b.encode()) for s, b in";
  const whole = `${program}${ask} ((sys.argv[2].encode(), r['body']), (b'another', r['body']), (sys.argv[2].encode(), r['body'] + ' '))])`;
  const request = JSON.stringify(receiver.received[0]);
  const { stdout, stderr } = await runProcess("python3", ["-c", whole, request, SECRET]);
  assert.equal(stdout, "[True, False, False]\n", stderr);
});

for (const [what, status] of [
  ["an internal fault", 500],
  ["being busy", 503],
  ["too many requests", 429],
] as const)
  test(`${what} is tried again with the same events, and said once`, async () => {
    await using receiver = await startReceiver((response, times) => {
      response.statusCode = times < 4 ? status : 204;
      response.end();
    });
    const { webhook, changes, said } = open(receiver.url);
    await using _webhook = webhook;
    const event = ban("192.0.2.1");
    webhook.tell(event);
    await eventually("the event", () => webhook.waiting === 0);
    assert.deepEqual(receiver.events(), [event, event, event, event]);
    assert.deepEqual(changes(), [`failing: it answers ${status}`, "well"]);
    assert.deepEqual(said.filter((one) => one === "failed").length, 3);
  });

test("one that is down is told when it is there again", async () => {
  const port = await freePort();
  const { webhook, changes } = open(`http://127.0.0.1:${port}/`);
  await using _webhook = webhook;
  const events = [ban("192.0.2.1"), ban("192.0.2.2")];
  webhook.tell(events[0] as PolicyEvent);
  await eventually("a try", () => changes().length > 0);
  webhook.tell(events[1] as PolicyEvent);
  await using receiver = await startReceiver(undefined, port);
  await eventually("the events", () => webhook.waiting === 0);
  assert.deepEqual(receiver.events(), events);
  assert.match(String(changes()[0]), /^failing: connect: .*ECONNREFUSED/);
  assert.equal(changes()[1], "well");
});

test("one that never answers costs its time and nobody else's, and is tried again", async () => {
  await using receiver = await startReceiver((response, times) => {
    if (times > 1) response.end();
  });
  const { webhook, changes } = open(receiver.url);
  await using _webhook = webhook;
  const began = performance.now();
  webhook.tell(ban("192.0.2.1"));
  assert.ok(performance.now() - began < 50);
  await eventually("the event", () => webhook.waiting === 0);
  assert.deepEqual(changes(), ["failing: timeout: no answer in 200 ms", "well"]);
});

test("a redirect is not followed, and no other no is tried again", async () => {
  await using elsewhere = await startReceiver();
  await using receiver = await startReceiver((response, times) => {
    response.writeHead(times === 1 ? 307 : 403, { location: elsewhere.url }).end();
  });
  const { webhook, changes, said, dropped } = open(receiver.url);
  await using _webhook = webhook;
  webhook.tell(ban("192.0.2.1"));
  await eventually("the first no", () => webhook.waiting === 0);
  webhook.tell(ban("192.0.2.2"));
  await eventually("the second no", () => said.filter((one) => one === "refused").length === 2);
  assert.equal(elsewhere.received.length, 0);
  assert.deepEqual(changes(), ["failing: it answers 307, and redirects are not followed"], "and said once");
  assert.deepEqual(dropped, [
    ["refused", 1],
    ["refused", 1],
  ]);
});

test("of more events than may wait the oldest are dropped, and counted", async () => {
  await using receiver = await startReceiver((response, times) => {
    if (times > 1) response.end();
  });
  const { webhook, dropped } = open(receiver.url);
  await using _webhook = webhook;
  for (let at = 0; at < 1_500; at += 1) webhook.tell(ban(`10.0.${at >> 8}.${at & 255}`));
  assert.equal(webhook.waiting, 1_000);
  await eventually("the rest", () => webhook.waiting === 0);
  assert.equal(
    dropped.reduce((sum, [, events]) => sum + events, 0),
    500,
  );
  const last = receiver.events().at(-1);
  assert.equal(last?.whom.ip, "10.0.5.219");
  for (const { body } of receiver.received) assert.ok(JSON.parse(body).events.length <= 100);
});

test("what has waited for an hour is dropped, and counted", () => {
  const clock = new Clock();
  const dropped: [string, number][] = [];
  const queue = new EventQueue((...one) => dropped.push(one), clock.read);
  for (const ip of ["192.0.2.1", "192.0.2.2"]) queue.add(ban(ip));
  clock.pass(3_599_000);
  queue.add(ban("192.0.2.3"));
  assert.equal(queue.first(9).length, 3);
  clock.pass(2_000);
  assert.deepEqual(
    queue.first(9).map(({ event }) => event.whom.ip),
    ["192.0.2.3"],
  );
  assert.deepEqual(dropped, [["old", 2]]);
});

test("it gets the kinds that are asked for", async () => {
  await using receiver = await startReceiver();
  const { webhook } = open(receiver.url, { kinds: ["unban"] });
  await using _webhook = webhook;
  webhook.tell(ban("192.0.2.1"));
  webhook.tell(newEvent("mail.example.org", "ip=192.0.2.1", { kind: "unban", by: "operator" }));
  await eventually("the event", () => receiver.events().length > 0);
  assert.deepEqual(
    receiver.events().map(({ kind }) => kind),
    ["unban"],
  );
});

test("at a stop what waits is delivered, without waiting for the next try", async () => {
  await using receiver = await startReceiver((response, times) => {
    response.statusCode = times === 1 ? 500 : 200;
    response.end();
  });
  const { webhook, said, dropped } = open(receiver.url, {}, { first: 60_000, longest: 60_000 });
  webhook.tell(ban("192.0.2.1"));
  await eventually("the first try", () => said.includes("failed"));
  webhook.tell(ban("192.0.2.2"));
  await webhook[Symbol.asyncDispose]();
  assert.deepEqual(
    receiver.events().map(({ whom }) => whom.ip),
    ["192.0.2.1", "192.0.2.1", "192.0.2.2"],
  );
  assert.deepEqual(dropped, []);
});

test("a stop waits two seconds for one that does not answer, and no longer", async () => {
  await using receiver = await startReceiver(() => {});
  const { webhook, dropped } = open(receiver.url, { timeoutMs: 10_000 });
  webhook.tell(ban("192.0.2.1"));
  await eventually("the request", () => receiver.received.length > 0);
  const began = performance.now();
  await webhook[Symbol.asyncDispose]();
  const took = performance.now() - began;
  assert.ok(took > 1_500 && took < 3_500, `${took} ms`);
  assert.deepEqual(dropped, [["stopped", 1]]);
});

test("what one has not delivered goes to the one that takes its place", async () => {
  await using receiver = await startReceiver();
  const { webhook: former, changes } = open(`http://127.0.0.1:${await freePort()}/`);
  const event = ban("192.0.2.1");
  former.tell(event);
  await eventually("a try", () => changes().length > 0);
  const { webhook } = open(receiver.url);
  await using _webhook = webhook;
  await former.handOver(webhook);
  await eventually("the event", () => receiver.events().length > 0);
  assert.deepEqual(receiver.events(), [event]);
});
