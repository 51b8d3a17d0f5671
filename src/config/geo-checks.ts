import { GeoDatabase, type GeoKind } from "../policy/geo/database.ts";
import { type Entry, entriesOf } from "./entries.ts";
import { readFileBytes } from "./files.ts";
import type { Report } from "./report.ts";
import type { Config, LimitConfig } from "./schema.ts";

const MAX_BYTES = 1024 * 1024 * 1024;
const DAY = 86_400_000;
/** Makers of such files write new ones each week or month. */
const OLD = 90 * DAY;

/** What of a limit goes by which file. */
const GOES_BY = {
  country: ["country", "notCountry"],
  asn: ["asn", "notAsn"],
} as const satisfies Readonly<Record<GeoKind, readonly (keyof LimitConfig["match"])[]>>;
const KINDS = Object.keys(GOES_BY) as GeoKind[];

/** The files that say where addresses are, and the limits that go by them. */
export function checkGeo({ policy }: Config, report: Report): void {
  if (!policy || !report.whole("/policy/geo")) return;
  for (const kind of KINDS) {
    const path = policy.geo[kind];
    if (path !== undefined) checkDatabase(path, kind, report);
    else for (const limit of entriesOf(policy.limits, "/policy/limits", report)) lacks(kind, limit, report);
  }
  for (const limit of entriesOf(policy.limits, "/policy/limits", report)) checkCountries(limit, report);
}

function checkDatabase(path: string, kind: GeoKind, report: Report): void {
  const file = readFileBytes(path, MAX_BYTES);
  const pointer = `/policy/geo/${kind}`;
  try {
    if (!file.ok) throw new Error(`cannot be read: ${file.reason}`);
    const age = Date.now() - new GeoDatabase(file.bytes, kind).builtAt.getTime();
    if (age > OLD) report.warn(pointer, `is ${Math.floor(age / DAY)} days old`, { found: path });
  } catch (error) {
    report.error(pointer, error instanceof Error ? error.message : String(error), { found: path });
  }
}

function lacks(kind: GeoKind, { pointer, value }: Entry<LimitConfig>, report: Report): void {
  const message = `needs policy.geo.${kind}, which is not there`;
  const valid = `${kind}: PATH of a file in MaxMind's format (.mmdb) under policy.geo`;
  if (value.per.includes(kind)) report.error(`${pointer}/per`, message, { found: kind, valid });
  for (const key of GOES_BY[kind])
    if (value.match[key] !== undefined) report.error(`${pointer}/match/${key}`, message, { valid });
}

/** A code that is in no such file matches nobody, and its negative everybody. */
function checkCountries({ pointer, value: { match } }: Entry<LimitConfig>, report: Report): void {
  for (const key of GOES_BY.country)
    for (const code of match[key] ?? []) {
      const meant = meantBy(code.toUpperCase());
      if (meant === true) continue;
      report.warn(`${pointer}/match/${key}`, "names no country that is known here", {
        found: code,
        ...(meant && { valid: meant }),
      });
    }
}

const NAMES = new Intl.DisplayNames("en", { type: "region", fallback: "none" });

/** Has a name all the same: CLDR's word for no region. */
const NOBODYS = "ZZ";

/** True for a country's own code; the right one for another that is in use, such as UK. */
function meantBy(code: string): true | string | undefined {
  if (code === "UNKNOWN") return true;
  const { region } = new Intl.Locale(`und-${code}`);
  if (region !== undefined && region !== code) return region;
  return NAMES.of(code) === undefined || code === NOBODYS ? undefined : true;
}
