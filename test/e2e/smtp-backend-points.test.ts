import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import type { Conversation } from "../support/conversation.ts";
import { BACKEND_NAME } from "../support/door.ts";
import { type Fate, Ledger } from "../support/ledger.ts";
import { type Act, type Point, type ScriptedSmtp, startScriptedSmtp } from "../support/scripted-smtp.ts";
import { openSmtpDoor, plain, type SmtpDoor } from "../support/smtp-door.ts";
import { eventually } from "../support/waiting.ts";

/** So often at each point in `npm test`; POSTERN_FAULTS=100 takes longer. */
const TIMES = Number(process.env["POSTERN_FAULTS"] ?? 6);
const AT_ONCE = 3;
const USER = "alice@example.org";
const PASSWORD = "s3cret-right";
const HERE = "example.net";

/** Where the client is when the backend's death is told to it. */
type Told = "entrance" | "envelope" | "content" | "next command";

interface Death {
  readonly at: Point;
  /** Said before it dies. */
  readonly say?: string;
  readonly told: Told;
  /** Whether the backend keeps the message. */
  readonly kept: boolean;
}

const DEATHS: Readonly<Record<string, Death>> = {
  accept: { at: "greeting", told: "entrance", kept: false },
  banner: { at: "greeting", say: "220 backend.exam", told: "entrance", kept: false },
  EHLO: { at: "ehlo", told: "entrance", kept: false },
  STARTTLS: { at: "starttls", told: "entrance", kept: false },
  handshake: { at: "handshake", told: "entrance", kept: false },
  AUTH: { at: "auth", told: "entrance", kept: false },
  MAIL: { at: "mail", told: "envelope", kept: false },
  RCPT: { at: "rcpt", told: "envelope", kept: false },
  "after 354": { at: "data", say: "354 go ahead\r\n", told: "content", kept: false },
  "mid-body": { at: "body", told: "content", kept: false },
  "after the dot": { at: "end", told: "content", kept: false },
  "after the dot, with the message kept": { at: "taken", told: "content", kept: true },
  "after 250": { at: "answered", told: "next command", kept: true },
};

/**
 * A killed process that has read everything closes, and resets what it has not read. A reset may overtake words, so
 * that it comes only where none are.
 */
function actOf({ at, say }: Death, times: number): Act {
  if (say !== undefined) return { say, next: "close" };
  return at === "answered" || times % 2 === 0 ? "close" : "reset";
}

/** A session as far as it goes: what is known of its message, where it learned that, and the reply that said so. */
interface Outcome {
  readonly fate: Fate;
  readonly told: Told;
  readonly reply: string;
}

async function say(client: Conversation, words: string): Promise<string> {
  await client.sendRaw(`${words}\r\n`);
  return (await client.expectUntil(/^\d{3} /)).at(-1) ?? "";
}

/** `user`: signs in; else it is another server, for which RCPT is the first that the backend must answer. */
async function sendOne(client: Conversation, id: string, user: boolean): Promise<Outcome> {
  const login = [["entrance", `AUTH PLAIN ${plain(USER, PASSWORD)}`, "235 "]] as const;
  const steps = [
    ...(user ? login : []),
    ["envelope", `MAIL FROM:<${USER}>`, "250 "],
    ["envelope", `RCPT TO:<${id}@${HERE}>`, "250 "],
    ["envelope", "DATA", "354 "],
  ] as const;
  for (const [told, words, good] of steps) {
    const reply = await say(client, words);
    if (!reply.startsWith(good)) return { fate: "refused", told, reply };
  }
  await client.sendRaw("Subject: x\r\n\r\nhalf a message\r\n");
  const reply = await say(client, "and the other half\r\n.");
  if (!reply.startsWith("250 ")) return { fate: "unknown", told: "content", reply };
  return { fate: "acked", told: "next command", reply: await say(client, "NOOP") };
}

/** The catalogue's matrix: an outage, said in the words that are due there, and never an acknowledgement. */
function judge(death: Death, outcome: Outcome, user: boolean): void {
  const told = death.told === "entrance" && !user ? "envelope" : death.told;
  assert.equal(outcome.told, told, outcome.reply);
  if (told === "entrance") assert.match(outcome.reply, /^454 4\.7\.0 /);
  else if (told === "content") assert.match(outcome.reply, /^451 4\.4\.1 /);
  // A command that was under way already is not done; one that comes later ends the session.
  else assert.match(outcome.reply, /^(451|421) 4\.4\.1 /);
}

function storedIds(backend: ScriptedSmtp): string[] {
  return backend.taken.map(({ rcpts }) => /<(m\d+)@/.exec(rcpts[0] ?? "")?.[1] ?? "a stranger");
}

for (const user of [true, false]) {
  test(`a backend that dies at any point costs at most the message under way, of ${user ? "a user" : "another server"}`, async (t) => {
    const authority = await certificateAuthority();
    let death: Death | undefined;
    let deaths = 0;
    const die = (at: Point) => (): Act | undefined => {
      if (death?.at !== at) return undefined;
      deaths += 1;
      return actOf(death, deaths);
    };
    const points = new Set(Object.values(DEATHS).map(({ at }) => at));
    await using backend = await startScriptedSmtp({
      auth: user,
      tls: "starttls",
      certificate: await authority.issue([BACKEND_NAME]),
      acts: Object.fromEntries([...points].map((at) => [at, die(at)])),
    });
    await using door = await openSmtpDoor({
      authority,
      users: { [USER]: PASSWORD },
      backends: { backend },
      domains: { backend: HERE },
      config: { policy: { limits: [] } },
    });
    const visit = async (ledger: Ledger): Promise<Outcome> => {
      await using client = await (user ? door.greetedInTls() : door.fromServer());
      const id = ledger.begin() ?? "";
      const outcome = await sendOne(client, id, user);
      ledger.settle(id, outcome.fate);
      return outcome;
    };
    await visit(new Ledger(1));
    const before = await quiet(door, backend);
    for (const [name, each] of Object.entries(DEATHS)) {
      if (each.at === "auth" && !user) continue;
      await t.test(`${name}, ${TIMES} times`, async () => {
        backend.forget();
        const ledger = new Ledger(2 * TIMES + 2);
        death = each;
        deaths = 0;
        for (let done = 0; done < TIMES; done += AT_ONCE) {
          const outcomes = await Promise.all(Array.from({ length: AT_ONCE }, () => visit(ledger)));
          for (const outcome of outcomes) judge(each, outcome, user);
        }
        assert.ok(deaths >= TIMES);
        death = undefined;
        // Nobody is the worse for it.
        const { fate, reply } = await visit(ledger);
        assert.deepEqual([fate, reply.slice(0, 4)], ["acked", "250 "]);
        assert.deepEqual(ledger.wrongs(storedIds(backend)), []);
        assert.equal(backend.taken.length, each.kept ? deaths + 1 : 1);
        await quiet(door, backend, before);
      });
    }
  });
}

/** Waits until no session is open any more, and no more sockets than `atMost`; gives how many the gateway holds. */
async function quiet(
  door: SmtpDoor,
  backend: ScriptedSmtp,
  atMost = Number.POSITIVE_INFINITY,
): Promise<number> {
  await door.gateway.metricIs("postern_sessions_open", 0);
  await eventually("the backend to be alone", () => backend.open === 0);
  return eventually(`at most ${atMost} sockets`, async () => {
    const sockets = (await door.gateway.descriptors()).filter((target) => target.startsWith("socket:"));
    return sockets.length <= atMost ? sockets.length : undefined;
  });
}
