import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { Killer } from "../support/killer.ts";
import { Ledger } from "../support/ledger.ts";
import { type Postfix, startPostfix, withoutPostfix } from "../support/postfix.ts";
import { runProcess, startProcess } from "../support/processes.ts";
import { openSmtpDoor } from "../support/smtp-door.ts";
import { within } from "../support/waiting.ts";

/** So many at least in `npm test`; POSTERN_LEDGER=10000 proves more, and takes longer. */
const MESSAGES = Number(process.env["POSTERN_LEDGER"] ?? 300);
const RUNS_AT_ONCE = 12;
const MESSAGES_A_RUN = 10;
const KILLS = Math.max(4, Math.floor(MESSAGES / 200));
const HERE = "north.example";

/**
 * smtp-source keeps no account of its messages, and gives up at the first no. With -v it writes down what it says and
 * hears, though, and of one session (-s 1) that tells what the sender knows of each message, by the number that -N
 * puts before the address. So there are many short runs, each with an address of its own.
 */
function keep(ledger: Ledger, dialogue: string): void {
  let id: string | undefined;
  let ended = false;
  let heard = "";
  for (const [, line = ""] of dialogue.matchAll(/^smtp-source: (.*)$/gm)) {
    const recipient = /^RCPT TO:<(\d+x\d+)@/.exec(line)?.[1];
    if (recipient) {
      id = recipient;
      ended = false;
      ledger.beginAs(id);
    }
    if (line === ".") ended = true;
    if (line.startsWith("<<< ")) heard = line.slice(4);
    if (!id || !ended || !line.startsWith("<<< 250 ")) continue;
    ledger.settle(id, "acked");
    id = undefined;
  }
  // An end that it did not write down it has not sent.
  if (id) ledger.settle(id, ended ? "unknown" : /^[45]/.test(heard) ? "refused" : "cut");
}

/** One run; gives its dialogue. With `atThird` that is called when the end of its third message has been sent. */
async function runSource(port: number, run: number, atThird: (() => void) | undefined): Promise<string> {
  const session = run % 2 === 0 ? ["-d"] : [];
  const envelope = ["-f", "a@far.example", "-N", "-t", `x${run}@${HERE}`];
  const load = ["-v", "-s", "1", "-m", `${MESSAGES_A_RUN}`, "-l", "3000"];
  const args = [...session, ...envelope, ...load, `127.0.0.1:${port}`];
  if (!atThird) return (await runProcess("smtp-source", args)).stderr;
  await using source = await startProcess("smtp-source", args);
  await source.waitFor(/(?:: \.\n[\s\S]*?){3}/);
  atThird();
  await within(30_000, "the end of smtp-source", source.exited);
  return source.output();
}

/** The ids of the messages that the backend has. */
async function stored(postfix: Postfix): Promise<string[]> {
  return (await postfix.held()).map((file) => {
    const id = /\bfor <(\d+x\d+)@/.exec(file.toString("latin1"))?.[1];
    assert.ok(id, "a message without an id");
    return id;
  });
}

test(`of ${MESSAGES} messages of smtp-source none is lost or doubled while their backend is killed again and again`, {
  skip: withoutPostfix,
}, async (t) => {
  await using postfix = await startPostfix({ domains: [HERE], tls: "none", hold: true });
  await using door = await openSmtpDoor({
    authority: await certificateAuthority(),
    backends: { postfix },
    speaks: ["smtp"],
    domains: { postfix: HERE },
    config: { policy: { limits: [] } },
  });
  const ledger = new Ledger(MESSAGES);
  const killer = new Killer(postfix);
  let runs = 0;
  let broken = 0;
  let killers = 0;
  const runAgainAndAgain = async () => {
    while (ledger.left > 0 || killer.kills < KILLS) {
      await killer.up();
      const due = killers === killer.kills && ledger.acked >= (killers * MESSAGES) / (2 * KILLS);
      const kills = due && killers < KILLS;
      if (kills) killers += 1;
      const dialogue = await runSource(door.ports.mx, runs++, kills ? () => killer.kill() : undefined);
      if (dialogue.includes("fatal: ")) broken += 1;
      keep(ledger, dialogue);
    }
  };
  await Promise.all(Array.from({ length: RUNS_AT_ONCE }, runAgainAndAgain));
  await door.gateway.metricIs("postern_sessions_open", 0);

  const ids = await stored(postfix);
  const copies = ids.length - ledger.acked;
  t.diagnostic(
    `${ledger}; ${killer.kills} kills, ${broken} of ${runs} runs felt one, ${copies} of the unknown stored`,
  );
  assert.deepEqual(ledger.wrongs(ids), []);
  assert.equal(killer.kills, KILLS);
  assert.ok(broken >= KILLS, "every kill is felt");
  assert.equal(ledger.count("cut"), 0, "a session that ended without a word");
  assert.ok(
    ledger.count("unknown") <= KILLS * RUNS_AT_ONCE,
    "a kill leaves in doubt only what was under way",
  );
});
