import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Channel } from "../../../src/io/channel.ts";
import { ReplyQueue } from "../../../src/protocols/smtp/reply-queue.ts";
import { listenTo, pipePair, settle } from "../../io/loopback.ts";
import { within } from "../../support/waiting.ts";

const reply = (text: string) => ({ code: 250, lines: [text] });

function client(room?: number) {
  const { near, far } = pipePair(room);
  return { near, far, heard: listenTo(far), queue: new ReplyQueue(new Channel(near, 1_000)) };
}

type Event = "expect" | "say" | "answer" | "turn";

test("replies come in the order of the commands, whoever gives them", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.constantFrom<Event>("expect", "expect", "say", "answer", "answer", "turn"), {
        maxLength: 40,
      }),
      fc.boolean(),
      async (events, dies) => {
        const { queue, heard, near } = client();
        let asked = 0;
        let expected = 0;
        let answered = 0;
        const settled: (string | undefined)[] = [];
        const work: (Promise<unknown> | undefined)[] = [];
        const order: ("backend" | "ours")[] = [];
        for (const event of events) {
          if (event === "turn") await settle(1);
          if (event === "say") {
            order.push("ours");
            work.push(queue.say(`250 ${asked++} ours\r\n`));
          }
          if (event === "expect") {
            order.push("backend");
            expected += 1;
            asked += 1;
            work.push(queue.expect().reply.then((given) => settled.push(given?.lines[0])));
          }
          if (event === "answer") {
            const awaited = answered < expected;
            assert.equal(queue.answer(reply(`backend ${answered}`)), awaited);
            work.push(queue.flush());
            if (awaited) answered += 1;
          }
        }
        const left = expected - answered;
        if (dies) work.push(queue.giveUp("451 gone\r\n"));
        else for (; answered < expected; answered += 1) queue.answer(reply(`backend ${answered}`));
        await within(2_000, "the queue to be drained", queue.drained());
        await within(2_000, "all to be settled", Promise.all(work));
        assert.equal(queue.length, 0);
        near.end();
        await heard.ended;
        let next = 0;
        const wanted = order.map((who, index) => {
          if (who === "ours") return `250 ${index} ours\r\n`;
          const mine = next++;
          return dies && mine >= expected - left ? "451 gone\r\n" : `250 backend ${mine}\r\n`;
        });
        assert.equal(heard.heard(), wanted.join(""));
        assert.deepEqual(
          settled,
          Array.from({ length: expected }, (_, n) =>
            dies && n >= expected - left ? undefined : `backend ${n}`,
          ),
        );
      },
    ),
    { numRuns: 500 },
  );
});

test("a queue is not drained by a reply of our own behind one that is still to come, and nothing spins", async () => {
  const { queue, heard, near } = client();
  const slot = queue.expect();
  void queue.say("221 bye\r\n");
  let drained = false;
  const draining = queue.drained().then(() => {
    drained = true;
  });
  // Were it to spin, this turn would never come.
  await within(2_000, "a turn of the loop", settle(3));
  assert.equal(drained, false);
  assert.equal(heard.heard(), "");
  queue.answer(reply("at last"));
  await within(2_000, "the queue to be drained", draining);
  assert.deepEqual(await slot.reply, reply("at last"));
  near.end();
  await heard.ended;
  assert.equal(heard.heard(), "250 at last\r\n221 bye\r\n");
});

test("whoever asks a backend that is gone hears so at once", async () => {
  const { queue, heard, near } = client();
  await queue.giveUp("451 gone\r\n");
  const slot = queue.expect();
  assert.equal(await within(2_000, "its answer", slot.reply), undefined);
  await within(2_000, "the queue to be drained", queue.drained());
  near.end();
  await heard.ended;
  assert.equal(heard.heard(), "451 gone\r\n");
});

test("a reply may be put in other words, and the one who waits sees it as it was", async () => {
  const { queue, heard, near } = client();
  const slot = queue.expect({ instead: ({ code }) => `250 instead of ${code}\r\n` });
  queue.answer(reply("words"));
  await queue.flush();
  assert.deepEqual(await slot.reply, reply("words"));
  near.end();
  await heard.ended;
  assert.equal(heard.heard(), "250 instead of 250\r\n");
});

test("a client that is gone stops nobody who waits for the backend", async () => {
  const { queue, near, far } = client();
  const slot = queue.expect();
  far.destroy();
  near.destroy();
  await settle();
  assert.equal(queue.answer(reply("ok")), true);
  assert.deepEqual(await slot.reply, reply("ok"));
  await within(2_000, "the queue to be drained", queue.drained());
});
