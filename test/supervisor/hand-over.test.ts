import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import { type TestContext, test } from "node:test";
import { type Hand, HandOver } from "../../src/supervisor/hand-over.ts";

class Worker implements Hand {
  readonly got: Socket[] = [];
  room: number;

  constructor(room: number) {
    this.room = room;
  }

  get load(): number {
    return this.got.length;
  }

  get free(): boolean {
    return this.got.length < this.room;
  }

  give(_listener: string, socket: Socket): void {
    this.got.push(socket);
  }
}

function connection(): Socket {
  return new Duplex({ read() {} }) as Socket;
}

function handOver(t: TestContext, hands: readonly Hand[], { maxWaiting = 10, patienceMs = 60_000 } = {}) {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const told: string[] = [];
  const between = new HandOver({
    hands: () => hands,
    maxWaiting,
    patienceMs: () => patienceMs,
    observer: { full: (full) => told.push(full ? "full" : "room"), dropped: () => told.push("dropped") },
  });
  t.after(() => between.close());
  return { between, told };
}

test("whoever has the fewest sessions gets the next one", (t) => {
  const [one, two] = [new Worker(9), new Worker(9)];
  const { between } = handOver(t, [one, two]);
  one.got.push(connection(), connection());
  for (let n = 0; n < 4; n++) between.take("imap", connection());
  assert.deepEqual([one.load, two.load], [3, 3]);
});

test("who finds no room waits, in order, and gets in when there is some", (t) => {
  const worker = new Worker(0);
  const { between, told } = handOver(t, [worker]);
  const [first, second] = [connection(), connection()];
  between.take("imap", first);
  between.take("imap", second);
  assert.equal(between.waiting, 2);
  t.mock.timers.tick(1_000);
  assert.deepEqual(told, ["full"]);
  worker.room = 1;
  between.look();
  assert.deepEqual(worker.got, [first]);
  worker.room = 2;
  between.look();
  assert.deepEqual(worker.got, [first, second]);
  assert.deepEqual(told, ["full", "room"]);
});

test("who was with a worker that died goes before those who wait", (t) => {
  const worker = new Worker(0);
  const { between } = handOver(t, [worker]);
  const [waiting, back] = [connection(), connection()];
  between.take("imap", waiting);
  between.takeBack("imap", back);
  worker.room = 2;
  between.look();
  assert.deepEqual(worker.got, [back, waiting]);
});

test("nobody waits for ever, and no more than there is place for", (t) => {
  const { between, told } = handOver(t, [], { maxWaiting: 1, patienceMs: -1 });
  const [patient, turned] = [connection(), connection()];
  between.take("imap", patient);
  between.take("imap", turned);
  assert.deepEqual([patient.destroyed, turned.destroyed], [false, true]);
  t.mock.timers.tick(1_000);
  assert.ok(patient.destroyed);
  assert.deepEqual(told, ["dropped", "full", "dropped", "room"]);
});

test("who has left while waiting is given to nobody", (t) => {
  const worker = new Worker(0);
  const { between } = handOver(t, [worker]);
  const gone = connection();
  between.take("imap", gone);
  gone.destroy();
  worker.room = 1;
  between.look();
  assert.equal(worker.load, 0);
  assert.equal(between.waiting, 0);
});
