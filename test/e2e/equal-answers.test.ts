import assert from "node:assert/strict";
import { test } from "node:test";
import { type Conversation, connect } from "../support/conversation.ts";
import { startGateway } from "../support/gateway.ts";
import { freePorts } from "../support/ports.ts";
import { plain } from "../support/smtp-door.ts";

const TRIES = 120;
/** SHA256-CRYPT of "right-one": a hash that takes time, but not the machine's. */
const STORED = "{SHA256-CRYPT}$5$abcdefgh$6Odp4Jgf.pItZudLkemPRT7q0e3oSyiO.Lv8u24jzi9";

/** How far apart two samples are by Mann and Whitney's U: a standard normal where they are alike. */
function apart(one: readonly number[], other: readonly number[]): number {
  const all = [
    ...one.map((value) => ({ value, mine: true })),
    ...other.map((value) => ({ value, mine: false })),
  ];
  all.sort((a, b) => a.value - b.value);
  const rankSum = all.reduce((sum, { mine }, rank) => sum + (mine ? rank + 1 : 0), 0);
  const [m, n] = [one.length, other.length];
  const u = rankSum - (m * (m + 1)) / 2;
  return (u - (m * n) / 2) / Math.sqrt((m * n * (m + n + 1)) / 12);
}

interface Door {
  open(port: number): Promise<Conversation>;
  /** One try; gives the answer. */
  attempt(client: Conversation, user: string, password: string): Promise<string>;
}

const DOORS: Readonly<Record<string, Door>> = {
  imap: {
    async open(port) {
      const client = await connect({ port });
      await client.expect("* OK");
      return client;
    },
    async attempt(client, user, password) {
      await client.send(`a LOGIN ${user} ${password}`);
      return client.expect("a NO");
    },
  },
  pop3: {
    async open(port) {
      const client = await connect({ port });
      await client.expect("+OK");
      return client;
    },
    async attempt(client, user, password) {
      await client.send(`AUTH PLAIN ${plain(user, password)}`);
      return client.expect("-ERR");
    },
  },
  submission: {
    async open(port) {
      const client = await connect({ port });
      await client.expect("220 ");
      await client.send("EHLO x");
      await client.expectUntil("250 ");
      return client;
    },
    async attempt(client, user, password) {
      await client.send(`AUTH PLAIN ${plain(user, password)}`);
      return client.expect("535");
    },
  },
};

test("113: nobody's name and a wrong password are one answer, in one time, in every protocol", async (t) => {
  const names = Object.keys(DOORS);
  const ports = await freePorts(names.length);
  await using _gateway = await startGateway({
    users: { "alice@example.org": { password: STORED } },
    config: {
      workers: 0,
      listeners: names.map((protocol, at) => ({
        protocol,
        port: ports[at],
        host: "127.0.0.1",
        requireTls: false,
      })),
      tls: { selfSigned: true },
      backends: { none: { host: "127.0.0.1", tls: "none", protocols: { imap: 1, pop3: 1, submission: 1 } } },
      policy: { limits: [] },
    },
  });
  for (const [at, name] of names.entries()) {
    await t.test(name, async (t) => {
      const door = DOORS[name] as Door;
      const port = ports[at] as number;
      const took = { wrong: [] as number[], nobody: [] as number[] };
      const answers = new Set<string>();
      let client = await door.open(port);
      for (let round = 0; round < TRIES; round += 1) {
        // A session ends at its tenth error.
        if (round % 4 === 3) {
          await client[Symbol.asyncDispose]();
          client = await door.open(port);
        }
        const order = round % 2 === 0 ? (["wrong", "nobody"] as const) : (["nobody", "wrong"] as const);
        for (const who of order) {
          const user = who === "wrong" ? "alice@example.org" : "nobody@example.org";
          const before = performance.now();
          answers.add(await door.attempt(client, user, `guess${round}`));
          took[who].push(performance.now() - before);
        }
      }
      await client[Symbol.asyncDispose]();
      assert.equal(answers.size, 1, [...answers].join("\n"));
      const z = apart(took.wrong, took.nobody);
      t.diagnostic(`z = ${z.toFixed(2)}`);
      assert.ok(Math.abs(z) < 4, `z = ${z}`);
    });
  }
});
