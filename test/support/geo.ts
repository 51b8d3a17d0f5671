import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";

const WRITER = fileURLToPath(new URL("write-mmdb.pl", import.meta.url));
const MAX_BYTES = 64 * 1024 * 1024;

export interface Mmdb {
  readonly type?: string;
  readonly ipVersion?: 4 | 6;
  readonly recordSize?: 24 | 28 | 32;
  /** Networks and the record of each; a smaller network cuts a hole into a larger one before it. */
  readonly networks: Readonly<Record<string, object>>;
}

/** A database in MaxMind's format, made by MaxMind's own writer. */
export function mmdb({ type = "Test", ipVersion = 6, recordSize = 24, networks }: Mmdb): Promise<Buffer> {
  const wanted = JSON.stringify({ type, ipVersion, recordSize, networks: Object.entries(networks) });
  return new Promise((resolve, reject) => {
    const child = execFile(
      "perl",
      [WRITER],
      { encoding: "buffer", maxBuffer: MAX_BYTES, timeout: 60_000 },
      (error, bytes) => (error ? reject(error) : resolve(bytes)),
    );
    child.stdin?.end(wanted);
  });
}

/** Countries by network, as GeoLite2-Country has them. */
export function countries(
  networks: Readonly<Record<string, string>>,
  more: Partial<Mmdb> = {},
): Promise<Buffer> {
  const records = Object.entries(networks).map(([network, code]) => [network, countryRecord(code)]);
  return mmdb({ type: "GeoLite2-Country", ...more, networks: Object.fromEntries(records) });
}

/** With what stands before the country in a record of a city. */
export function countryRecord(code: string): object {
  return {
    city: { geoname_id: 2950159, names: { en: "Somewhere", de: "Irgendwo" } },
    continent: { code: "EU", names: { en: "Europe" } },
    country: { geoname_id: 2921044, iso_code: code, names: { en: `Land of ${code}` } },
    location: { latitude: 52.5 },
    registered_country: { iso_code: "ZZ" },
  };
}

/** AS numbers by network, as GeoLite2-ASN has them. */
export function asns(networks: Readonly<Record<string, number>>, more: Partial<Mmdb> = {}): Promise<Buffer> {
  const records = Object.entries(networks).map(([network, number]) => [
    network,
    { autonomous_system_number: number, autonomous_system_organization: `Network ${number}` },
  ]);
  return mmdb({ type: "GeoLite2-ASN", ...more, networks: Object.fromEntries(records) });
}
