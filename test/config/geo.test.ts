import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { before, test } from "node:test";
import { parseConfig } from "../../src/config/load.ts";
import { asns, countries } from "../support/geo.ts";
import { fileWith, linesOf, mustLoad, newFolder } from "./workspace.ts";

const folder = newFolder({ "text.mmdb": "DE\n" });
const path = `${folder}/postern.yaml`;
before(async () => {
  const country = await countries({ "203.0.113.0/24": "DE" });
  writeFileSync(`${folder}/country.mmdb`, country);
  writeFileSync(`${folder}/asn.mmdb`, await asns({ "203.0.113.0/24": 64500 }));
  writeFileSync(`${folder}/half.mmdb`, country.subarray(0, country.length / 2));
  writeFileSync(`${folder}/old.mmdb`, aged(country));
});

/** The same, built in 2001. */
function aged(bytes: Buffer): Buffer {
  const old = Buffer.from(bytes);
  const at = old.lastIndexOf("build_epoch") + "build_epoch".length;
  // Behind the name: a uint64 of four bytes.
  old.writeUInt32BE(1_000_000_000, at + 2);
  return old;
}

const GEO = "geo: { country: country.mmdb, asn: asn.mmdb }";
const limit = (keys: string) => `{ name: abroad, count: logins, per: ip, limit: 0, ${keys} }`;
const text = (geo: string, ...limits: string[]) =>
  fileWith({ policy: `policy: { ${[geo, `limits: [${limits.join(", ")}]`].filter(Boolean).join(", ")} }` });
const problems = (geo: string, ...limits: string[]) =>
  linesOf(parseConfig(text(geo, ...limits), path, {}), "problems");
const warnings = (geo: string, ...limits: string[]) =>
  linesOf(parseConfig(text(geo, ...limits), path, {}), "warnings");

test("everything that goes by places is taken, in every spelling", () => {
  const limits = [
    limit("match: { notCountry: [DE, at, NO, unknown] }"),
    "{ name: a, count: connections, per: [country, asn], limit: 0/1h, match: { country: DE, notAsn: 64501 } }",
    "{ name: b, count: sessions, per: [user, asn], limit: 5, match: { asn: [AS64500, as64501, 64502] } }",
  ];
  assert.deepEqual(problems(GEO, ...limits), []);
  assert.deepEqual(warnings(GEO, ...limits), []);
  const { policy } = mustLoad(text(GEO, ...limits), path);
  assert.deepEqual(policy.geo, { country: `${folder}/country.mmdb`, asn: `${folder}/asn.mmdb` });
  assert.deepEqual(policy.limits[0]?.match.notCountry, ["DE", "at", "NO", "unknown"]);
  assert.deepEqual(policy.limits[0]?.limit, { points: 0 });
});

for (const [what, geo, problem] of [
  ["that is missing", "country: none.mmdb", "policy.geo.country: cannot be read: there is no such file"],
  ["that is a folder", "asn: .", "policy.geo.asn: cannot be read: it is a folder"],
  [
    "of another format",
    "country: text.mmdb",
    "policy.geo.country: is no MaxMind database, or not all of one",
  ],
  [
    "that is cut short",
    "country: half.mmdb",
    "policy.geo.country: is no MaxMind database, or not all of one",
  ],
  ["of ASNs", "country: asn.mmdb", "policy.geo.country: holds no countries: it is a GeoLite2-ASN"],
  ["of countries", "asn: country.mmdb", "policy.geo.asn: holds no AS numbers: it is a GeoLite2-Country"],
] as const)
  test(`a file ${what} is told by line and column`, () => {
    const [said, ...more] = problems(`geo: { ${geo} }`);
    assert.ok(said?.startsWith(`${path}:5:`), said);
    assert.ok(said?.includes(`: ${problem} (found ${folder}`), said);
    assert.deepEqual(more, []);
  });

for (const [keys, at, kind] of [
  ["{ name: a, count: logins, per: [user, country], limit: 1/1h }", "per", "country"],
  ["{ name: a, count: logins, per: asn, limit: 1/1h }", "per", "asn"],
  [limit("match: { country: DE }"), "match.country", "country"],
  [limit("match: { notCountry: [DE] }"), "match.notCountry", "country"],
  [limit("match: { asn: 64500 }"), "match.asn", "asn"],
  [limit("match: { notAsn: AS64500 }"), "match.notAsn", "asn"],
] as const)
  test(`a limit with ${at} of ${kind} wants the file`, () => {
    const other = kind === "asn" ? "geo: { country: country.mmdb }" : "geo: { asn: asn.mmdb }";
    for (const geo of ["", other]) {
      const [said, ...more] = problems(geo, keys);
      const wanted = `policy.limits[0].${at}: needs policy.geo.${kind}, which is not there`;
      assert.ok(said?.includes(wanted), said);
      assert.deepEqual(more, []);
    }
  });

for (const value of ["Germany", "D", '""', "49", "[DE, X1]"])
  test(`${value} is no country`, () => {
    const [said, ...more] = problems(GEO, limit(`match: { notCountry: ${value} }`));
    assert.match(said ?? "", /match\.notCountry.*valid: .*a country's two letters such as DE, or unknown/);
    assert.deepEqual(more, []);
  });

for (const value of ["0", "AS0", "4294967296", "AS4294967296", "ASN1", "1.5", "[64500, x]"])
  test(`${value} is no AS number`, () => {
    const [said, ...more] = problems(GEO, limit(`match: { asn: ${value} }`));
    assert.match(said ?? "", /match\.asn.*valid: .*an AS number such as AS64500, or unknown/);
    assert.deepEqual(more, []);
  });

test("a code that no file has is warned of, and the right one is named", () => {
  const said = warnings(GEO, limit("match: { country: [uk, DE], notCountry: ZZ }"));
  assert.equal(said.length, 2);
  assert.match(said[0] ?? "", /match\.country: names no country that is known here \(found uk; valid: GB\)/);
  assert.match(said[1] ?? "", /match\.notCountry: names no country that is known here \(found ZZ\)/);
});

test("a file that nobody has renewed for long is warned of", () => {
  const said = warnings("geo: { country: old.mmdb }");
  assert.match(said[0] ?? "", /policy\.geo\.country: is \d{4} days old \(found /);
});

test("what the documentation shows is taken", async () => {
  const docs = await readFile(new URL("../../docs/policy.md", import.meta.url), "utf8");
  const [, shown = ""] = /```yaml\n(policy:\n {2}geo: .*?)```/s.exec(docs) ?? [];
  const here = shown.replace(/\S*-Country\.mmdb/, "country.mmdb").replace(/\S*-ASN\.mmdb/, "asn.mmdb");
  assert.notEqual(here, shown);
  const result = parseConfig(fileWith({ policy: here }), path, {});
  assert.deepEqual([...linesOf(result, "problems"), ...linesOf(result, "warnings")], []);
});

test("none at all needs no period, and is no amount of bytes", () => {
  assert.deepEqual(problems("", "{ name: a, count: messages, per: ip, limit: 0 }"), []);
  assert.deepEqual(problems("", "{ name: a, count: sessions, per: ip, limit: 0 }"), []);
  assert.match(
    problems("", "{ name: a, count: bytesIn, per: ip, limit: 0 }")[0] ?? "",
    /limit: must be a size/,
  );
  assert.match(
    problems("", "{ name: a, count: bytesIn, per: ip, limit: 0B/1d }")[0] ?? "",
    /limit: is not valid here/,
  );
});
