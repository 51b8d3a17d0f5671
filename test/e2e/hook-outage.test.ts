import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { type AuthPolicyServer, startAuthPolicyServer } from "../support/auth-policy-server.ts";
import { certificateAuthority } from "../support/certificates.ts";
import { type Door, openDoor } from "../support/door.ts";
import { openPop3Door } from "../support/pop3-door.ts";
import { startScriptedBackend } from "../support/scripted-backend.ts";
import { startScriptedSmtp } from "../support/scripted-smtp.ts";
import { openSmtpDoor, plain } from "../support/smtp-door.ts";

const USER = "alice@example.org";
const LOGINS = 1_000;

const policy = (server: AuthPolicyServer, more: object = {}) => ({
  policy: {
    exempt: [],
    limits: [],
    hooks: [{ type: "authPolicy", name: "wf", url: server.url, nonce: "n", checkAfter: false, ...more }],
  },
});

/** How often each answer was heard, by its first words. */
async function thousand(door: Door): Promise<Readonly<Record<string, number>>> {
  const heard: Record<string, number> = {};
  const login = async (n: number): Promise<void> => {
    const from = { localAddress: `127.0.0.${2 + (n % 50)}`, timeoutMs: 30_000 };
    await using client = await door.greeted(from);
    await client.send(`a LOGIN ${USER} right`);
    const answer = (await client.expectUntil("a ")).at(-1)?.split(" ").slice(0, 3).join(" ") ?? "";
    const word = answer.startsWith("a OK") ? "OK" : answer;
    heard[word] = (heard[word] ?? 0) + 1;
  };
  await Promise.all(Array.from({ length: LOGINS }, (_, n) => login(n)));
  return heard;
}

async function open(server: AuthPolicyServer, onFailure: "allow" | "refuse") {
  const authority = await certificateAuthority();
  const backend = await startScriptedBackend({ tls: "none" });
  const door = await openDoor({
    authority,
    backends: { backend },
    users: { [USER]: "right" },
    listenerKeys: { requireTls: false },
    config: { ...policy(server, { onFailure }), timeouts: { login: "60s" } },
  });
  return {
    door,
    async [Symbol.asyncDispose]() {
      await door[Symbol.asyncDispose]();
      await backend[Symbol.asyncDispose]();
    },
  };
}

for (const [onFailure, otherwise] of [
  ["refuse", "a NO [UNAVAILABLE]"],
  ["allow", "OK"],
] as const) {
  test(`F22: a thousand logins at once while the hook fails, takes ten seconds, and is dead: ${onFailure}`, async () => {
    await using server = await startAuthPolicyServer();
    await using place = await open(server, onFailure);
    const { door } = place;
    let asked = 0;
    server.decide(() => {
      asked += 1;
      return asked % 100 === 0 ? (response) => response.writeHead(500).end() : 0;
    });
    const failing = await thousand(door);
    assert.equal(failing["a NO [AUTHENTICATIONFAILED]"], undefined);
    assert.equal((failing["OK"] ?? 0) + (failing[otherwise] ?? 0), otherwise === "OK" ? 2 * LOGINS : LOGINS);
    assert.ok((failing["OK"] ?? 0) >= LOGINS * 0.95, JSON.stringify(failing));

    server.say((response) => {
      const timer = setTimeout(() => response.end('{"status": -1}'), 10_000);
      response.on("close", () => clearTimeout(timer));
    });
    const slow = await thousand(door);
    assert.deepEqual(slow, { [otherwise]: LOGINS });
    assert.ok(
      server.mostWaiting <= 60,
      `${server.mostWaiting} at once, those that are being given up included`,
    );
    await door.gateway.metricIs("postern_hook_resting", 1, { hook: "wf" });
    await door.gateway.metricIs("postern_hook_pending", 0, { hook: "wf" });
    const lines = () => door.gateway.log().filter(({ msg }) => msg === "a hook does not answer").length;
    assert.equal(lines(), 1);

    await server[Symbol.asyncDispose]();
    assert.deepEqual(await thousand(door), { [otherwise]: LOGINS });
    assert.equal(lines(), 1, "and nobody is told again");
    assert.equal(
      await door.gateway.metric("postern_logins_total", { outcome: "badCredential" }).catch(() => 0),
      0,
    );
  });
}

test("in SMTP and POP3, an outage is temporary, a no is a wrong password, and APOP's hash is the name's", async () => {
  await using server = await startAuthPolicyServer(-1);
  const authority = await certificateAuthority();
  await using backend = await startScriptedSmtp({ auth: true });
  const users = { [USER]: "right" };
  const config = policy(server, { onFailure: "refuse" });
  await using smtp = await openSmtpDoor({ authority, users, backends: { backend }, config });
  await using pop3 = await openPop3Door({ authority, users, backends: { backend }, config });
  const auth = async (): Promise<string> => {
    await using client = await smtp.greetedInTls();
    await client.send(`AUTH PLAIN ${plain(USER, "right")}`);
    return await client.expect(/^\d{3} /);
  };
  const pass = async (): Promise<string> => {
    await using client = await pop3.greetedInTls();
    await client.send(`USER ${USER}`);
    await client.expect("+OK");
    await client.send("PASS right");
    return await client.expect("-ERR");
  };
  assert.match(await auth(), /^535 5\.7\.8 /);
  assert.match(await pass(), /^-ERR \[AUTH\] /);
  const [bySmtp, byPop3] = server.heard("allow").map(({ body }) => body);
  assert.equal(bySmtp?.["protocol"], "smtp");
  assert.equal(byPop3?.["protocol"], "pop3");
  assert.equal(bySmtp?.["pwhash"], byPop3?.["pwhash"]);

  await using client = await pop3.greetedInTls();
  await client.send(`APOP ${USER} ${"0".repeat(32)}`);
  await client.expect("-ERR [AUTH] ");
  const digest = createHash("sha256").update(`n${USER}\0`).digest();
  const hash = (digest.readUInt16BE() >> 4).toString(16).padStart(4, "0");
  assert.equal(server.heard("allow").at(-1)?.body["pwhash"], hash);

  await server[Symbol.asyncDispose]();
  assert.match(await auth(), /^454 4\.7\.0 /);
  assert.match(await pass(), /^-ERR \[SYS\/TEMP\] /);
});
