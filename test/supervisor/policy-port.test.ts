import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Server } from "node:net";
import { type TestContext, test } from "node:test";
import { pino } from "pino";
import type { Config, ServeConfig } from "../../src/config/schema.ts";
import type { Places } from "../../src/policy/geo/places.ts";
import { MemoryStore } from "../../src/policy/store/memory.ts";
import type { CounterStore } from "../../src/policy/store/store.ts";
import { Refused } from "../../src/refusal.ts";
import { PolicyPort } from "../../src/supervisor/policy-port.ts";
import { connectPolicy, type PolicyClient } from "../support/policy-client.ts";
import { eventually } from "../support/waiting.ts";

const SERVE: ServeConfig = { host: "127.0.0.1", port: 0, mode: "0660", name: "postfix" };
const LIMIT = {
  name: "recipients",
  count: "recipients",
  per: ["ip"],
  limit: { points: 1, windowMs: 3_600_000 },
  match: {},
  then: "refuse",
} as const;
const ASKED = "request=smtpd_access_policy\nprotocol_state=RCPT\nclient_address=192.0.2.1\nrecipient=";

function configWith(serve: ServeConfig | undefined, limit: object = LIMIT): Config {
  return {
    policy: { limits: [limit], mode: "enforce", exempt: [], ipv6Prefix: 64, serve },
  } as unknown as Config;
}

/** A port with what it counted and logged. */
async function openPort(
  t: TestContext,
  serve = SERVE,
  store: CounterStore = new MemoryStore(),
  { limit = LIMIT as object, places = async (): Promise<Places | undefined> => undefined } = {},
) {
  const lines: string[] = [];
  const answers: string[] = [];
  const log = pino({ base: null }, { write: (line: string) => void lines.push(line) });
  const observer = { wouldRefuse() {}, delayed() {}, banned() {} };
  const policyRequests = { inc: ({ answer }: { answer: string }) => void answers.push(answer) };
  const port = await PolicyPort.open(configWith(serve, limit), {
    store,
    observer,
    log,
    metrics: { policyRequests } as never,
    places,
  });
  const server = createServer({ pauseOnConnect: true }, (socket) => port.take(socket));
  await once(server.listen(0, "127.0.0.1"), "listening");
  t.after(() => {
    port.leave();
    server.close();
  });
  return { port, lines, answers, client: () => client(server) };
}

function client(server: Server): Promise<PolicyClient> {
  return connectPolicy(server.address() as { port: number });
}

async function asks(client: PolicyClient, recipient: string, action: RegExp): Promise<void> {
  await client.sendRaw(`${ASKED}${recipient}\n\n`);
  assert.match(await client.answer(), action);
}

test("a connection is asked again and again", async (t) => {
  const { client, answers, lines } = await openPort(t);
  await using postfix = await client();
  await asks(postfix, "a", /^DUNNO$/);
  await asks(postfix, "b", /^DEFER_IF_PERMIT 4\.7\.1 /);
  await asks(postfix, "c", /^DEFER_IF_PERMIT 4\.7\.1 /);
  assert.deepEqual(answers, ["dunno", "deferred", "deferred"]);
  assert.match(
    lines[0] ?? "",
    /"reason":"limit recipients: 1 of 1 in 1h for ip=192\.0\.2\.1","msg":"refused at Postfix"/,
  );
});

test("requests at once are answered in their order", async (t) => {
  const { client } = await openPort(t);
  await using postfix = await client();
  await postfix.sendRaw(`${ASKED}a\n\n${ASKED}b\n\n`);
  assert.equal(await postfix.answer(), "DUNNO");
  assert.match(await postfix.answer(), /^DEFER/);
});

test("who is cut byte by byte is understood", async (t) => {
  const { client } = await openPort(t);
  await using postfix = await client();
  for (const byte of `${ASKED}a\n\n`) await postfix.sendRaw(byte);
  assert.equal(await postfix.answer(), "DUNNO");
});

for (const [what, bytes] of [
  ["no attribute", "\n"],
  ["no name", "hello\n\n"],
  ["NUL", "a=\0\n\n"],
  ["a line without end", "a".repeat(10_000)],
  ["attributes without end", "a=b\n".repeat(300)],
  ["HTTP", "POST / HTTP/1.1\r\n\r\n"],
] as const)
  test(`${what} ends its own connection and no other`, async (t) => {
    const { client, answers } = await openPort(t);
    await using other = await client();
    await using hostile = await client();
    await hostile.sendRaw(bytes);
    assert.equal(await hostile.answer(), "closed");
    await asks(other, "a", /^DUNNO$/);
    assert.deepEqual(answers, ["failed", "dunno"]);
  });

test("a client without an address is nobody's business, and told of once", async (t) => {
  const { client, lines } = await openPort(t);
  await using postfix = await client();
  for (let times = 0; times < 3; times++) {
    await postfix.sendRaw("protocol_state=RCPT\nclient_address=unknown\n\n");
    assert.equal(await postfix.answer(), "DUNNO");
  }
  assert.equal(lines.length, 1);
  assert.match(lines[0] ?? "", /"address":"unknown"/);
});

test("who may not ask hears nothing", async (t) => {
  const { client, lines } = await openPort(t, { ...SERVE, networks: ["192.0.2.0/24"] });
  await using stranger = await client();
  assert.equal(await stranger.answer(), "closed");
  assert.match(lines[0] ?? "", /"reason":"it may not ask"/);
});

test("where the store refuses, Postfix is told to try later; where something breaks, nothing", async (t) => {
  const store = new MemoryStore();
  let trouble: Error = new Refused("unavailable", "the policy's store does not answer");
  store.take = () => Promise.reject(trouble);
  const { client, answers } = await openPort(t, SERVE, store);
  await using postfix = await client();
  await asks(postfix, "a", /^DEFER_IF_PERMIT 4\.3\.0 /);
  trouble = new Error("broken");
  await postfix.sendRaw(`${ASKED}a\n\n`);
  assert.equal(await postfix.answer(), "closed");
  assert.deepEqual(answers, ["deferred", "failed"]);
});

test("who leaves gives the answer that is owed, and closes what is idle", async (t) => {
  const store = new MemoryStore();
  const asked = Promise.withResolvers<void>();
  const goOn = Promise.withResolvers<void>();
  const take = store.take.bind(store);
  store.take = async (question) => {
    asked.resolve();
    await goOn.promise;
    return take(question);
  };
  const { port, client } = await openPort(t, SERVE, store);
  await using idle = await client();
  await using busy = await client();
  await busy.sendRaw(`${ASKED}a\n\n${ASKED}b\n\n`);
  await asked.promise;
  port.leave();
  assert.equal(await idle.answer(), "closed");
  goOn.resolve();
  assert.deepEqual([await busy.answer(), await busy.answer()], ["DUNNO", "closed"]);
});

test("another configuration holds from the next question on, and its counts go on", async (t) => {
  const { port, client } = await openPort(t);
  await using postfix = await client();
  await asks(postfix, "a", /^DUNNO$/);
  await port.change(configWith(SERVE));
  await asks(postfix, "b", /^DEFER/);
  assert.deepEqual(
    [...port.answers()],
    [
      { limit: "recipients", answer: "allowed", times: 1 },
      { limit: "recipients", answer: "refused", times: 1 },
    ],
  );
  await port.change(configWith({ ...SERVE, name: "mx" }));
  assert.equal(await postfix.answer(), "closed");
});

test("a limit for a country holds at Postfix too, and for good where it is of none at all", async (t) => {
  const places = {
    kinds: ["country"] as const,
    edition: 0,
    find: (ip: string) => ({ country: ip === "192.0.2.1" ? "XX" : "DE" }),
  };
  const limit = { ...LIMIT, limit: { points: 0 }, match: { notCountry: ["DE"] } };
  const { client, answers } = await openPort(t, SERVE, new MemoryStore(), {
    limit,
    places: async () => places,
  });
  await using postfix = await client();
  await asks(postfix, "a", /^REJECT 5\.7\.1 Not allowed from here$/);
  await postfix.sendRaw(`${ASKED.replace("192.0.2.1", "192.0.2.2")}a\n\n`);
  assert.equal(await postfix.answer(), "DUNNO");
  assert.deepEqual(answers, ["refused", "dunno"]);
});

test("a connection beyond as many as may be is closed, and there is room when others have gone", async (t) => {
  const { client, port } = await openPort(t);
  await using all = new AsyncDisposableStack();
  for (let n = 0; n < 1_000; n++) all.use(await client());
  await using late = await client();
  assert.equal(await late.answer(), "closed");
  port.leave();
  await eventually("room", async () => {
    await using next = await client();
    await next.sendRaw(`${ASKED}a\n\n`);
    return (await next.answer()) === "DUNNO";
  });
});
