import { ipBytes, unmappedBytes } from "../../wire/ip-bytes.ts";
import { Mmdb } from "./mmdb.ts";
import { asnName, countryCode, UNKNOWN } from "./names.ts";

/** What a database is asked for. */
export type GeoKind = "country" | "asn";

interface Asked {
  readonly path: readonly string[];
  /** The form in which it is counted and compared; undefined for what is none. */
  readonly name: (found: string | number) => string | undefined;
  readonly what: string;
}

const ASKED: Readonly<Record<GeoKind, Asked>> = {
  country: {
    path: ["country", "iso_code"],
    name: (found) => (typeof found === "string" ? countryCode(found) : undefined),
    what: "countries",
  },
  asn: {
    path: ["autonomous_system_number"],
    name: (found) => (typeof found === "number" ? asnName(found) : undefined),
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
      const found = this.#mmdb.read(record, this.#asked.path);
      return found === undefined ? undefined : this.#asked.name(found);
    } catch {
      // The file is broken just there.
      return undefined;
    }
  }
}
