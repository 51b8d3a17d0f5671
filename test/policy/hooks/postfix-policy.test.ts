import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { type TestContext, test } from "node:test";
import fc from "fast-check";
import type { HookPlace, MailFacts } from "../../../src/policy/hooks/hook.ts";
import { PostfixPolicyHook, type PostfixPolicyOptions } from "../../../src/policy/hooks/postfix-policy.ts";
import { type PolicyServer, startPolicyServer } from "../../support/policy-server.ts";
import { freePort } from "../../support/ports.ts";
import { temporaryFolder } from "../../support/temp.ts";
import { eventually } from "../../support/waiting.ts";
import { facts, said } from "../engine-kit.ts";
import { CALLER, hooked } from "./hooks-kit.ts";

const MAIL: MailFacts = {
  instance: "s1.1",
  sender: "a@example.com",
  recipient: "b@example.net",
  recipients: 0,
  size: 1_000,
};

function place(
  t: TestContext,
  server: Pick<PolicyServer, "port">,
  more: Partial<PostfixPolicyOptions> = {},
  guarded: Partial<HookPlace> = {},
  limits: Parameters<typeof hooked>[3] = [],
) {
  const options = {
    ...{ name: "pf", server: { host: "127.0.0.1", port: server.port }, timeoutMs: 500 },
    stages: ["rcpt" as const],
    ...more,
  };
  const at = { name: "pf", onFailure: "refuse" as const, ...guarded };
  const whole = hooked(t, (witness) => new PostfixPolicyHook(options, witness), at, limits);
  const ask = (mail: Partial<MailFacts> = {}, caller = {}) =>
    said(
      whole.policy.recipient(facts({ protocol: "smtp", listener: "mx" }), () => ({
        caller: { ...CALLER, ...caller },
        mail: { ...MAIL, ...mail },
      })),
    );
  return { ...whole, ask };
}

test("a recipient is asked about in Postfix's words", async (t) => {
  await using server = await startPolicyServer();
  const { policy, ask } = place(t, server);
  assert.equal(await ask({}, { hello: { name: "mx.example.com", extended: true } }), "yes");
  assert.deepEqual(Object.fromEntries(server.asked[0] ?? []), {
    request: "smtpd_access_policy",
    protocol_state: "RCPT",
    protocol_name: "ESMTP",
    client_address: "192.0.2.1",
    client_name: "unknown",
    client_port: "40000",
    reverse_client_name: "unknown",
    server_address: "198.51.100.1",
    server_port: "993",
    helo_name: "mx.example.com",
    sender: "a@example.com",
    recipient: "b@example.net",
    recipient_count: "0",
    queue_id: "",
    instance: "s1.1",
    size: "1000",
    etrn_domain: "",
    stress: "",
    sasl_method: "",
    sasl_username: "",
    sasl_sender: "",
    ccert_subject: "",
    ccert_issuer: "",
    ccert_fingerprint: "",
    ccert_pubkey_fingerprint: "",
    encryption_protocol: "",
    encryption_cipher: "",
    encryption_keysize: "0",
    policy_context: "",
    tls_sni: "",
  });
  const tls = { version: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384", serverName: "mx.example.net" };
  const details = () => ({ caller: { ...CALLER, mechanism: "PLAIN", tls }, mail: MAIL });
  await policy.recipient(facts({ protocol: "submission", user: "alice" }), details);
  const signedIn = server.asked[1];
  assert.equal(signedIn?.get("sasl_username"), "alice");
  assert.equal(signedIn?.get("sasl_method"), "PLAIN");
  assert.equal(signedIn?.get("encryption_keysize"), "256");
  assert.equal(signedIn?.get("encryption_protocol"), "TLSv1.3");
  assert.equal(signedIn?.get("tls_sni"), "mx.example.net");
  assert.equal(policy.content(facts(), details), undefined, "and not where nobody asked for it");
});

test("no name of a client's adds an attribute, or ends a request", async (t) => {
  await using server = await startPolicyServer();
  const { ask } = place(t, server);
  await ask();
  const names = [...(server.asked[0]?.keys() ?? [])];
  const word = fc.string({ unit: "binary", maxLength: 100 });
  await fc.assert(
    fc.asyncProperty(word, word, word, async (sender, recipient, name) => {
      assert.equal(await ask({ sender, recipient }, { hello: { name, extended: false } }), "yes");
      assert.deepEqual([...(server.asked.at(-1)?.keys() ?? [])], names);
      assert.equal(server.asked.at(-1)?.get("request"), "smtpd_access_policy");
    }),
    { numRuns: 200 },
  );
});

test("a connection is kept, one question at a time on each, and no more of them than twenty", async (t) => {
  await using server = await startPolicyServer();
  const { ask } = place(t, server, { timeoutMs: 5_000 });
  for (let times = 0; times < 10; times += 1) assert.equal(await ask(), "yes");
  assert.equal(server.connections, 1);
  const heard = await Promise.all(Array.from({ length: 500 }, () => ask()));
  assert.ok(heard.every((one) => one === "yes"));
  assert.ok(server.connections <= 20, `${server.connections} connections`);
});

test("one that was closed over there while it was kept costs nobody anything", async (t) => {
  await using server = await startPolicyServer();
  const { ask, witness } = place(t, server);
  await Promise.all(Array.from({ length: 20 }, () => ask()));
  const before = server.connections;
  server.hangUp();
  // The news of the close may or may not be here when the next question goes out.
  assert.deepEqual(new Set(await Promise.all(Array.from({ length: 40 }, () => ask()))), new Set(["yes"]));
  assert.ok(server.connections > before);

  // One that closes instead of answering is asked once more, on a new connection, and not for ever.
  server.say((socket) => socket.destroy());
  const asked = server.asked.length;
  assert.equal(await ask(), "unavailable");
  assert.ok(server.asked.length - asked <= 2);
  assert.equal(witness.answers.get("broken"), 1);
});

/** Item 103, for this protocol. */
const FAULTS: Readonly<Record<string, readonly [(socket: Socket) => void, string]>> = {
  nothing: [() => {}, "timeout"],
  "a byte now and then": [
    (socket) => {
      const timer = setInterval(() => socket.write("a"), 20);
      socket.on("close", () => clearInterval(timer));
    },
    "timeout",
  ],
  "100 MB": [
    (socket) => {
      const write = (): void => {
        while (!socket.destroyed && socket.write(Buffer.alloc(65_536, "x")));
        socket.once("drain", write);
      };
      write();
    },
    "malformed",
  ],
  "no end": [(socket) => socket.end("action=DUNNO\n"), "broken"],
  "no action": [(socket) => socket.write("well=then\n\n"), "malformed"],
  "an action that is none": [(socket) => socket.write("action=permit_mynetworks\n\n"), "malformed"],
  "no attributes": [(socket) => socket.write("\n"), "malformed"],
  "no name": [(socket) => socket.write("DUNNO\n\n"), "malformed"],
  "a zero byte": [(socket) => socket.write("action=DUN\0NO\n\n"), "malformed"],
  "a close": [(socket) => socket.end(), "broken"],
  "a reset": [(socket) => socket.resetAndDestroy(), "broken"],
};

for (const [fault, [answer, kind]] of Object.entries(FAULTS)) {
  test(`item 103: ${fault} is no answer of a policy server, in time`, async (t) => {
    await using server = await startPolicyServer(answer);
    for (const onFailure of ["allow", "refuse"] as const) {
      const { ask, witness } = place(t, server, {}, { onFailure });
      const begun = performance.now();
      assert.equal(await ask(), onFailure === "allow" ? "yes" : "unavailable");
      assert.ok(performance.now() - begun < 2_000);
      assert.deepEqual([...witness.answers], [[kind, 1]]);
    }
  });
}

test("two answers to one question are one too many, and nobody is given another's", async (t) => {
  await using server = await startPolicyServer((socket) => {
    socket.write("action=DUNNO\n\naction=REJECT not meant for you\n\n");
  });
  const { ask } = place(t, server);
  for (let times = 0; times < 5; times += 1) assert.equal(await ask(), "yes");
  await eventually("no connection to be kept", () => server.open === 0);
});

test("an answer that comes too late is nobody's", async (t) => {
  const late: Socket[] = [];
  await using server = await startPolicyServer((socket) => late.push(socket));
  const { ask } = place(t, server, { timeoutMs: 100 });
  assert.equal(await ask(), "unavailable");
  for (const socket of late) socket.write("action=REJECT too late\n\n");
  server.say("DUNNO");
  assert.equal(await ask(), "yes");
});

test("a server that is dead or deaf is left alone, and pending questions are bounded", async (t) => {
  await using deaf = await startPolicyServer(() => {});
  const { ask, guard, witness, clock } = place(t, deaf, { timeoutMs: 200 });
  const begun = performance.now();
  const heard = await Promise.all(Array.from({ length: 1_500 }, () => ask()));
  assert.ok(heard.every((one) => one === "unavailable"));
  assert.ok(performance.now() - begun < 2_000);
  assert.equal(witness.answers.get("busy"), 500);
  assert.ok(deaf.mostOpen <= 20, `${deaf.mostOpen} connections`);
  assert.equal(guard.resting, true);
  assert.equal(witness.troubles.length, 1);
  deaf.say("DUNNO");
  clock.pass(10_000);
  assert.equal(await ask(), "yes");

  const { ask: askDead, witness: ofDead } = place(t, { port: await freePort() });
  assert.equal(await askDead(), "unavailable");
  assert.deepEqual([...ofDead.answers], [["connect", 1]]);
});

test("a no for good is a refused recipient, and one that asks for patience is none", async (t) => {
  await using server = await startPolicyServer("DEFER_IF_PERMIT greylisted");
  const limits = [
    {
      name: "strays",
      count: "refusedRecipients" as const,
      per: ["ip" as const],
      limit: { points: 2, windowMs: 60_000 },
    },
  ];
  const { policy, ask } = place(t, server, {}, {}, limits);
  const counted = async () => (await policy.explain(facts({ protocol: "smtp" }))).limits[0]?.taken;
  assert.equal(await ask(), "mailRefused");
  assert.equal(await counted(), 0);
  server.say("REJECT nobody here");
  assert.equal(await ask(), "mailRefused");
  assert.equal(await counted(), 1);
});

test("it can be asked by a socket of the unix kind", async (t) => {
  await using folder = await temporaryFolder();
  const path = folder.at("policy");
  await using server = await startPolicyServer("REJECT not here", path);
  const { ask } = place(t, server, { server: { path } });
  assert.equal(await ask(), "mailRefused");
});

test("what a gateway cannot do is told, and the mail goes on", async (t) => {
  await using server = await startPolicyServer("PREPEND X-Seen: yes");
  const { ask, witness } = place(t, server);
  assert.equal(await ask(), "yes");
  server.say("WARN strange mail");
  assert.equal(await ask(), "yes");
  assert.deepEqual(witness.notes, ["PREPEND", "strange mail"]);
});
