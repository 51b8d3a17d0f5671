import assert from "node:assert/strict";
import { test } from "node:test";
import type { Limit } from "../../../src/policy/engine.ts";
import { advise } from "../../../src/policy/postfix/adviser.ts";
import { CountedMail } from "../../../src/policy/postfix/counted.ts";
import { readQuestion } from "../../../src/policy/postfix/question.ts";
import { type Engine, engine, facts, said } from "../engine-kit.ts";

const HOUR = 3_600_000;
const never = new AbortController().signal;

/** A Postfix that asks. */
function postfix(limits: Parameters<typeof engine>[0], options: Parameters<typeof engine>[1] = {}) {
  const postern = engine(limits, options);
  const counted = new CountedMail();
  const ask = (state: string, more: Record<string, string> = {}) => {
    const asked = { client_address: "192.0.2.1", sasl_username: "alice", protocol_state: state, ...more };
    const question = readQuestion(new Map(Object.entries(asked)), "postfix");
    assert.ok(question);
    return said(advise(postern.policy, counted, question, never));
  };
  return { ...postern, ask };
}

type Postfix = ReturnType<typeof postfix>;

const limit = (count: Limit["count"], points: number, more: Partial<Limit> = {}) =>
  ({ name: count, count, per: ["user"], limit: { points, windowMs: HOUR }, ...more }) as const;

async function taken({ policy }: Pick<Engine, "policy">, name: string, user = "alice"): Promise<number> {
  const { limits } = await policy.explain({ user });
  return limits.find((one) => one.limit === name)?.taken ?? -1;
}

async function names(server: Postfix, instance: string, ...recipients: string[]): Promise<string[]> {
  const answers: string[] = [];
  for (const recipient of recipients) answers.push(await server.ask("RCPT", { instance, recipient }));
  return answers;
}

test("each recipient counts for its user, who names them by Postern or by Postfix", async () => {
  const server = postfix([limit("recipients", 3)]);
  await server.policy.recipient(facts({ user: "Alice", protocol: "submission" }));
  assert.deepEqual(await names(server, "one", "a", "b", "c"), ["yes", "yes", "tooFast"]);
  assert.equal(await said(server.policy.recipient(facts({ user: "alice" }))), "tooFast");
});

test("a recipient that is asked for twice counts once, unless the message is another one", async () => {
  const server = postfix([limit("recipients", 10)]);
  await names(server, "one", "a", "a", "b", "a");
  assert.equal(await taken(server, "recipients"), 2);
  await names(server, "two", "a");
  assert.equal(await taken(server, "recipients"), 3);
});

test("one that was refused is asked for again", async () => {
  const server = postfix([limit("recipients", 1)]);
  assert.deepEqual(await names(server, "one", "a", "b", "b"), ["yes", "tooFast", "tooFast"]);
  server.clock.pass(HOUR + 1);
  assert.deepEqual(await names(server, "one", "b"), ["yes"]);
});

test("a message counts once, at whichever of DATA and its end is asked first", async () => {
  const server = postfix([limit("messages", 2), limit("bytesIn", 100)]);
  assert.equal(await server.ask("DATA", { instance: "one", size: "99" }), "yes");
  assert.equal(await taken(server, "bytesIn"), 0);
  assert.equal(await server.ask("END-OF-MESSAGE", { instance: "one", size: "70" }), "yes");
  assert.equal(await server.ask("END-OF-MESSAGE", { instance: "one", size: "70" }), "yes");
  assert.deepEqual([await taken(server, "messages"), await taken(server, "bytesIn")], [1, 70]);
  assert.equal(await server.ask("END-OF-MESSAGE", { instance: "two", size: "70" }), "yes");
  assert.equal(await server.ask("END-OF-MESSAGE", { instance: "three", size: "1" }), "tooFast");
  assert.deepEqual([await taken(server, "messages"), await taken(server, "bytesIn")], [2, 140]);
});

test("recipients that were not asked for count with their message, all of them or none", async () => {
  const server = postfix([limit("recipients", 5)]);
  const asks = (instance: string, recipient_count: string) =>
    server.ask("DATA", { instance, recipient_count });
  assert.equal(await asks("one", "3"), "yes");
  assert.equal(await server.ask("END-OF-MESSAGE", { instance: "one", recipient_count: "3" }), "yes");
  assert.equal(await taken(server, "recipients"), 3);
  assert.equal(await asks("two", "3"), "tooFast");
  assert.equal(await taken(server, "recipients"), 3);
  assert.equal(await asks("three", "2"), "yes");
});

test("recipients that came one by one are not counted again, however many Postfix says there are", async () => {
  const server = postfix([limit("recipients", 5)]);
  await names(server, "one", "a", "a");
  assert.equal(await server.ask("DATA", { instance: "one", recipient_count: "2" }), "yes");
  assert.equal(await taken(server, "recipients"), 1);
});

test("a ban holds at every moment, also where no limit counts", async () => {
  const server = postfix([]);
  await server.policy.ban("ip=192.0.2.1", HOUR);
  for (const state of [
    "CONNECT",
    "EHLO",
    "HELO",
    "MAIL",
    "RCPT",
    "DATA",
    "END-OF-MESSAGE",
    "VRFY",
    "ETRN",
    "",
  ])
    assert.equal(await server.ask(state, { recipient: "a" }), "banned", state);
  assert.equal(await server.ask("CONNECT", { client_address: "192.0.2.2" }), "yes");
});

test("a mapped address is the one that it is, and one IPv6 client its network", async () => {
  const server = postfix([]);
  await server.policy.ban("ip=192.0.2.1", HOUR);
  await server.policy.ban("ip=2001:db8::1", HOUR);
  assert.equal(await server.ask("CONNECT", { client_address: "::ffff:192.0.2.1" }), "banned");
  assert.equal(await server.ask("CONNECT", { client_address: "2001:db8::ffff:1" }), "banned");
  assert.equal(await server.ask("CONNECT", { client_address: "2001:db8:0:1::1" }), "yes");
});

test("whoever is exempt is neither counted nor banned", async () => {
  const server = postfix([limit("recipients", 1)], { exempt: ["192.0.2.0/24"] });
  await server.policy.ban("ip=192.0.2.1", HOUR);
  assert.deepEqual(await names(server, "one", "a", "b", "c"), ["yes", "yes", "yes"]);
  assert.equal(await taken(server, "recipients"), 0);
});

test("without a user it is the network that counts, where a limit counts networks", async () => {
  const server = postfix([
    limit("recipients", 1),
    { ...limit("recipients", 2, { per: ["ip"] }), name: "net" },
  ]);
  const stranger = (recipient: string) =>
    server.ask("RCPT", { sasl_username: "", instance: "one", recipient });
  assert.deepEqual(
    [await stranger("a"), await stranger("b"), await stranger("c")],
    ["yes", "yes", "tooFast"],
  );
});

test("limits match by the protocol and the listener that stand for Postfix", async () => {
  const server = postfix([
    { ...limit("recipients", 0, { match: { listener: ["submission-587"] } }), name: "other" },
    { ...limit("recipients", 0, { match: { protocol: ["smtp"] } }), name: "servers" },
    {
      ...limit("recipients", 1, { match: { listener: ["postfix"], protocol: ["submission"] } }),
      name: "ours",
    },
  ]);
  assert.deepEqual(await names(server, "one", "a", "b"), ["yes", "tooFast"]);
});

test("observe counts and refuses nothing", async () => {
  const server = postfix([limit("recipients", 1, { mode: "observe" })]);
  assert.deepEqual(await names(server, "one", "a", "b"), ["yes", "yes"]);
  assert.deepEqual(server.wouldRefuse, ["recipients user=alice"]);
});

test("a limit that bans does so by Postfix's questions too", async () => {
  const server = postfix([limit("recipients", 1, { then: { ban: HOUR } })]);
  await names(server, "one", "a", "b");
  assert.equal(await server.ask("MAIL"), "banned");
  assert.equal(server.bans.length, 1);
});

test("a tarpit ends with whoever waits in it", async () => {
  const server = postfix([limit("recipients", 0, { then: { delay: HOUR } })]);
  const gone = new AbortController();
  const question = readQuestion(
    new Map(
      Object.entries({
        client_address: "192.0.2.1",
        sasl_username: "alice",
        protocol_state: "RCPT",
        recipient: "a",
      }),
    ),
    "postfix",
  );
  assert.ok(question);
  const asked = advise(server.policy, new CountedMail(), question, gone.signal);
  gone.abort();
  await asked;
  assert.equal(await taken(server, "recipients"), 1);
});
