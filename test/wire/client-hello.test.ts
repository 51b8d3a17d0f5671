import assert from "node:assert/strict";
import { duplexPair } from "node:stream";
import { test } from "node:test";
import { type ConnectionOptions, connect as connectTls } from "node:tls";
import fc from "fast-check";
import { type ClientHello, readClientHello } from "../../src/wire/client-hello.ts";

/** The first bytes that OpenSSL says as a client. */
async function helloOf(options: ConnectionOptions): Promise<Buffer> {
  const [near, far] = duplexPair();
  const client = connectTls({ ...options, socket: near as never });
  client.on("error", () => {});
  const hello = await new Promise<Buffer>((resolve) => far.once("data", resolve));
  client.destroy();
  return hello;
}

const hellos = await Promise.all(
  (["TLSv1.2", "TLSv1.3"] as const).flatMap((maxVersion) => [
    helloOf({ maxVersion, servername: "mail.example.org", ALPNProtocols: ["imap", "acme-tls/1"] }),
    helloOf({ maxVersion, servername: "x".repeat(255) }),
    helloOf({ maxVersion, ALPNProtocols: ["h2"] }),
    helloOf({ maxVersion, minVersion: "TLSv1.2" }),
  ]),
);

const anyHello = fc.constantFrom(...hellos);

/** The same handshake message in records of these lengths. */
function recut(hello: Buffer, lengths: readonly number[]): Buffer {
  const records: Buffer[] = [];
  for (let rest = hello.subarray(5), turn = 0; rest.length > 0; turn += 1) {
    const fragment = rest.subarray(0, lengths[turn % lengths.length]);
    records.push(Buffer.from([22, 3, 1, fragment.length >> 8, fragment.length & 255]), fragment);
    rest = rest.subarray(fragment.length);
  }
  return Buffer.concat(records);
}

/** A hello made by hand: what is wrong with it is the test's. */
function handmade(...extensions: readonly [type: number, data: string | Buffer][]): Buffer {
  const all = extensions.map(([type, data]) => Buffer.concat([u16(type), behind(2, Buffer.from(data))]));
  const body = Buffer.concat([
    Buffer.from("0303", "hex"),
    Buffer.alloc(32, 7),
    behind(1, Buffer.alloc(0)),
    behind(2, Buffer.from("1301", "hex")),
    behind(1, Buffer.from([0])),
    behind(2, Buffer.concat(all)),
  ]);
  return record(Buffer.concat([Buffer.from([1]), behind(3, body)]));
}

const record = (message: Buffer): Buffer => Buffer.concat([Buffer.from("160301", "hex"), behind(2, message)]);
const u16 = (value: number): Buffer => Buffer.from([value >> 8, value & 255]);
function behind(width: number, bytes: Buffer): Buffer {
  const length = Buffer.alloc(width);
  length.writeUIntBE(bytes.length, 0, width);
  return Buffer.concat([length, bytes]);
}
const nameList = (name: string): Buffer =>
  behind(2, Buffer.concat([Buffer.from([0]), behind(2, Buffer.from(name, "latin1"))]));

test("what OpenSSL asks for as a client", () => {
  const asked = hellos.map((hello) => readClientHello(hello));
  const expected: ClientHello[] = [
    { serverName: "mail.example.org", alpn: ["imap", "acme-tls/1"] },
    { serverName: "x".repeat(255), alpn: [] },
    { alpn: ["h2"] },
    { alpn: [] },
  ];
  assert.deepEqual(asked, [...expected, ...expected]);
});

test("any beginning of a hello wants more, and whatever follows it changes nothing", () => {
  for (const hello of hellos) {
    for (let end = 0; end < hello.length; end += 1) {
      assert.equal(readClientHello(hello.subarray(0, end)), "more", `the first ${end} bytes`);
    }
  }
  fc.assert(
    fc.property(anyHello, fc.uint8Array(), (hello, behindIt) => {
      assert.deepEqual(readClientHello(Buffer.concat([hello, behindIt])), readClientHello(hello));
    }),
  );
});

test("records may cut it anywhere", () => {
  fc.assert(
    fc.property(anyHello, fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1 }), (hello, lengths) => {
      const cut = recut(hello, lengths);
      assert.deepEqual(readClientHello(cut), readClientHello(hello));
      assert.equal(readClientHello(cut.subarray(0, -1)), "more");
    }),
  );
});

test("no bytes make it throw, nor wait for more than 16 KiB", () => {
  fc.assert(
    fc.property(anyHello, fc.array(fc.tuple(fc.nat(), fc.nat(255))), (hello, faults) => {
      const bytes = Buffer.from(hello);
      for (const [place, value] of faults) bytes[place % bytes.length] = value;
      readClientHello(bytes);
    }),
    { numRuns: 3_000 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => void readClientHello(Buffer.from(bytes))),
  );
  const long = Buffer.alloc(16 * 1024 + 1, 1);
  const body = Buffer.concat([Buffer.from([1, 0, 0x40, 0]), long]);
  for (const lengths of [[1], [2, 1], [16_000], [400]]) {
    const cut = recut(Buffer.concat([Buffer.alloc(5), body]), lengths);
    assert.equal(readClientHello(cut.subarray(0, 16 * 1024)), "none", `records of ${lengths}`);
  }
});

for (const [what, bytes] of Object.entries({
  "a clear-text command": Buffer.from("a LOGIN alice secret\r\n"),
  "an SSLv2 hello": Buffer.from("802e0100020015000000100100800200800300800400800500800600400700c0", "hex"),
  "an alert": Buffer.from("15030100020228", "hex"),
  "an empty record": Buffer.from("1603010000", "hex"),
  "another handshake message": record(Buffer.from("0200000000", "hex")),
  "a hello that says it is longer than any": Buffer.from("16030140000100ffff", "hex"),
  "a record that says it is longer than all we read": Buffer.from("1603014000", "hex"),
  "a name of a type that there is not": handmade([0, behind(2, Buffer.from("0100026162", "hex"))]),
  "two names": handmade([0, behind(2, Buffer.from("0000016100000162", "hex"))]),
  "an empty list of names": handmade([0, behind(2, Buffer.alloc(0))]),
  "the extension twice": handmade([0, nameList("a")], [0, nameList("b")]),
  "a byte behind the name": handmade([0, Buffer.concat([nameList("a"), Buffer.alloc(1)])]),
  "ALPN that ends in the middle of a name": handmade([16, behind(2, Buffer.from("05696d", "hex"))]),
  "a byte behind the extensions": (() => {
    const hello = handmade([0, nameList("a")]);
    const message = Buffer.concat([hello.subarray(5), Buffer.alloc(1)]);
    message.writeUIntBE(message.length - 4, 1, 3);
    return record(message);
  })(),
})) {
  test(`${what} is no hello that we understand`, () => {
    assert.equal(readClientHello(bytes), "none");
  });
}

test("any name is taken as it is, for others to judge", () => {
  for (const name of ["__proto__", "", "../../key", "MAIL.example.org.", "\u00e9", "127.0.0.1", "a\0b"]) {
    assert.deepEqual(readClientHello(handmade([0, nameList(name)])), { serverName: name, alpn: [] });
  }
});
