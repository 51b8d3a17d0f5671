import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as connectTcp, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";
import {
  type AcceptedPeer,
  bind,
  type HeaderOutcome,
  type ListenerOptions,
} from "../../src/listen/listener.ts";
import { SIGNATURE } from "../../src/wire/proxy-protocol.ts";
import { eventually, within } from "../support/waiting.ts";

interface Accepted {
  readonly socket: Socket;
  readonly peer: AcceptedPeer;
}

/** A listener that accepts and does nothing more. */
async function listen(t: TestContext, more: Partial<ListenerOptions> = {}) {
  const accepted: Accepted[] = [];
  const outcomes: HeaderOutcome[] = [];
  const sockets = new Set<Socket>();
  const bound = await bind(
    {
      name: "test",
      port: 0,
      host: "127.0.0.1",
      proxyProtocol: { from: ["127.0.0.1"] },
      onHeader: (outcome) => outcomes.push(outcome),
      ...more,
    },
    (socket, peer) => {
      sockets.add(socket);
      accepted.push({ socket, peer });
    },
  );
  t.after(async () => {
    for (const socket of sockets) socket.destroy();
    await within(5_000, "the listener to close", bound.close());
  });
  return {
    port: bound.port,
    close: () => bound.close(),
    outcomes,
    accepted: () => eventually("a connection", () => accepted.shift(), { everyMs: 2 }),
    nobody: () => assert.deepEqual(accepted, []),
    async connect(localAddress = "127.0.0.1"): Promise<Socket> {
      const socket = connectTcp({ port: bound.port, host: "127.0.0.1", localAddress, noDelay: true });
      socket.on("error", () => {});
      sockets.add(socket);
      await once(socket, "connect");
      return socket;
    },
  };
}

const HEADER = "PROXY TCP4 203.0.113.7 192.0.2.25 40000 143\r\n";
const CLAIM = {
  address: "203.0.113.7",
  port: 40_000,
  local: { address: "192.0.2.25", port: 143 },
};

/** The first `count` bytes that a socket brings. */
async function read(socket: Socket, count: number): Promise<string> {
  let text = "";
  socket.on("data", (chunk: Buffer) => {
    text += chunk.toString("latin1");
  });
  await eventually(
    () => `${count} bytes after ${JSON.stringify(text)}`,
    () => text.length >= count,
    { everyMs: 2 },
  );
  return text;
}

/** The other side has closed without a byte. */
async function dropped(socket: Socket): Promise<void> {
  socket.on("data", (chunk) => assert.fail(`a byte for nobody: ${chunk}`));
  await within(8_000, "the connection to be dropped", once(socket, "close"));
}

test("the peer is whom the header names, and the proxy stands beside it", async (t) => {
  const door = await listen(t);
  const proxy = await door.connect();
  proxy.write(HEADER);
  const { peer } = await door.accepted();
  assert.deepEqual(peer, { ...CLAIM, via: { address: "127.0.0.1", port: proxy.localPort } });
  assert.deepEqual(door.outcomes, ["proxied"]);
});

test("other networks speak without a header", async (t) => {
  const door = await listen(t);
  const client = await door.connect("127.0.0.9");
  const { peer, socket } = await door.accepted();
  assert.deepEqual(peer, {
    address: "127.0.0.9",
    port: client.localPort,
    local: { address: "127.0.0.1", port: door.port },
  });
  client.write(HEADER);
  assert.equal(await read(socket, HEADER.length), HEADER, "and what they say is theirs");
  assert.deepEqual(door.outcomes, []);
});

test("a proxy that speaks for itself is the peer", async (t) => {
  const door = await listen(t);
  const own = (proxy: Socket) => `PROXY TCP4 127.0.0.1 127.0.0.1 ${proxy.localPort} ${door.port}\r\n`;
  const local = Buffer.concat([SIGNATURE, Buffer.of(0x20, 0, 0, 0)]);
  for (const header of [() => local, own]) {
    const proxy = await door.connect();
    proxy.write(header(proxy));
    const { peer } = await door.accepted();
    assert.deepEqual(peer, {
      address: "127.0.0.1",
      port: proxy.localPort,
      local: { address: "127.0.0.1", port: door.port },
      proxy: "local",
    });
  }
  assert.deepEqual(door.outcomes, ["local", "local"]);
});

test("a proxy that does not know its client has lent it its address, and nothing more", async (t) => {
  const door = await listen(t, { xclient: { from: ["127.0.0.1"] } });
  const proxy = await door.connect();
  proxy.write("PROXY UNKNOWN\r\n");
  const { peer } = await door.accepted();
  assert.equal(peer.address, "127.0.0.1");
  assert.deepEqual(peer.via, { address: "127.0.0.1", port: proxy.localPort });
  assert.equal(peer.proxy, undefined);
});

test("only a host that may name its clients, and no client that it names, may use XCLIENT", async (t) => {
  const door = await listen(t, { xclient: { from: ["127.0.0.9", "203.0.113.0/24"] } });
  const mail = await door.connect("127.0.0.9");
  assert.equal((await door.accepted()).peer.proxy, "xclient");
  const proxy = await door.connect();
  proxy.write(HEADER);
  assert.equal((await door.accepted()).peer.proxy, undefined);
  mail.destroy();
});

test("what stands behind a header stays, whole and in order, wherever it is cut", async (t) => {
  const door = await listen(t);
  const cases = fc.tuple(
    fc.constantFrom(HEADER, "PROXY UNKNOWN\r\n", `${SIGNATURE.toString("latin1")}\x20\0\0\x02xx`),
    fc.string({ maxLength: 300 }),
    fc.array(fc.nat(400), { maxLength: 4 }),
  );
  await fc.assert(
    fc.asyncProperty(cases, async ([header, behind, places]) => {
      const proxy = await door.connect();
      const whole = Buffer.from(header + Buffer.from(`${behind}.`, "utf8").toString("latin1"), "latin1");
      const cuts = [0, ...places.filter((at) => at < whole.length).toSorted((a, b) => a - b), whole.length];
      for (const [index, end] of cuts.slice(1).entries()) {
        proxy.write(whole.subarray(cuts[index], end));
        await turn();
      }
      const { socket } = await door.accepted();
      const wanted = whole.toString("latin1").slice(header.length);
      assert.equal(await read(socket, wanted.length), wanted);
      proxy.destroy();
    }),
    { numRuns: 60 },
  );
});

test("item 98 and 99: what is no header is dropped at once and without a word", async (t) => {
  const door = await listen(t);
  const cases: readonly (readonly [bytes: string, outcome: HeaderOutcome])[] = [
    ["PROXY TCP4 203.0.113.7 192.0.2.25 40000 143\n", "malformed"],
    ["PROXY ".padEnd(108, "x"), "malformed"],
    ["PROXY TCP4 010.0.0.1 192.0.2.25 1 2\r\n", "malformed"],
    [`${SIGNATURE.toString("latin1")}\x11\x11\0\x0c`, "malformed"],
    [`${SIGNATURE.toString("latin1")}\x21\x11\xff\xff`, "malformed"],
    ["a1 LOGIN alice secret\r\n", "absent"],
    ["\x16\x03\x01", "absent"],
    ["EHLO x\r\n", "absent"],
  ];
  for (const [bytes, outcome] of cases) {
    const client = await door.connect();
    client.write(Buffer.from(bytes, "latin1"));
    await dropped(client);
    assert.equal(door.outcomes.pop(), outcome, bytes);
  }
  door.nobody();
});

test("item 96: a header that never comes is waited for 3 s, and never guessed", async (t) => {
  const door = await listen(t, { headerTimeoutMs: 1 });
  const began = performance.now();
  const [silent, halfway] = [await door.connect(), await door.connect()];
  halfway.write("PROXY TCP4 203.0.113.7");
  await Promise.all([dropped(silent), dropped(halfway)]);
  const waited = performance.now() - began;
  assert.ok(waited > 2_900 && waited < 6_000, `${waited} ms`);
  await eventually("both outcomes", () => door.outcomes.length === 2);
  assert.deepEqual(door.outcomes, ["late", "late"]);
  door.nobody();
});

test("item 102: who connects and closes is nobody; who closes in the middle of a header is broken", async (t) => {
  const door = await listen(t);
  for (const [bytes, leave, outcome] of [
    ["", "end", "left"],
    ["", "resetAndDestroy", "left"],
    ["PROXY TCP4", "end", "malformed"],
  ] as const) {
    const client = await door.connect();
    if (bytes) client.write(bytes);
    client[leave]();
    await eventually(`the outcome ${outcome}`, () => door.outcomes.length > 0);
    assert.equal(door.outcomes.pop(), outcome);
  }
  door.nobody();
});

test("a listener that closes waits for no header", async (t) => {
  const door = await listen(t);
  const client = await door.connect();
  client.write("PROXY");
  await turn();
  await within(1_000, "the listener to close", door.close());
});
