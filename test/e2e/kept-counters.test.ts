import assert from "node:assert/strict";
import { stat } from "node:fs/promises";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import { childrenOf, gone, isAlive } from "../support/process-tree.ts";
import { startScriptedSmtp } from "../support/scripted-smtp.ts";
import { openSmtpDoor, plain, type SmtpDoor, talk } from "../support/smtp-door.ts";
import { type TemporaryFolder, temporaryFolder } from "../support/temp.ts";
import { eventually, within } from "../support/waiting.ts";

const USER = "alice@example.org";
const PASSWORD = "right";
const HOME = { localAddress: "127.0.0.66" };
const ATTACKER = { localAddress: "127.0.0.77" };
const LIMITS = [
  { name: "messages", count: "messages", per: "user", limit: "4/1d" },
  { name: "guesses", count: "authFailures", per: "ip", limit: "10/10m" },
  { name: "attacked", count: "authFailures", per: "user", limit: "3/1h" },
  { name: "open", count: "sessions", per: "user", limit: 2 },
];

interface Place extends AsyncDisposable {
  readonly data: TemporaryFolder;
  start(): Promise<SmtpDoor>;
  /** Ends with all of it, before what was there earlier. */
  defer(end: () => Promise<void>): void;
}

/** Gateways one after the other, with one folder. */
async function place(workers: number): Promise<Place> {
  const ends = new AsyncDisposableStack();
  const data = ends.use(await temporaryFolder());
  const authority = await certificateAuthority();
  const backend = ends.use(await startScriptedSmtp({ auth: true }));
  const config = { workers, dataDir: data.path, policy: { exempt: [], limits: LIMITS } };
  return {
    data,
    start: async () =>
      ends.use(await openSmtpDoor({ authority, users: { [USER]: PASSWORD }, backends: { backend }, config })),
    defer: (end) => ends.defer(end),
    [Symbol.asyncDispose]: () => ends.disposeAsync(),
  };
}

/** Tries yesterday's password, from home. */
async function forgottenPhone(door: SmtpDoor): Promise<void> {
  await using phone = await door.greetedInTls(HOME);
  await talk(phone, [`AUTH PLAIN ${plain(USER, "yesterday's")}`, "535 5.7.8"]);
}

/** Sends three messages from home, while somebody elsewhere guesses until the name is shut to strangers. */
async function live(door: SmtpDoor): Promise<void> {
  await using client = await door.signedIn(USER, PASSWORD, HOME);
  for (let n = 0; n < 3; n += 1) await talk(client, [`MAIL FROM:<${USER}>`, "250 "], ["RSET", "250 "]);
  await forgottenPhone(door);
  await using attacker = await door.greetedInTls(ATTACKER);
  for (let n = 0; n < 3; n += 1)
    await talk(attacker, [`AUTH PLAIN ${plain(USER, `wrong${n}`)}`, "535 5.7.8"]);
}

/** All of it is as it was: one more message, the right password from home only, and no old seat. */
async function goesOn(door: SmtpDoor): Promise<void> {
  await using stranger = await door.greetedInTls(ATTACKER);
  await talk(stranger, [`AUTH PLAIN ${plain(USER, PASSWORD)}`, "454 4.7.0"]);
  await using client = await door.signedIn(USER, PASSWORD, HOME);
  // Counted once, before the restart.
  await forgottenPhone(door);
  const { body } = await door.gateway.admin(`/api/v1/explain?user=${USER}&ip=${HOME.localAddress}`);
  const told = JSON.parse(body) as { knownNetwork: boolean; limits: { limit: string; taken: number }[] };
  assert.equal(told.knownNetwork, true);
  assert.deepEqual(
    told.limits.map(({ limit, taken }) => [limit, taken]),
    [
      ["messages", 3],
      ["guesses", 1],
      ["attacked", 3],
      ["open", 1],
    ],
  );
  await talk(client, [`MAIL FROM:<${USER}>`, "250 "], ["RSET", "250 "], [`MAIL FROM:<${USER}>`, "4"]);
}

for (const workers of [0, 2]) {
  test(`with ${workers} workers a restart forgets no counter and no known network`, async () => {
    await using here = await place(workers);
    const { data, start } = here;
    const before = await start();
    await live(before);
    assert.equal(await before.gateway.stop(), 0);
    assert.equal((await stat(data.at("counters.bin"))).mode & 0o777, 0o600);
    const after = await start();
    await goesOn(after);
    assert.equal(await after.gateway.stop(), 0);
    await data.write("counters.bin", "broken");
    const { gateway } = await start();
    const told = gateway.log().filter(({ msg }) => msg === "the file of counters is broken, and ignored");
    assert.equal(told.length, 1);
  });

  test(`with ${workers} workers an upgrade takes counters and known networks along`, async () => {
    await using here = await place(workers);
    const door = await here.start();
    const { gateway } = door;
    await live(door);
    const url = `http://127.0.0.1:${gateway.adminPort}/api/v1/upgrade`;
    const answer = await within(40_000, "an answer", fetch(url, { method: "POST" }));
    const text = await answer.text();
    assert.equal(answer.status, 200, text);
    const heir = Number(/process (\d+) serves now/.exec(text)?.[1]);
    here.defer(async () => {
      if (await isAlive(heir)) process.kill(heir, "SIGTERM");
      await gone(heir);
    });
    await gone(gateway.pid);
    await goesOn(door);
  });
}

test("a gateway that is killed forgets half a minute at most", async () => {
  await using here = await place(2);
  const { data, start } = here;
  const before = await start();
  await live(before);
  const later = { timeoutMs: 45_000 };
  await eventually("the counters", () => stat(data.at("counters.bin")).catch(() => undefined), later);
  const workers = await childrenOf(before.gateway.pid, "worker");
  before.gateway.signal("SIGKILL");
  await gone(before.gateway.pid, ...workers);
  await goesOn(await start());
});
