import assert from "node:assert/strict";
import { test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { certificateAuthority } from "../support/certificates.ts";
import type { Conversation } from "../support/conversation.ts";
import { BACKEND_NAME, type Door, openDoor } from "../support/door.ts";
import { type Dovecot, startDovecot } from "../support/dovecot.ts";
import { eventually } from "../support/waiting.ts";

const LOGINS = 1_000;
const AT_ONCE = 20;
const PASSWORD = "secret";
const USERS = Object.fromEntries(Array.from({ length: 10 }, (_, n) => [`user${n}@example.org`, PASSWORD]));

const ENDINGS: readonly ((client: Conversation) => Promise<void>)[] = [
  async (client) => {
    await client.send("z LOGOUT");
    await client.expectUntil("z OK ");
    await client.expectClosed();
  },
  async (client) => client.vanish(),
  async (client) => client.end(),
];

/** The n-th login: every way in, every way out, and every seventh with a wrong password first. */
async function visit(door: Door, n: number): Promise<void> {
  const user = `user${n % 10}@example.org`;
  await using client = n % 2 === 0 ? await door.greetedInTls() : await door.secured();
  if (n % 7 === 0) {
    await client.send(`w LOGIN ${user} wrong`);
    await client.expect("w NO [AUTHENTICATIONFAILED] ");
  }
  await client.send(`a LOGIN ${user} ${PASSWORD}`);
  await client.expectUntil("a OK ");
  await ENDINGS[n % ENDINGS.length]?.(client);
}

async function visits(door: Door, count: number): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      while (next < count) await visit(door, next++);
    }),
  );
}

/** What the gateway holds, by its own count and the kernel's. */
async function holdings(door: Door) {
  const sockets = (await door.gateway.descriptors()).filter((target) => target.startsWith("socket:")).length;
  return {
    sessions: await door.gateway.metric("postern_sessions_open"),
    leases: await door.gateway.metric("postern_leases"),
    sockets,
    descriptors: (await door.gateway.descriptors()).length,
    timers: await door.gateway.metric("nodejs_active_resources", { type: "Timeout" }),
  };
}

type Holdings = Awaited<ReturnType<typeof holdings>>;

/** Everybody has gone, and nothing has changed for a while: the kernel and the backends may be a moment behind. */
async function settled(door: Door, backends: readonly Dovecot[]): Promise<Holdings> {
  await eventually("every session at the backends to end", async () => {
    const open = await Promise.all(backends.map((backend) => backend.sessions()));
    return open.flat().length === 0;
  });
  let last: Holdings | undefined;
  let unchanged = 0;
  return eventually(
    () => `the gateway to let go; it holds ${JSON.stringify(last)}`,
    async () => {
      const now = await holdings(door);
      unchanged = isDeepStrictEqual(now, last) ? unchanged + 1 : 0;
      last = now;
      return unchanged >= 10 && now.sessions === 0 && now.leases === 0 ? now : undefined;
    },
    { everyMs: 50 },
  );
}

test("a thousand logins leave no socket, timer or lease behind", async () => {
  const authority = await certificateAuthority();
  const certificate = await authority.issue([BACKEND_NAME]);
  await using plain = await startDovecot({ name: "plain", tls: "none", users: USERS });
  await using secure = await startDovecot({ name: "secure", tls: "implicit", certificate, users: USERS });
  await using door = await openDoor({
    authority,
    backends: { plain, secure },
    users: USERS,
    config: {
      routes: [
        { match: { user: ["user1@example.org", "user2@example.org", "user3@example.org"] }, to: "secure" },
        { to: "plain" },
      ],
      policy: {
        exempt: [],
        limits: [
          { name: "open", count: "sessions", per: "user", limit: 100 },
          { name: "at-once", count: "connections", per: "ip", limit: 100 },
        ],
      },
    },
  });
  // What is made once, by the first sessions, is no leak.
  await visits(door, 50);
  const before = await settled(door, [plain, secure]);
  const first = await door.gateway.metric("postern_logins_total", { outcome: "ok" });
  assert.equal(first, 50);

  await visits(door, LOGINS);
  assert.equal(await door.gateway.metric("postern_logins_total", { outcome: "ok" }), 50 + LOGINS);
  const after = await settled(door, [plain, secure]);
  for (const [what, count] of Object.entries(after)) {
    assert.ok(
      count <= before[what as keyof Holdings],
      `${what}: ${count}, and ${before[what as keyof Holdings]} before`,
    );
  }
  assert.equal(plain.logins().length + secure.logins().length, 50 + LOGINS);
  assert.equal(door.gateway.accounts().length, 50 + LOGINS);
});
