import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as connectTcp } from "node:net";
import { duplexPair } from "node:stream";
import { describe, test } from "node:test";
import { connect as connectTls } from "node:tls";
import { SIGNATURE } from "../../src/wire/proxy-protocol.ts";
import { certificateAuthority } from "../support/certificates.ts";
import { eventually, within } from "../support/waiting.ts";
import { type FrontDoor, frontDoor, LISTENER } from "./front-door.ts";

const HEADER = "PROXY TCP4 203.0.113.7 192.0.2.25 40000 143\r\n";
const BINARY = `${SIGNATURE.toString("latin1")}\x21\x11\0\x0c\xcb\0\x71\x07\xc0\0\x02\x19\x9c\x40\0\x8f`;
const behindProxy = { listener: { proxyProtocol: { from: ["127.0.0.1"] } } };

async function headers(door: FrontDoor, outcome: string): Promise<number> {
  const label = `{listener="${LISTENER}",outcome="${outcome}"}`;
  const line = (await door.metrics()).split("\n").find((text) => text.includes(label));
  return Number(line?.split(" ").at(-1) ?? 0);
}

const complaints = (door: FrontDoor) => door.log.filter((line) => line["msg"] === "no usable PROXY header");

test("the account record names the client and the proxy", async (t) => {
  const door = await frontDoor(t, behindProxy);
  const client = await door.connect();
  await client.sendRaw(`${HEADER}a LOGOUT\r\n`);
  await client.expect("* OK ");
  await client.expectUntil("a OK ");
  const [record] = await door.closed(1);
  assert.equal(record?.["peer"], "203.0.113.7");
  assert.equal(record?.["via"], "127.0.0.1");
  assert.equal(await headers(door, "proxied"), 1);
});

test("commands behind a header, in one packet or byte by byte, are answered in order", async (t) => {
  const door = await frontDoor(t, behindProxy);
  for (const bytewise of [false, true])
    for (const header of [HEADER, BINARY]) {
      const client = await door.connect({ bytewise });
      await client.sendRaw(`${header}a NOOP\r\nb CAPABILITY\r\nc LOGOUT\r\n`);
      await client.expect("* OK ");
      await client.expect("a OK ");
      await client.expectUntil("b OK ");
      await client.expectUntil("c OK ");
      await client.expectClosed();
    }
});

test("a header and a ClientHello in one packet are a header and a handshake", async (t) => {
  const authority = await certificateAuthority();
  const door = await frontDoor(t, {
    ...behindProxy,
    certificate: await authority.issue(["localhost"]),
    frontend: { implicitTls: true },
  });
  for (const header of [HEADER, BINARY]) {
    const [near, far] = duplexPair();
    const secure = connectTls({ socket: near, ca: authority.ca, servername: "localhost" });
    const [hello] = (await once(far, "data")) as [Buffer];
    const raw = connectTcp({ port: door.port, host: "127.0.0.1" });
    raw.write(Buffer.concat([Buffer.from(header, "latin1"), hello]));
    far.pipe(raw).pipe(far);
    const [greeting] = (await within(5_000, "the greeting", once(secure, "data"))) as [Buffer];
    assert.match(greeting.toString(), /^\* OK /);
    secure.destroy();
    raw.destroy();
  }
  const records = await door.closed(2);
  for (const record of records) {
    assert.equal(record["peer"], "203.0.113.7");
    assert.equal(record["tls"], "TLSv1.3");
  }
});

test("a ClientHello that waits for a slow policy is still a ClientHello", async (t) => {
  const authority = await certificateAuthority();
  const door = await frontDoor(t, {
    certificate: await authority.issue(["localhost"]),
    frontend: { implicitTls: true },
    limits: [
      {
        name: "slow",
        count: "connections",
        per: ["ip"],
        limit: { points: 1, windowMs: 60_000 },
        match: {},
        then: { delay: 300 },
      },
    ],
  });
  const tls = { ca: authority.ca, servername: "localhost" };
  for (const _ of [1, 2]) {
    const client = await door.connect({ tls });
    await client.expect("* OK ");
  }
});

describe("item 96: a header from whoever may not send one", () => {
  for (const [name, header] of [
    ["version 1", HEADER],
    ["version 2", BINARY],
    ["version 1, broken", "PROXY nonsense"],
  ] as const)
    test(`${name}: dropped without a reply, counted, and said once`, async (t) => {
      const door = await frontDoor(t, { listener: { proxyProtocol: { from: ["127.0.0.1"] } } });
      for (const bytewise of [false, true]) {
        const client = await door.greeted({ localAddress: "127.0.0.9", bytewise });
        await client.sendRaw(`${header}a LOGIN alice secret\r\n`);
        await client.expectClosed();
      }
      const records = await door.closed(2);
      for (const record of records) {
        assert.equal(record["outcome"], "strayHeader");
        assert.equal(record["peer"], "127.0.0.9");
      }
      assert.equal(await headers(door, "stray"), 2);
      const [said, ...more] = complaints(door);
      assert.deepEqual(more, []);
      assert.equal(said?.["from"], "127.0.0.9");
      assert.match(String(said?.["likely"]), /not in this listener's proxyProtocol\.from/);
    });

  test("a listener that knows no proxies drops it too", async (t) => {
    const door = await frontDoor(t);
    const client = await door.greeted();
    await client.sendRaw(HEADER);
    await client.expectClosed();
    assert.equal((await door.closed(1))[0]?.["outcome"], "strayHeader");
  });

  test("a command that begins as a header does is a command", async (t) => {
    const door = await frontDoor(t);
    for (const tag of ["P", "PROXY-1"]) {
      const client = await door.greeted({ bytewise: true });
      await client.send(`${tag} NOOP`);
      await client.expect(`${tag} OK `);
    }
  });
});

test("a second header behind the first is never believed", async (t) => {
  const door = await frontDoor(t, behindProxy);
  const client = await door.connect();
  await client.sendRaw(`${HEADER}PROXY TCP4 198.51.100.1 192.0.2.25 1 143\r\na LOGIN alice secret\r\n`);
  const heard = await client.readToClose();
  assert.ok(
    heard.every((line) => line.startsWith("* OK ")),
    heard.join("\n"),
  );
  const [record] = await door.closed(1);
  assert.equal(record?.["peer"], "203.0.113.7");
  assert.equal(record?.["outcome"], "strayHeader");
  assert.equal(await headers(door, "second"), 1);
});

test("limits count the client that the header names, not its proxy", async (t) => {
  const door = await frontDoor(t, {
    ...behindProxy,
    limits: [
      { name: "at-once", count: "connections", per: ["ip"], limit: { points: 1 }, match: {}, then: "refuse" },
    ],
  });
  const from = (address: string) => `PROXY TCP4 ${address} 192.0.2.25 40000 143\r\n`;
  const first = await door.connect();
  await first.sendRaw(from("203.0.113.7"));
  await first.expect("* OK ");
  const other = await door.connect();
  await other.sendRaw(from("203.0.113.8"));
  await other.expect("* OK ");
  const again = await door.connect();
  await again.sendRaw(from("203.0.113.7"));
  await again.expect("* BYE ");
});

describe("item 102: a claimed address gains nothing", () => {
  const limits = [
    { name: "at-once", count: "connections", per: ["ip"], limit: { points: 1 }, match: {}, then: "refuse" },
  ] as const;
  const twice = async (door: FrontDoor, header: string): Promise<string> => {
    const first = await door.connect();
    await first.sendRaw(header);
    await first.expect("* OK ");
    const second = await door.connect();
    await second.sendRaw(header);
    return second.expect("* ");
  };
  const exempt = ["127.0.0.0/8", "::1", "203.0.113.0/24"];

  for (const [name, header] of [
    ["127.0.0.1", "PROXY TCP4 127.0.0.1 192.0.2.25 1 143\r\n"],
    ["::1", "PROXY TCP6 ::1 ::1 1 143\r\n"],
    ["::ffff:127.0.0.1", "PROXY TCP6 ::ffff:127.0.0.1 ::1 1 143\r\n"],
    ["nobody, through a proxy at 127.0.0.1", "PROXY UNKNOWN\r\n"],
    ["a trusted network", "PROXY TCP4 10.1.2.3 192.0.2.25 1 143\r\n"],
  ] as const)
    test(`${name} is limited as everybody is`, async (t) => {
      const door = await frontDoor(t, {
        listener: { proxyProtocol: { from: ["127.0.0.1", "10.0.0.0/8"] } },
        limits,
        exempt,
      });
      assert.match(await twice(door, header), /^\* BYE /);
    });

  test("an address that the operator has exempted is exempt behind a proxy, too", async (t) => {
    const door = await frontDoor(t, { ...behindProxy, limits, exempt });
    assert.match(await twice(door, HEADER), /^\* OK /);
  });
});

describe("item 102: health checks", () => {
  test("fill no log, are counted, and take nobody's seat", async (t) => {
    const door = await frontDoor(t, {
      ...behindProxy,
      limits: [
        {
          name: "at-once",
          count: "connections",
          per: ["ip"],
          limit: { points: 1 },
          match: {},
          then: "refuse",
        },
      ],
    });
    const local = `${SIGNATURE.toString("latin1")}\x20\0\0\0`;
    const [one, two] = [await door.connect(), await door.connect()];
    await one.sendRaw(local);
    await two.sendRaw(`${local}a LOGOUT\r\n`);
    await one.expect("* OK ");
    await two.expect("* OK ");
    one.vanish();
    await two.expectUntil("a OK ");
    (await door.connect()).vanish();
    await eventually("both to be over", () => door.accounts().length === 2);
    await eventually("the metric", async () => (await headers(door, "left")) === 1);
    assert.equal(await headers(door, "local"), 2);
    const shown = door.log.filter((line) => Number(line["level"]) >= 30);
    assert.deepEqual(shown, []);
  });

  test("a proxy that guesses passwords is seen", async (t) => {
    const door = await frontDoor(t, behindProxy);
    const proxy = await door.connect();
    await proxy.sendRaw(`${SIGNATURE.toString("latin1")}\x20\0\0\0a LOGIN alice wrong\r\nb LOGOUT\r\n`);
    await proxy.expectUntil("b OK ");
    const [record] = await door.closed(1);
    assert.equal(record?.["outcome"], "badCredential");
    assert.equal(record?.["level"], 30);
  });
});

test("what a listener misses is said once a minute, with its likely cause", async (t) => {
  const door = await frontDoor(t, behindProxy);
  for (let n = 0; n < 5; n += 1) {
    const client = await door.connect();
    await client.send("a LOGIN alice secret");
    await client.expectClosed();
  }
  assert.equal(await headers(door, "absent"), 5);
  const said = complaints(door);
  assert.equal(said.length, 1);
  assert.match(String(said[0]?.["likely"]), /without a proxy/);
  assert.ok(!JSON.stringify(door.log).includes("secret"));
});
