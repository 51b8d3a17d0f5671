import { ipBytes, unmappedBytes } from "../../wire/ip-bytes.ts";
import { Mmdb } from "./mmdb.ts";
import { asnName, countryCode, UNKNOWN } from "./names.ts";

/** What a database is asked for. */
export type GeoKind = "country" | "asn";

interface Asked {
  /** Where makers put it in a record: MaxMind and who does as they do, and those who have flat records. */
  readonly paths: readonly (readonly string[])[];
  /** The form in which it is counted and compared; undefined for what is none. */
  readonly name: (found: string | number) => string | undefined;
  readonly what: string;
}

const ASKED: Readonly<Record<GeoKind, Asked>> = {
  country: {
    paths: [["country", "iso_code"], ["country_code"]],
    name: (found) => (typeof found === "string" ? countryCode(found) : undefined),
    what: "countries",
  },
  asn: {
    paths: [["autonomous_system_number"], ["asn"]],
    name: asnName,
    what: "AS numbers",
  },
};

/** Of so many records one must have what is asked for. */
const LOOKED_AT = 1_000;

/** A database of countries or of AS numbers. */
export class GeoDatabase {
  readonly #mmdb: Mmdb;
  readonly #asked: Asked;

  /** Throws, in an operator's words, for bytes that are no database of this kind. */
  constructor(bytes: Buffer, kind: GeoKind) {
    this.#mmdb = new Mmdb(bytes);
    this.#asked = ASKED[kind];
    if (!this.#mmdb.hasRecord((record) => this.#nameIn(record) !== undefined, LOOKED_AT))
      throw new Error(`holds no ${this.#asked.what}: it is a ${this.#mmdb.type}`);
  }

  get type(): string {
    return this.#mmdb.type;
  }

  get builtAt(): Date {
    return this.#mmdb.builtAt;
  }

  /** `DE`, or `AS64500`; `unknown` for an address that the database does not know, or that is none. Never throws. */
  find(address: string): string {
    const bytes = ipBytes(address);
    if (!bytes) return UNKNOWN;
    const record = this.#mmdb.find(unmappedBytes(bytes));
    return (record === undefined ? undefined : this.#nameIn(record)) ?? UNKNOWN;
  }

  #nameIn(record: number): string | undefined {
    try {
      for (const path of this.#asked.paths) {
        const found = this.#mmdb.read(record, path);
        if (found !== undefined) return this.#asked.name(found);
      }
      return undefined;
    } catch {
      // The file is broken just there.
      return undefined;
    }
  }
}
