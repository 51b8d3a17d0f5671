import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { certificateAuthority } from "../support/certificates.ts";
import type { Conversation } from "../support/conversation.ts";
import { BACKEND_NAME } from "../support/door.ts";
import { startDovecot } from "../support/dovecot.ts";
import { Ambush, Killer } from "../support/killer.ts";
import { type Fate, Ledger } from "../support/ledger.ts";
import { type Postfix, startPostfix, withoutPostfix } from "../support/postfix.ts";
import { openSmtpDoor, plain, type SmtpDoor } from "../support/smtp-door.ts";
import { temporaryFolder } from "../support/temp.ts";

/** So many in `npm test`; POSTERN_LEDGER=10000 proves more, and takes longer. */
const MESSAGES = Number(process.env["POSTERN_LEDGER"] ?? 400);
const SENDERS = 20;
const KILLS = Math.max(5, Math.floor(MESSAGES / 200));
/** Of so many messages one is left by its sender in its middle, and one behind its end. */
const LEFT_ONE_OF = 25;
const HERE = "north.example";
const USER = "alice@example.org";
const PASSWORD = "right-one";

interface Place extends AsyncDisposable {
  readonly door: SmtpDoor;
  readonly postfix: Postfix;
  readonly listener: string;
  /** Up to where the next thing said needs the backend. */
  connect(): Promise<Conversation>;
  /** Says who we are, where that is asked; whether it was taken. */
  signIn(client: Conversation): Promise<boolean>;
}

/** Mail from other servers: the first recipient leads to the backend. */
async function openMx(): Promise<Place> {
  await using stack = new AsyncDisposableStack();
  const postfix = stack.use(await startPostfix({ domains: [HERE], tls: "none", hold: true }));
  const door = stack.use(
    await openSmtpDoor({
      authority: await certificateAuthority(),
      backends: { postfix },
      speaks: ["smtp"],
      domains: { postfix: HERE },
      config: { policy: { limits: [] } },
    }),
  );
  const kept = stack.move();
  return {
    postfix,
    door,
    listener: "mx",
    connect: () => door.fromServer(),
    signIn: async () => true,
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** Submission by implicit TLS to a backend with STARTTLS: the login leads there. */
async function openSubmission(): Promise<Place> {
  await using stack = new AsyncDisposableStack();
  const authority = await certificateAuthority();
  const auth = stack.use(await temporaryFolder()).at("auth");
  const settings = `service auth {\n  unix_listener ${auth} {\n    mode = 0666\n  }\n}`;
  stack.use(await startDovecot({ tls: "none", users: { [USER]: PASSWORD }, settings }));
  const certificate = await authority.issue([BACKEND_NAME]);
  const postfix = stack.use(
    await startPostfix({ domains: [HERE], tls: "starttls", certificate, auth, hold: true }),
  );
  const door = stack.use(
    await openSmtpDoor({
      authority,
      users: { [USER]: PASSWORD },
      backends: { postfix },
      config: { policy: { limits: [] } },
    }),
  );
  const kept = stack.move();
  return {
    postfix,
    door,
    listener: "submissions",
    connect: () => door.greetedInTls(),
    async signIn(client) {
      await client.send(`AUTH PLAIN ${plain(USER, PASSWORD)}`);
      return (await client.expect(/^(235|454 4\.7\.0) /)).startsWith("235");
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

interface Round {
  readonly place: Place;
  readonly ledger: Ledger;
  readonly killer: Killer;
  readonly ambush: Ambush;
}

/** One sender's sessions, one after the other, until nothing is left to send. */
async function send(round: Round): Promise<void> {
  const { place, ledger, killer, ambush } = round;
  while (ledger.left > 0) {
    // A sender that was turned away comes back when there is hope.
    await killer.up();
    await using client = await place.connect();
    await ambush.meet("entrance");
    if (!(await place.signIn(client))) continue;
    for (let fate: Fate = "acked"; fate === "acked"; ) {
      const id = ledger.begin();
      if (!id) return;
      fate = await sendOne(client, id, round);
      ledger.settle(id, fate);
      if (fate === "acked") ambush.answered();
    }
  }
}

/** Every command is answered: a session that ends without a word fails the test. */
async function sendOne(client: Conversation, id: string, { killer, ambush }: Round): Promise<Fate> {
  const left = Number(id.slice(1)) % LEFT_ONE_OF;
  await client.sendRaw(`MAIL FROM:<${USER}>\r\nRCPT TO:<${id}@${HERE}>\r\nDATA\r\n`);
  for (const good of ["250 ", "250 ", "354 "]) {
    if (!(await client.expect(/^(250|354|421|451) /)).startsWith(good)) return "refused";
  }
  const killsBefore = killer.kills;
  const line = "one of many lines of text\r\n";
  await client.sendRaw(`From: <${USER}>\r\nSubject: ${id}\r\n\r\n${line.repeat(20)}`);
  await ambush.meet("content");
  if (left === 8) {
    client.vanish();
    return "cut";
  }
  await client.sendRaw(`${line.repeat(20)}end of ${id}\r\n`);
  await ambush.meet("end");
  // A backend that died before the end was sent cannot have it.
  const doomed = killer.kills > killsBefore;
  await client.sendRaw(".\r\n");
  if (left === 16) {
    // TLS sends nothing of what was said in the turn in which its client vanishes.
    await turn();
    client.vanish();
    return "unknown";
  }
  const answer = await client.expect(/^(250|421|451) /);
  return answer.startsWith("250 ") ? "acked" : doomed ? "refused" : "unknown";
}

/** The ids of the messages that the backend has; each of them is whole. */
async function stored(postfix: Postfix): Promise<string[]> {
  return (await postfix.held()).map((file) => {
    const text = file.toString("latin1");
    const id = /\bfor <(m\d+)@/.exec(text)?.[1];
    assert.ok(id, "a message without an id");
    assert.ok(text.includes(`Subject: ${id}`) && text.includes(`end of ${id}`), `${id} is not whole`);
    return id;
  });
}

/** RFC 5321 4.2.5, 6.1: whoever says 250 answers for the message, and nobody else may. */
async function prove(place: Place, t: TestContext): Promise<void> {
  const { postfix, door, listener } = place;
  const ledger = new Ledger(MESSAGES);
  const killer = new Killer(postfix);
  const ambush = new Ambush(killer, {
    kills: KILLS,
    crowd: SENDERS / 2,
    due: (kills) => ledger.acked >= ((kills + 1) * MESSAGES) / (2 * KILLS),
  });
  await Promise.all(Array.from({ length: SENDERS }, () => send({ place, ledger, killer, ambush })));
  await door.gateway.metricIs("postern_sessions_open", 0);

  const ids = await stored(postfix);
  const copies = ids.length - ledger.acked;
  t.diagnostic(`${ledger}; ${killer.kills} kills, ${copies} of the unknown stored`);
  assert.deepEqual(ledger.wrongs(ids), []);
  assert.equal(killer.kills, KILLS);
  assert.ok(ledger.count("refused") > KILLS && ledger.count("cut") > 0, "no fault was ever felt");
  const inDoubt = KILLS * SENDERS + Math.ceil((MESSAGES + ledger.count("refused")) / LEFT_ONE_OF) + SENDERS;
  assert.ok(ledger.count("unknown") <= inDoubt, "a kill leaves in doubt only what was under way");
  const accepted = await door.gateway.metric("postern_messages_total", { listener, outcome: "accepted" });
  assert.ok(accepted >= ledger.acked && accepted <= ids.length, `accepted by the metrics: ${accepted}`);
}

test(`of ${MESSAGES} messages from other servers none is lost or doubled while their backend is killed again and again`, {
  skip: withoutPostfix,
}, async (t) => {
  await using place = await openMx();
  await prove(place, t);
});

test(`of ${MESSAGES} messages that users submit none is lost or doubled while their backend is killed again and again`, {
  skip: withoutPostfix,
}, async (t) => {
  await using place = await openSubmission();
  await prove(place, t);
});
