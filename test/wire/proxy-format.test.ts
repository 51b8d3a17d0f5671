import assert from "node:assert/strict";
import { isIPv6 } from "node:net";
import { test } from "node:test";
import fc from "fast-check";
import { asIpv6, ipBytes } from "../../src/wire/ip-bytes.ts";
import { formatProxyV1, formatProxyV2, type Spoken } from "../../src/wire/proxy-format.ts";
import { crc32c, SIGNATURE, TLV } from "../../src/wire/proxy-protocol.ts";

const spoken = (address: string, local: string, more: Partial<Spoken> = {}): Spoken => ({
  address,
  port: 4711,
  local: { address: local, port: 143 },
  session: "s1",
  ...more,
});

test("version 1, as text", () => {
  const line = (address: string, local: string, own = false) =>
    formatProxyV1(spoken(address, local, { own }));
  assert.equal(line("192.0.2.7", "192.0.2.1"), "PROXY TCP4 192.0.2.7 192.0.2.1 4711 143\r\n");
  assert.equal(
    line("2001:db8::7", "2001:db8::1"),
    "PROXY TCP6 2001:db8:0:0:0:0:0:7 2001:db8:0:0:0:0:0:1 4711 143\r\n",
  );
  assert.equal(
    line("192.0.2.7", "2001:db8::1"),
    "PROXY TCP6 0:0:0:0:0:ffff:c000:207 2001:db8:0:0:0:0:0:1 4711 143\r\n",
  );
  assert.equal(line("127.0.0.1", "192.0.2.1", true), "PROXY TCP4 127.0.0.1 192.0.2.1 4711 143\r\n");
  assert.equal(line("nobody knows", "192.0.2.1"), "PROXY UNKNOWN\r\n");
  assert.equal(line("", "", true), "PROXY UNKNOWN\r\n");
});

test("version 2, byte by byte", () => {
  const header = formatProxyV2(spoken("192.0.2.7", "192.0.2.1"));
  const expected = Buffer.from(
    `${SIGNATURE.toString("hex")}2111${"0018"}c0000207c000020112670${"08f"}050002${"7331"}030004`,
    "hex",
  );
  assert.deepEqual(header.subarray(0, -4), expected);
});

test("version 2 of a client in TLS: what is known of it, and its certificate's name", () => {
  const tls = { version: "TLSv1.3", cipher: "AES", serverName: "mail.example.org", alpn: "imap" };
  const parts = read(formatProxyV2(spoken("2001:db8::7", "2001:db8::1", { tls })));
  assert.equal(parts.family, 0x21);
  assert.equal(parts.tlvs.get(TLV.alpn)?.toString(), "imap");
  assert.equal(parts.tlvs.get(TLV.authority)?.toString(), "mail.example.org");
  assert.equal(parts.tlvs.get(TLV.uniqueId)?.toString(), "s1");
  const ssl = parts.tlvs.get(TLV.ssl) as Buffer;
  assert.equal(ssl.subarray(0, 5).toString("hex"), "0100000001");
  const inner = readTlvs(ssl.subarray(5));
  assert.equal(inner.get(TLV.sslVersion)?.toString(), "TLSv1.3");
  assert.equal(inner.get(TLV.sslCipher)?.toString(), "AES");
  assert.equal(inner.has(TLV.sslCn), false);

  const known = read(formatProxyV2(spoken("1.2.3.4", "1.2.3.5", { tls: { ...tls, commonName: "alice" } })));
  const withName = known.tlvs.get(TLV.ssl) as Buffer;
  assert.equal(withName.subarray(0, 5).toString("hex"), "0700000000");
  assert.equal(readTlvs(withName.subarray(5)).get(TLV.sslCn)?.toString(), "alice");
});

test("version 2: of our own, of two families, and of no address at all", () => {
  const own = formatProxyV2(spoken("192.0.2.7", "192.0.2.1", { own: true }));
  assert.equal(own[12], 0x20);
  assert.equal(read(own).family, 0);
  const mixed = read(formatProxyV2(spoken("192.0.2.7", "2001:db8::1")));
  assert.equal(mixed.family, 0x21);
  assert.equal(mixed.addresses.subarray(0, 16).toString("hex"), "00000000000000000000ffffc0000207");
  assert.equal(read(formatProxyV2(spoken("", "192.0.2.1"))).family, 0);
});

test("whatever a client's TLS says, a header is whole and its checksum right", () => {
  const text = fc.string({ unit: "binary", maxLength: 400 });
  fc.assert(
    fc.property(fc.ipV4(), fc.ipV6(), text, text, text, (ipv4, ipv6, serverName, alpn, commonName) => {
      const tls = { version: "TLSv1.3", cipher: "AES", serverName, alpn, commonName };
      for (const address of [ipv4, ipv6]) {
        const client = spoken(address, ipv4, { tls });
        const header = formatProxyV2(client);
        assert.equal(header.readUInt16BE(14), header.length - 16);
        const zeroed = Buffer.concat([header.subarray(0, -4), Buffer.alloc(4)]);
        assert.equal(crc32c(zeroed), header.readUInt32BE(header.length - 4));
        assert.match(formatProxyV1(client), /^PROXY TCP[46] [0-9a-f.:]+ [0-9a-f.:]+ \d+ \d+\r\n$/);
        assert.ok(formatProxyV1(client).length <= 107);
      }
    }),
  );
});

test("addresses as bytes", () => {
  const hex = (text: string) => ipBytes(text)?.toString("hex");
  assert.equal(hex("192.0.2.1"), "c0000201");
  assert.equal(hex("::"), "0".repeat(32));
  assert.equal(hex("::1"), `${"0".repeat(31)}1`);
  assert.equal(hex("fe80::1%eth0"), `fe80${"0".repeat(27)}1`);
  assert.equal(hex("::ffff:192.0.2.1"), "00000000000000000000ffffc0000201");
  for (const wrong of [
    "",
    "1.2.3",
    "1.2.3.256",
    "01.2.3.4",
    "1::2::3",
    ":::",
    "1:2:3:4:5:6:7:8:9",
    "12345::",
    "g::",
  ])
    assert.equal(hex(wrong), undefined, wrong);
  fc.assert(
    fc.property(fc.ipV6(), (address) => {
      const bytes = ipBytes(address) as Buffer;
      assert.equal(bytes.length, 16);
      assert.ok(isIPv6(address));
      assert.equal(asIpv6(bytes), bytes);
    }),
  );
});

interface Parts {
  readonly family: number;
  readonly addresses: Buffer;
  readonly tlvs: ReadonlyMap<number, Buffer>;
}

function read(header: Buffer): Parts {
  assert.deepEqual(header.subarray(0, 12), SIGNATURE);
  assert.equal(header.readUInt16BE(14), header.length - 16);
  const family = header[13] ?? -1;
  const length = family === 0x11 ? 12 : family === 0x21 ? 36 : 0;
  const body = header.subarray(16);
  return { family, addresses: body.subarray(0, length), tlvs: readTlvs(body.subarray(length)) };
}

function readTlvs(bytes: Buffer): Map<number, Buffer> {
  const tlvs = new Map<number, Buffer>();
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readUInt16BE(at + 1);
    assert.ok(at + 3 + length <= bytes.length);
    tlvs.set(bytes[at] ?? -1, bytes.subarray(at + 3, at + 3 + length));
    at += 3 + length;
  }
  return tlvs;
}
