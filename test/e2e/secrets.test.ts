import assert from "node:assert/strict";
import { test } from "node:test";
import { certificateAuthority } from "../support/certificates.ts";
import type { Conversation } from "../support/conversation.ts";
import { BACKEND_NAME, openDoor } from "../support/door.ts";
import { startDovecot } from "../support/dovecot.ts";
import { startScriptedBackend } from "../support/scripted-backend.ts";

/** No two of them share a part of eight letters, so each can be looked for by itself. */
const SECRETS = {
  right: "Xq7kWzPl-right",
  master: "Mv3nBtGh-master",
  wrong: "Jd9sRfYc-wrong",
  early: "Ue5oAiLp-early",
  malformed: "Kz2wTxVb-malformed",
  afterTls: "Hg8mNqSd-afterTls",
  refusedByBackend: "Cy4eFuOr-backend",
  dead: "Pw6jDaZi-dead",
  relayed: "Ln1vEbQx-relayed",
};

const base64 = (text: string) => Buffer.from(text, "latin1").toString("base64");

/** A secret as it could stand in a text: as it is, in hexadecimal, in base64 wherever it begins in the bytes. */
function disguises(secret: string): string[] {
  const bytes = Buffer.from(secret);
  const inBase64 = [0, 1, 2].map((shift) => {
    const text = Buffer.concat([Buffer.alloc(shift), bytes]).toString("base64");
    // Letters that mix the secret's bits with its neighbours' are left out at both ends.
    return text.slice(Math.ceil((shift * 4) / 3), Math.floor(((shift + bytes.length) * 4) / 3));
  });
  return [secret, secret.slice(0, 8), bytes.toString("hex"), [...bytes].join(","), ...inBase64];
}

test("no secret gets into the log at any level, the metrics or what the admin port says", async (t) => {
  const authority = await certificateAuthority();
  const certificate = await authority.issue([BACKEND_NAME]);
  const users = { "alice@example.org": SECRETS.right, "bob@example.org": "not used" };
  await using store = await startDovecot({
    tls: "starttls",
    certificate,
    users,
    master: { user: "gate", password: SECRETS.master },
  });
  await using refusing = await startScriptedBackend({
    tls: "none",
    // A backend that repeats what it was told, as a careless one may.
    acts: { login: { say: `{tag} NO [AUTHENTICATIONFAILED] not ${SECRETS.refusedByBackend}\r\n` } },
  });
  await using dying = await startScriptedBackend({ tls: "none", acts: { login: "reset" } });
  await using garbled = await startScriptedBackend({
    tls: "none",
    acts: { login: { say: `${SECRETS.dead}\r\n` } },
  });
  await using door = await openDoor({
    authority,
    backends: { store, byMaster: store, refusing, dying, garbled },
    backendKeys: {
      byMaster: { login: { master: { user: "gate", password: SECRETS.master, separator: "*" } } },
    },
    users: {
      "alice@example.org": SECRETS.right,
      "bob@example.org": { password: SECRETS.right, backend: "byMaster" },
      "carol@example.org": { password: SECRETS.refusedByBackend, backend: "refusing" },
      "dave@example.org": { password: SECRETS.dead, backend: "dying" },
      "erin@example.org": { password: SECRETS.dead, backend: "garbled" },
    },
    config: { routes: [{ to: "store" }], logging: { level: "trace" } },
  });

  const plain = (user: string, password: string) => base64(`\0${user}\0${password}`);
  const inTls: Record<string, (client: Conversation) => Promise<unknown>> = {
    "a right LOGIN, and more secrets after it": async (client) => {
      await client.send(`a LOGIN alice@example.org ${SECRETS.right}`);
      await client.expectUntil("a OK ");
      await client.send(`b SEARCH BODY ${SECRETS.relayed}`);
      await client.expectUntil("b ");
    },
    "AUTHENTICATE PLAIN by a master user": async (client) => {
      await client.send(`a AUTHENTICATE PLAIN ${plain("bob@example.org", SECRETS.right)}`);
      await client.expectUntil("a OK ");
    },
    "wrong passwords, in every way": async (client) => {
      await client.send(`a LOGIN alice@example.org "${SECRETS.wrong}"`);
      await client.expect("a NO ");
      await client.send(`b LOGIN alice@example.org {${SECRETS.wrong.length}+}\r\n${SECRETS.wrong}`);
      await client.expect("b NO ");
      await client.send(`c AUTHENTICATE PLAIN ${plain("alice@example.org", SECRETS.wrong)}`);
      await client.expect("c NO ");
      await client.send("d AUTHENTICATE LOGIN");
      await client.expect("+ ");
      await client.send(base64("alice@example.org"));
      await client.expect("+ ");
      await client.send(base64(SECRETS.wrong));
      await client.expect("d NO ");
    },
    "lines that are no commands": async (client) => {
      await client.send("n NOOP");
      await client.expect("n OK ");
      await client.send(`a LOGIN alice@example.org ${SECRETS.malformed} ${SECRETS.malformed}`);
      await client.expect("a BAD ");
      await client.send(`b LOGIN alice@example.org "${SECRETS.malformed}`);
      await client.expect("b BAD ");
      await client.send(`${SECRETS.malformed}`);
      await client.expect(/BAD /);
      await client.send(`c ${SECRETS.malformed} x`);
      await client.expect("c BAD ");
      await client.send(`d AUTHENTICATE PLAIN ${base64(SECRETS.malformed)}`);
      await client.expect("d BAD ");
      await client.send(`e AUTHENTICATE PLAIN ${base64(`\0${SECRETS.malformed}\0\r\0${SECRETS.malformed}`)}`);
      await client.expect("e BAD ");
      await client.send(`f AUTHENTICATE ${SECRETS.malformed}`);
      await client.expect(/^f (NO|BAD) /);
    },
    "a line that ends the session": async (client) => {
      await client.sendRaw(`a LOGIN alice@example.org "${"x".repeat(100_000)}${SECRETS.malformed}"\r\n`);
      await client.readToClose();
    },
    "a backend that says no": async (client) => {
      await client.send(`a LOGIN carol@example.org ${SECRETS.refusedByBackend}`);
      await client.expect("a NO ");
    },
    "a backend that dies at the password": async (client) => {
      await client.send(`a LOGIN dave@example.org ${SECRETS.dead}`);
      await client.expect("a NO ");
    },
    "a backend that answers with nonsense": async (client) => {
      await client.send(`a LOGIN erin@example.org ${SECRETS.dead}`);
      await client.expect("a NO ");
    },
  };
  for (const [what, talk] of Object.entries(inTls)) {
    await t.test(what, async () => {
      await using client = await door.greetedInTls();
      await talk(client);
    });
  }
  await t.test("a password before TLS", async () => {
    await using client = await door.greeted();
    await client.send(`a LOGIN alice@example.org ${SECRETS.early}`);
    await client.expect("a NO ");
    await client.send(`b AUTHENTICATE PLAIN ${plain("alice@example.org", SECRETS.early)}`);
    await client.expect("b NO ");
  });
  await t.test("a password behind STARTTLS", async () => {
    await using client = await door.greeted();
    await client.sendRaw(`a STARTTLS\r\nb LOGIN alice@example.org ${SECRETS.afterTls}\r\n`);
    await client.readToClose();
  });

  await door.gateway.metricIs("postern_sessions_open", 0);
  const texts: Record<string, string> = { "/metrics": await door.gateway.metrics() };
  for (const path of ["/healthz", "/readyz", "/api/v1/config"])
    texts[path] = (await door.gateway.admin(path)).body;
  await door.gateway.stop();
  texts["the log"] = door.gateway.output();

  await t.test("the log tells of all these sessions", () => {
    assert.equal(door.gateway.accounts().length, Object.keys(inTls).length + 2);
    assert.match(texts["the log"] ?? "", /alice@example\.org/);
  });
  for (const [name, secret] of Object.entries(SECRETS)) {
    await t.test(`nowhere: ${name}`, () => {
      for (const [where, text] of Object.entries(texts)) {
        for (const disguise of disguises(secret)) {
          assert.ok(!text.includes(disguise), `${disguise} stands in ${where}`);
        }
      }
    });
  }
});
