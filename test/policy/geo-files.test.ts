import assert from "node:assert/strict";
import { rename } from "node:fs/promises";
import { test } from "node:test";
import { GeoFiles, readPlaces } from "../../src/policy/geo/geo-files.ts";
import { asns, countries } from "../support/geo.ts";
import { type TemporaryFolder, temporaryFolder } from "../support/temp.ts";
import { eventually } from "../support/waiting.ts";

const QUICK = { settleMs: 5, pollMs: 20, graceMs: 40 };
const ADDRESS = "203.0.113.7";

function files() {
  const told: string[] = [];
  const geo = new GeoFiles(
    {
      taken: (path, type) => told.push(`taken ${path} ${type}`),
      broken: (path, reason) => told.push(`broken ${path} ${reason}`),
    },
    QUICK,
  );
  return { geo, told };
}

/** As geoipupdate does it. */
async function replace(folder: TemporaryFolder, name: string, content: Uint8Array): Promise<void> {
  await rename(await folder.write(`${name}.new`, content), folder.at(name));
}

test("a new file is in use soon, and a broken one leaves the old one in use and is told once", async () => {
  await using folder = await temporaryFolder();
  const path = await folder.write("country.mmdb", await countries({ "203.0.113.0/24": "DE" }));
  const { geo, told } = files();
  using rooms = new DisposableStack();
  const places = await geo.places({ country: path }, rooms);
  assert.ok(places);
  assert.deepEqual([places.kinds, places.find(ADDRESS), places.edition], [["country"], { country: "DE" }, 0]);

  await replace(folder, "country.mmdb", await countries({ "203.0.113.0/24": "AT" }));
  await eventually("the new file", () => places.find(ADDRESS).country === "AT");
  assert.equal(places.edition, 1);

  await replace(folder, "country.mmdb", await asns({ "203.0.113.0/24": 64500 }));
  await eventually("a word about it", () => told.length === 2);
  assert.equal(places.find(ADDRESS).country, "AT");
  assert.deepEqual(told, [
    `taken ${path} GeoLite2-Country`,
    `broken ${path} holds no countries: it is a GeoLite2-ASN`,
  ]);

  await replace(folder, "country.mmdb", await countries({ "203.0.113.0/24": "CH" }));
  await eventually("the next one", () => places.find(ADDRESS).country === "CH");
  assert.equal(told.length, 3);
});

test("a file is in memory once, however many use it, and followed until nobody does", async () => {
  await using folder = await temporaryFolder();
  const path = await folder.write("asn.mmdb", await asns({ "203.0.113.0/24": 64500 }));
  const { geo, told } = files();
  const before = new DisposableStack();
  const after = new DisposableStack();
  const [first, second] = await Promise.all([
    geo.places({ asn: path }, before),
    geo.places({ asn: path }, after),
  ]);
  before.dispose();
  await replace(folder, "asn.mmdb", await asns({ "203.0.113.0/24": 64501 }));
  await eventually("the new file", () => second?.find(ADDRESS).asn === "AS64501");
  assert.equal(first?.find(ADDRESS).asn, "AS64501");
  assert.equal(told.length, 1);
  after.dispose();
  await replace(folder, "asn.mmdb", await asns({ "203.0.113.0/24": 64502 }));
  using again = new DisposableStack();
  const third = await geo.places({ asn: path }, again);
  assert.equal(third?.find(ADDRESS).asn, "AS64502");
  assert.equal(second?.find(ADDRESS).asn, "AS64501");
});

test("what cannot be used is told with its key and its path", async () => {
  await using folder = await temporaryFolder();
  const { geo } = files();
  using rooms = new DisposableStack();
  const path = folder.at("country.mmdb");
  const open = () => geo.places({ country: path }, rooms);
  await assert.rejects(open, { message: `policy.geo.country: ${path}: cannot be read: ENOENT` });
  await folder.write("country.mmdb", "DE\n");
  await assert.rejects(open, {
    message: `policy.geo.country: ${path}: is no MaxMind database, or not all of one`,
  });
  await assert.rejects(geo.places({ asn: folder.path }, rooms), {
    message: `policy.geo.asn: ${folder.path}: is not a regular file`,
  });
});

test("without files nothing is known, and nothing is looked for", async () => {
  using rooms = new DisposableStack();
  assert.equal(await files().geo.places({}, rooms), undefined);
  assert.equal(await readPlaces({}), undefined);
});

test("whoever asks once gets both", async () => {
  await using folder = await temporaryFolder();
  const country = await folder.write("country.mmdb", await countries({ "203.0.113.0/24": "DE" }));
  const asn = await folder.write("asn.mmdb", await asns({ "203.0.113.0/25": 64500 }));
  const places = await readPlaces({ country, asn });
  assert.deepEqual(places?.find(ADDRESS), { country: "DE", asn: "AS64500" });
  assert.deepEqual(places?.find("203.0.113.200"), { country: "DE", asn: "unknown" });
});
