import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type CountryResponse, Reader } from "mmdb-lib";
import { GeoDatabase } from "../../src/policy/geo/database.ts";
import { asnName, countryCode } from "../../src/policy/geo/names.ts";
import { asns, countries, mmdb } from "../support/geo.ts";
import { runProcess } from "../support/processes.ts";
import { temporaryFolder } from "../support/temp.ts";

const NETWORKS = {
  "198.51.100.0/22": "US",
  "203.0.113.0/24": "DE",
  "203.0.113.64/26": "NO",
  "203.0.113.77/32": "AT",
  "2001:db8::/32": "CH",
  "2001:db8:1::/48": "SE",
};
/** Inside and just outside, in every spelling. */
const PLACES = {
  "198.51.99.255": "unknown",
  "198.51.100.0": "US",
  "198.51.103.255": "US",
  "203.0.113.63": "DE",
  "203.0.113.64": "NO",
  "203.0.113.77": "AT",
  "203.0.113.127": "NO",
  "203.0.113.128": "DE",
  "::ffff:203.0.113.77": "AT",
  "::ffff:cb00:714d": "AT",
  "2001:db8::1": "CH",
  "2001:db8:1:ffff::": "SE",
  "2001:DB8:0:ffff::1": "CH",
  "2001:db9::": "unknown",
  "10.0.0.1": "unknown",
  "127.0.0.1": "unknown",
  "::1": "unknown",
  "fe80::1%eth0": "unknown",
};

for (const recordSize of [24, 28, 32] as const)
  test(`a database of ${recordSize} bits a record is read as its maker meant it`, async () => {
    const database = new GeoDatabase(await countries(NETWORKS, { recordSize }), "country");
    for (const [address, country] of Object.entries(PLACES))
      assert.equal(database.find(address), country, address);
    assert.equal(database.type, "GeoLite2-Country");
    assert.ok(Math.abs(database.builtAt.getTime() - Date.now()) < 60_000);
  });

test("a database of IPv4 alone knows no IPv6", async () => {
  const bytes = await asns({ "203.0.113.0/24": 64500, "192.0.2.0/24": 4294967295 }, { ipVersion: 4 });
  const database = new GeoDatabase(bytes, "asn");
  assert.equal(database.find("203.0.113.9"), "AS64500");
  assert.equal(database.find("::ffff:192.0.2.1"), "AS4294967295");
  assert.equal(database.find("2001:db8::1"), "unknown");
});

test("flat records are read too, as other makers have them", async () => {
  const record = { country: "Germany", country_code: "DE", asn: "AS64500", as_name: "Example" };
  const bytes = await mmdb({ networks: { "203.0.113.0/24": record } });
  assert.equal(new GeoDatabase(bytes, "country").find("203.0.113.9"), "DE");
  assert.equal(new GeoDatabase(bytes, "asn").find("203.0.113.9"), "AS64500");
});

test("MaxMind's own reader finds the same", async () => {
  await using folder = await temporaryFolder();
  const path = await folder.write("country.mmdb", await countries(NETWORKS, { recordSize: 28 }));
  for (const [address, country] of Object.entries(PLACES).filter(([ip]) => !/ffff:|%/i.test(ip))) {
    const args = ["--file", path, "--ip", address, "country", "iso_code"];
    const { stdout } = await runProcess("mmdblookup", args, { name: "mmdblookup" });
    assert.equal(/"([A-Z]{2})"/.exec(stdout)?.[1] ?? "unknown", country, address);
  }
});

const anyNetworks = fc.dictionary(
  fc.oneof(
    fc.tuple(fc.ipV4(), fc.integer({ min: 1, max: 32 })).map(([ip, bits]) => `${ip}/${bits}`),
    fc
      .tuple(fc.integer({ min: 0, max: 0xffff }), fc.integer({ min: 16, max: 64 }))
      .map(([group, bits]) => `2a00:${group.toString(16)}::/${bits}`),
  ),
  fc.constantFrom("DE", "AT", "CH", "US", "CN"),
  { minKeys: 1, maxKeys: 30 },
);

test("another library finds the same, whatever networks there are", async () => {
  await fc.assert(
    fc.asyncProperty(
      anyNetworks,
      fc.constantFrom(24 as const, 28 as const, 32 as const),
      fc.array(fc.oneof(fc.ipV4(), fc.ipV6()), { maxLength: 200 }),
      async (networks, recordSize, addresses) => {
        const bytes = await countries(networks, { recordSize });
        const database = new GeoDatabase(bytes, "country");
        const other = new Reader<CountryResponse>(bytes);
        const inside = Object.keys(networks).map((network) => network.split("/")[0] ?? "");
        for (const address of [...inside, ...addresses.filter((ip) => !/^::ffff:/i.test(ip))])
          assert.equal(database.find(address), other.get(address)?.country?.iso_code ?? "unknown", address);
      },
    ),
    { numRuns: 25 },
  );
});

test("no text is an address that it fails at", async () => {
  const database = new GeoDatabase(await countries(NETWORKS), "country");
  const any = fc.oneof(
    fc.string(),
    fc.ipV4(),
    fc.ipV6(),
    fc.string({ unit: fc.constantFrom(..."0aF:.%/[]") }),
  );
  fc.assert(
    fc.property(any, (address) => {
      assert.match(database.find(address), /^([A-Z]{2}|unknown)$/);
    }),
    { numRuns: 5_000 },
  );
});

test("a file of the other kind says what it is", async () => {
  const country = await countries(NETWORKS);
  const asn = await asns({ "203.0.113.0/24": 64500 });
  assert.throws(() => new GeoDatabase(asn, "country"), /^Error: holds no countries: it is a GeoLite2-ASN$/);
  assert.throws(
    () => new GeoDatabase(country, "asn"),
    /^Error: holds no AS numbers: it is a GeoLite2-Country$/,
  );
  const odd = await mmdb({ type: "Other\u001b[2J", networks: { "203.0.113.0/24": { isp: "DE" } } });
  assert.throws(() => new GeoDatabase(odd, "country"), /it is a Other\\u\{1b\}\[2J$/);
});

test("what is no database, or not all of one, is refused in words", async () => {
  const whole = await countries(NETWORKS);
  for (const [bytes, problem] of [
    [Buffer.alloc(0), /^Error: is no MaxMind database, or not all of one$/],
    [Buffer.from("country: DE\n"), /is no MaxMind database/],
    [Buffer.alloc(1_000_000, 7), /is no MaxMind database/],
    [whole.subarray(0, whole.length / 2), /is no MaxMind database, or not all of one/],
    [whole.subarray(0, whole.indexOf("MaxMind.com") + 11), /is a MaxMind database of a version/],
    [whole.subarray(200), /is a MaxMind database that is not whole|holds no countries/],
  ] as const)
    assert.throws(() => new GeoDatabase(Buffer.from(bytes), "country"), problem);
});

test("a file made to take all memory takes none", () => {
  // An array of 16 million, in an array of 16 million, in …
  const header = Buffer.from([0x1f, 0x04, 0xff, 0xff, 0xff]);
  const marker = Buffer.concat([Buffer.from("abcdef", "hex"), Buffer.from("MaxMind.com")]);
  const bytes = Buffer.concat([marker, ...Array<Buffer>(2_000).fill(header)]);
  const before = process.memoryUsage().rss;
  assert.throws(() => new GeoDatabase(bytes, "country"));
  assert.ok(process.memoryUsage().rss - before < 64 * 1024 * 1024);
});

test("whatever is wrong in a file, it is refused or read, and soon", async () => {
  const whole = await countries(NETWORKS, { recordSize: 28 });
  const change = fc.record({ at: fc.double({ min: 0, max: 0.999_999, noNaN: true }), byte: fc.nat(255) });
  fc.assert(
    fc.property(
      fc.array(change, { minLength: 1, maxLength: 40 }),
      fc.array(fc.oneof(fc.ipV4(), fc.ipV6(), fc.constantFrom(...Object.keys(PLACES))), { minLength: 5 }),
      (changes, addresses) => {
        const bytes = Buffer.from(whole);
        for (const { at, byte } of changes) bytes[Math.floor(at * bytes.length)] = byte;
        const began = performance.now();
        const database = opened(bytes);
        for (const address of addresses)
          if (database) assert.match(database.find(address), /^([A-Z]{2}|unknown)$/);
        assert.ok(performance.now() - began < 1_000);
      },
    ),
    { numRuns: 2_000 },
  );
});

function opened(bytes: Buffer): GeoDatabase | undefined {
  try {
    return new GeoDatabase(bytes, "country");
  } catch (error) {
    // In our own words, and none of V8's.
    assert.match((error as Error).message, /^(is (no|a) MaxMind database|holds no countries)/);
    return undefined;
  }
}

test("codes and numbers have one form, however they are written", () => {
  assert.deepEqual(["de", "DE", "No", "Unknown"].map(countryCode), ["DE", "DE", "NO", "unknown"]);
  assert.deepEqual(["D", "DEU", "", "D1", "ÄÖ"].map(countryCode), Array(5).fill(undefined));
  assert.deepEqual(["AS64500", "as64500", "64500", 64500].map(asnName), Array(4).fill("AS64500"));
  assert.deepEqual(["UNKNOWN"].map(asnName), ["unknown"]);
  assert.deepEqual([0, "AS0", -1, 1.5, 2 ** 32, "AS", "ASX", ""].map(asnName), Array(8).fill(undefined));
});
