import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import type { Conversation } from "../support/conversation.ts";
import { type Fate, Ledger } from "../support/ledger.ts";
import { startPostfix, withoutPostfix } from "../support/postfix.ts";
import { openSmtpDoor, talk } from "../support/smtp-door.ts";

const HERE = "north.example";
/** Sessions at each of the places below; Postfix serves two hundred in all. */
const SESSIONS = 45;

/** Where the sessions stand as the gateway is told to stop. */
const PLACES = ["between messages", "behind MAIL", "in a message", "behind its end"] as const;
type Place = (typeof PLACES)[number];

async function goTo(place: Place, client: Conversation, id: string): Promise<void> {
  if (place === "between messages") return;
  await talk(client, ["MAIL FROM:<a@far.example>", "250 "]);
  if (place === "behind MAIL") return;
  await talk(client, [`RCPT TO:<${id}@${HERE}>`, "250 "], ["DATA", "354 "]);
  await client.sendRaw(`Subject: ${id}\r\n\r\nhalf a message\r\n`);
}

/** What comes of it: who has begun a message may end it, and everybody hears why the session ends. */
async function goOn(place: Place, client: Conversation): Promise<Fate> {
  let answer = "";
  if (place === "in a message") await client.sendRaw("and the other half\r\n.\r\n");
  if (place === "in a message" || place === "behind its end") answer = await client.expect(/^\d{3} /);
  await client.expect("421 4.3.2 ");
  await client.expectClosed();
  return answer.startsWith("250 ") ? "acked" : "refused";
}

for (const workers of [0, 2]) {
  test(`with ${workers} workers a stop amid ${PLACES.length * SESSIONS} sessions takes the messages under way, and no others`, {
    skip: withoutPostfix,
  }, async (t) => {
    await using postfix = await startPostfix({ domains: [HERE], tls: "none", hold: true });
    await using door = await openSmtpDoor({
      authority: await certificateAuthority(),
      backends: { postfix },
      speaks: ["smtp"],
      domains: { postfix: HERE },
      config: { workers, policy: { limits: [] }, timeouts: { drain: "30s" } },
    });
    await using stack = new AsyncDisposableStack();
    const sessions = PLACES.flatMap((place) => Array.from({ length: SESSIONS }, () => place));
    const ledger = new Ledger(sessions.length);
    const begun = await Promise.all(
      sessions.map(async (place) => {
        const client = stack.use(await door.fromServer());
        // Each is at the backend already, and not only at the door.
        await talk(
          client,
          ["MAIL FROM:<a@far.example>", "250 "],
          [`RCPT TO:<first@${HERE}>`, "250 "],
          ["RSET", "250 "],
        );
        const id = ledger.begin() ?? "";
        await goTo(place, client, id);
        return { place, client, id };
      }),
    );
    for (const { place, client } of begun) if (place === "behind its end") void client.sendRaw(".\r\n");
    const stopped = door.gateway.stop();
    const began = performance.now();
    await Promise.all(
      begun.map(async ({ place, client, id }) => ledger.settle(id, await goOn(place, client))),
    );
    assert.equal(await stopped, 0);
    t.diagnostic(`${ledger}; stopped in ${Math.round(performance.now() - began)} ms`);

    const ids = (await postfix.held()).map(
      (file) => /\bfor <(m\d+)@/.exec(file.toString("latin1"))?.[1] ?? "",
    );
    assert.deepEqual(ledger.wrongs(ids), []);
    assert.equal(ledger.acked, 2 * SESSIONS);
  });
}
