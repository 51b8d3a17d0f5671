import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { beginsHeader, type HeaderReading, readProxyHeader } from "../../src/wire/proxy-header.ts";
import { crc32c, SIGNATURE, TLV } from "../../src/wire/proxy-protocol.ts";

const line = (text: string): Buffer => Buffer.from(text, "latin1");

const tlv = (type: number, value: Buffer | string): Buffer => {
  const bytes = Buffer.from(value as string, "latin1");
  return Buffer.concat([Buffer.of(type, bytes.length >> 8, bytes.length & 255), bytes]);
};

interface Binary {
  readonly command?: number;
  readonly family?: number;
  readonly body: Buffer;
  /** Instead of the body's own. */
  readonly length?: number;
}

const binary = ({ command = 0x21, family = 0x11, body, length = body.length }: Binary): Buffer =>
  Buffer.concat([SIGNATURE, Buffer.of(command, family, length >> 8, length & 255), body]);

const IPV4 = Buffer.from("cb007107c0000219dead008f", "hex");
const IPV6 = Buffer.from(
  `20010db8000000000000000000000001${"20010db8000000000000000000000025"}c35003e1`,
  "hex",
);

/** A TCP4 header with these TLVs and the sum that belongs to it, changed by `spoil`. */
function summed(tlvs: readonly Buffer[], spoil = 0): Buffer {
  const whole = binary({ body: Buffer.concat([IPV4, ...tlvs, tlv(TLV.crc32c, "\0\0\0\0")]) });
  whole.writeUInt32BE((crc32c(whole) ^ spoil) >>> 0, whole.length - 4);
  return whole;
}

const heard = (bytes: Buffer): string => {
  const reading = readProxyHeader(bytes);
  if (reading.kind !== "header") return reading.kind;
  const { header, length } = reading;
  const { source, destination } = header.client ?? {};
  const client = source && destination ? [source, destination].map((a) => `${a.address} ${a.port}`) : ["-"];
  return `${length}: v${header.version}${header.local ? " local" : ""} ${client.join(" > ")}`;
};

describe("version 1", () => {
  const cases: readonly (readonly [bytes: string, heard: string])[] = [
    ["PROXY TCP4 203.0.113.7 192.0.2.25 57005 143\r\n", "45: v1 203.0.113.7 57005 > 192.0.2.25 143"],
    [
      "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
      "56: v1 255.255.255.255 65535 > 255.255.255.255 65535",
    ],
    ["PROXY TCP4 0.0.0.0 1.2.3.4 0 0\r\nA LOGIN", "32: v1 0.0.0.0 0 > 1.2.3.4 0"],
    ["PROXY TCP6 2001:DB8:0::1 ::1 1 2\r\n", "34: v1 2001:db8::1 1 > ::1 2"],
    // RFC 4291 2.5.5.2: how a proxy with an IPv6 socket names an IPv4 client.
    ["PROXY TCP6 ::ffff:203.0.113.7 ::ffff:c000:219 1 2\r\n", "51: v1 203.0.113.7 1 > 192.0.2.25 2"],
    ["PROXY UNKNOWN\r\n", "15: v1 -"],
    ["PROXY UNKNOWN anything at all \0\xff\r\nA LOGIN", "34: v1 -"],
    [`PROXY UNKNOWN ${"f".repeat(91)}\r\n`, "107: v1 -"],
    ["", "more"],
    ["P", "more"],
    ["PROXY", "more"],
    ["PROXY TCP4 203.0.113.7 192.0.2.25 57005 143\r", "more"],
    [`PROXY UNKNOWN ${"f".repeat(91)}\r`, "more"],
    // Item 98.
    ["PROXY TCP4 203.0.113.7 192.0.2.25 57005 143\n", "malformed"],
    [`PROXY UNKNOWN ${"f".repeat(92)}\r\n`, "malformed"],
    ["PROXY ".padEnd(108, "x"), "malformed"],
    ["PROXY TCP4 010.0.0.1 192.0.2.25 1 2\r\n", "malformed"],
    ["PROXY TCP4 203.0.113.7 192.0.2.025 1 2\r\n", "malformed"],
    ["PROXY TCP4 203.0.113.7 192.0.2.25 65536 143\r\n", "malformed"],
    ["PROXY TCP4 203.0.113.7 192.0.2.25 057 143\r\n", "malformed"],
    ["PROXY TCP4 203.0.113.7 192.0.2.25 -1 143\r\n", "malformed"],
    ["PROXY TCP6 203.0.113.7 192.0.2.25 1 2\r\n", "malformed"],
    ["PROXY TCP4 2001:db8::1 ::1 1 2\r\n", "malformed"],
    ["PROXY TCP4  203.0.113.7 192.0.2.25 1 2\r\n", "malformed"],
    ["PROXY TCP4 203.0.113.7 192.0.2.25 1 2 \r\n", "malformed"],
    ["PROXY  TCP4 203.0.113.7 192.0.2.25 1 2\r\n", "malformed"],
    ["PROXY TCP4 203.0.113.7 192.0.2.25 1\r\n", "malformed"],
    ["PROXY TCP4 203.0.113.7 192.0.2.25 1 2 3\r\n", "malformed"],
    ["PROXY TCP4 203.0.113.7\t192.0.2.25 1 2\r\n", "malformed"],
    ["PROXY TCP4 203.0.113.256 192.0.2.25 1 2\r\n", "malformed"],
    ["PROXY TCP6 2001:db8::1%eth0 ::1 1 2\r\n", "malformed"],
    ["PROXY TCP6 [2001:db8::1] ::1 1 2\r\n", "malformed"],
    ["PROXY TCP6 1::2::3 ::1 1 2\r\n", "malformed"],
    ["PROXY TCP6 12345::1 ::1 1 2\r\n", "malformed"],
    ["PROXY TCP6 ::ffff:010.0.0.1 ::1 1 2\r\n", "malformed"],
    ["PROXY UNKNOWN\rx\r\n", "malformed"],
    ["PROXY UNKNOWN\nx\r\n", "malformed"],
    ["PROXY UNKNOWNS\r\n", "malformed"],
    ["PROXY tcp4 203.0.113.7 192.0.2.25 1 2\r\n", "malformed"],
    ["PROXY \r\n", "malformed"],
    ["PROXY\r\n", "absent"],
    ["proxy TCP4 203.0.113.7 192.0.2.25 1 2\r\n", "absent"],
    ["PASS secret\r\n", "absent"],
    ["a LOGIN alice secret\r\n", "absent"],
    [" PROXY TCP4", "absent"],
  ];
  for (const [bytes, wanted] of cases)
    test(`${JSON.stringify(bytes)} is ${wanted}`, () => assert.equal(heard(line(bytes)), wanted));
});

describe("version 2", () => {
  const cases: readonly (readonly [name: string, bytes: Buffer, heard: string])[] = [
    ["TCP over IPv4", binary({ body: IPV4 }), "28: v2 203.0.113.7 57005 > 192.0.2.25 143"],
    ["TCP over IPv6", binary({ family: 0x21, body: IPV6 }), "52: v2 2001:db8::1 50000 > 2001:db8::25 993"],
    [
      "a mapped address, which is the IPv4 client that it is",
      binary({
        family: 0x21,
        body: Buffer.from(`${"00".repeat(10)}ffffcb007107${"00".repeat(10)}ffffc000021900010002`, "hex"),
      }),
      "52: v2 203.0.113.7 1 > 192.0.2.25 2",
    ],
    [
      "what stands behind it",
      Buffer.concat([binary({ body: IPV4 }), line("A LOGIN")]),
      "28: v2 203.0.113.7 57005 > 192.0.2.25 143",
    ],
    ["LOCAL", binary({ command: 0x20, family: 0, body: Buffer.alloc(0) }), "16: v2 local -"],
    [
      "LOCAL with a block that is skipped",
      binary({ command: 0x20, family: 0x45, body: line("anything") }),
      "24: v2 local -",
    ],
    ["LOCAL that claims an address", binary({ command: 0x20, body: IPV4 }), "28: v2 local -"],
    ["an unspecified family", binary({ family: 0, body: line("anything") }), "24: v2 -"],
    ["UDP, which nobody speaks here", binary({ family: 0x12, body: IPV4 }), "28: v2 -"],
    ["IPv4 of no transport", binary({ family: 0x10, body: IPV4 }), "28: v2 -"],
    ["a Unix socket", binary({ family: 0x31, body: Buffer.alloc(216) }), "232: v2 -"],
    ["its signature alone", SIGNATURE, "more"],
    ["half its signature", SIGNATURE.subarray(0, 6), "more"],
    ["no last byte", binary({ body: IPV4 }).subarray(0, 27), "more"],
    [
      "4 KiB",
      binary({ body: Buffer.concat([IPV4, tlv(TLV.noop, "x".repeat(4081))]) }),
      "4112: v2 203.0.113.7 57005 > 192.0.2.25 143",
    ],
    // Item 99.
    ["version 1", binary({ command: 0x11, body: IPV4 }), "malformed"],
    ["version 0", binary({ command: 0x01, body: IPV4 }), "malformed"],
    ["command 2", binary({ command: 0x22, body: IPV4 }), "malformed"],
    ["family 4", binary({ family: 0x41, body: IPV4 }), "malformed"],
    ["transport 3", binary({ family: 0x13, body: IPV4 }), "malformed"],
    ["a length of 65,535", binary({ body: IPV4, length: 65_535 }), "malformed"],
    ["4 KiB and a byte", binary({ body: IPV4, length: 4097 }), "malformed"],
    ["fewer bytes than addresses", binary({ body: IPV4.subarray(0, 11) }), "malformed"],
    ["IPv6 in IPv4's room", binary({ family: 0x21, body: IPV4 }), "malformed"],
    ["a Unix socket's in IPv4's room", binary({ family: 0x31, body: IPV4 }), "malformed"],
    ["a stray byte", binary({ body: Buffer.concat([IPV4, Buffer.of(0)]) }), "malformed"],
    ["two stray bytes", binary({ body: Buffer.concat([IPV4, Buffer.of(4, 0)]) }), "malformed"],
    [
      "a TLV past the end",
      binary({ body: Buffer.concat([IPV4, Buffer.of(TLV.alpn, 0, 5), line("imap")]) }),
      "malformed",
    ],
    [
      "a TLV past the end, and the client's bytes behind it",
      Buffer.concat([binary({ body: Buffer.concat([IPV4, Buffer.of(1, 0, 5), line("imap")]) }), line("p")]),
      "malformed",
    ],
    ["a right checksum", summed([]), "35: v2 203.0.113.7 57005 > 192.0.2.25 143"],
    ["a wrong checksum", summed([tlv(TLV.alpn, "imap")], 1), "malformed"],
    ["a checksum of 3 bytes", binary({ body: Buffer.concat([IPV4, tlv(TLV.crc32c, "abc")]) }), "malformed"],
    [
      "a TLV twice",
      binary({ body: Buffer.concat([IPV4, tlv(TLV.authority, "a"), tlv(TLV.authority, "b")]) }),
      "malformed",
    ],
    [
      "a name that is no UTF-8",
      binary({ body: Buffer.concat([IPV4, tlv(TLV.authority, "\xff")]) }),
      "malformed",
    ],
    [
      "a unique ID of 129 bytes",
      binary({ body: Buffer.concat([IPV4, tlv(TLV.uniqueId, "x".repeat(129))]) }),
      "malformed",
    ],
    ["SSL of 4 bytes", binary({ body: Buffer.concat([IPV4, tlv(TLV.ssl, "\x01\0\0\0")]) }), "malformed"],
    [
      "SSL whose parts run past its end",
      binary({ body: Buffer.concat([IPV4, tlv(TLV.ssl, "\x01\0\0\0\0\x21\0\x09TLSv1.3")]) }),
      "malformed",
    ],
    ["another signature", line("\r\n\r\n\0\r\nQUIT\r"), "absent"],
    ["empty lines", line("\r\n\r\n\r\n"), "absent"],
    ["a ClientHello", Buffer.of(0x16, 3, 1, 2), "absent"],
  ];
  for (const [name, bytes, wanted] of cases)
    test(`${name}: ${wanted}`, () => assert.equal(heard(bytes), wanted));
});

test("the TLVs worth knowing come out", () => {
  const reading = readProxyHeader(
    summed([
      tlv(TLV.alpn, "imap"),
      tlv(TLV.authority, "mail.example.org"),
      tlv(TLV.noop, "xyz"),
      tlv(TLV.noop, ""),
      tlv(TLV.uniqueId, "\x00\x01\xff"),
      tlv(TLV.netns, "blue"),
      tlv(0xea, "vpce-08d2bf15fac5001c9"),
      tlv(
        TLV.ssl,
        Buffer.concat([
          Buffer.of(0x05, 0, 0, 0, 0),
          tlv(TLV.sslVersion, "TLSv1.3"),
          tlv(TLV.sslCipher, "TLS_AES_256_GCM_SHA384"),
          tlv(TLV.sslCn, Buffer.from("Jörg", "utf8")),
        ]),
      ),
    ]),
  );
  assert.equal(reading.kind, "header");
  assert.deepEqual(reading.kind === "header" && reading.header.tlvs, {
    alpn: "imap",
    authority: "mail.example.org",
    uniqueId: Buffer.from("0001ff", "hex"),
    ssl: {
      client: 5,
      verify: 0,
      version: "TLSv1.3",
      cipher: "TLS_AES_256_GCM_SHA384",
      commonName: "Jörg",
    },
  });
});

test("the checksum is Castagnoli's (RFC 3720 B.4)", () => {
  assert.equal(crc32c(Buffer.alloc(32)), 0x8a9136aa);
  assert.equal(crc32c(Buffer.alloc(32, 0xff)), 0x62a8ab43);
  assert.equal(crc32c(Buffer.from("123456789")), 0xe3069283);
});

/** Headers and what is nearly one, with bytes behind. */
const ipv4 = fc.ipV4();
const number = fc.nat(70_000).map(String);
const lines = fc
  .tuple(fc.constantFrom("TCP4", "TCP6", "UNKNOWN", "TCP5"), ipv4, fc.oneof(ipv4, fc.ipV6()), number, number)
  .map((words) => line(`PROXY ${words.join(" ")}\r\n`));
const bodies = fc
  .tuple(
    fc.constantFrom(IPV4, IPV6, Buffer.alloc(0), Buffer.alloc(216)),
    fc.array(
      fc
        .tuple(fc.constantFrom(...Object.values(TLV), 0xe0), fc.uint8Array({ maxLength: 20 }))
        .map(([type, value]) => tlv(type, Buffer.from(value))),
      { maxLength: 4 },
    ),
  )
  .map(([addresses, tlvs]) => Buffer.concat([addresses, ...tlvs]));
const binaries = fc
  .tuple(fc.constantFrom(0x20, 0x21, 0x21, 0x21, 0x22), fc.constantFrom(0x11, 0x21, 0x00, 0x31, 0x41), bodies)
  .map(([command, family, body]) => binary({ command, family, body }));
const stream = fc
  .tuple(
    fc.oneof(lines, binaries, fc.uint8Array({ maxLength: 40 })),
    fc.uint8Array({ maxLength: 20 }),
    fc.option(fc.tuple(fc.nat(60), fc.nat(255)), { freq: 3 }),
  )
  .map(([header, behind, change]) => {
    const whole = Buffer.concat([header, behind]);
    if (change && change[0] < whole.length) whole[change[0]] = change[1];
    return whole;
  });

/** The first answer that is not "more", as bytes come in one by one. */
function bytewise(whole: Buffer): HeaderReading {
  for (let length = 0; length < whole.length; length += 1) {
    const reading = readProxyHeader(whole.subarray(0, length));
    if (reading.kind !== "more") return reading;
  }
  return readProxyHeader(whole);
}

test("any cutting of the bytes gives the same answer", () => {
  fc.assert(
    fc.property(stream, (whole) => {
      assert.deepEqual(bytewise(whole), readProxyHeader(whole));
    }),
    { numRuns: 3000 },
  );
});

test("what stands behind a header changes nothing and is never counted as its own", () => {
  fc.assert(
    fc.property(fc.oneof(lines, binaries), fc.uint8Array({ maxLength: 200 }), (header, behind) => {
      const alone = readProxyHeader(header);
      assert.deepEqual(readProxyHeader(Buffer.concat([header, behind])), alone);
      if (alone.kind === "header") assert.equal(alone.length, header.length);
    }),
    { numRuns: 3000 },
  );
});

test("nobody waits for more than 4 KiB and 16 bytes, or 107 of a line", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(line("PROXY "), SIGNATURE),
      fc.uint8Array({ minLength: 4112, maxLength: 4200 }),
      (a, b) => {
        const whole = Buffer.concat([a, b]);
        const bound = a === SIGNATURE ? 16 + 4096 : 107;
        assert.notEqual(readProxyHeader(whole.subarray(0, bound)).kind, "more");
      },
    ),
  );
});

test("the beginning alone tells a header from a command", () => {
  for (const whole of [line("PROXY TCP4"), SIGNATURE]) assert.equal(beginsHeader(whole), "yes");
  for (const part of ["", "P", "PROXY", "\r", "\r\n\r\n\0"]) assert.equal(beginsHeader(line(part)), "maybe");
  for (const other of ["PASS x", "a", "\r\n\r\nQ", "\x16"]) assert.equal(beginsHeader(line(other)), "no");
});
