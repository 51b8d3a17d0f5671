import { Networks } from "../wire/networks.ts";
import { asnName, countryCode } from "./geo/names.ts";
import { canonical, type Subject } from "./limit-key.ts";

/** Whom a limit is for, as configured. All that is given must fit. */
export interface Matching {
  readonly protocol?: readonly string[];
  readonly listener?: readonly string[];
  readonly network?: readonly string[];
  readonly user?: readonly string[];
  readonly domain?: readonly string[];
  /** Codes of countries; `unknown` is wherever the database does not know one. */
  readonly country?: readonly string[];
  /** Everywhere else, `unknown` too unless it is listed. */
  readonly notCountry?: readonly string[];
  readonly asn?: readonly (string | number)[];
  readonly notAsn?: readonly (string | number)[];
}

type Names = ReadonlySet<string | undefined> | undefined;

/** The same, to be asked. */
export class Match {
  readonly #match: Matching;
  readonly #networks: Networks | undefined;
  readonly #users: Names;
  readonly #domains: Names;
  readonly #countries: readonly [only: Names, not: Names];
  readonly #asns: readonly [only: Names, not: Names];

  constructor(match: Matching) {
    const { network, user, domain, country, notCountry, asn, notAsn } = match;
    this.#match = match;
    this.#networks = network && new Networks(network);
    this.#users = user && new Set(user.map(canonical));
    this.#domains = domain && new Set(domain.map(canonical));
    this.#countries = [setOf(country, countryCode), setOf(notCountry, countryCode)];
    this.#asns = [setOf(asn, asnName), setOf(notAsn, asnName)];
  }

  /** Whether this subject is meant; what nobody has asked about fits. */
  fits({ address, listener, protocol, user, domain, country, asn }: Subject): boolean {
    const { protocol: protocols, listener: listeners } = this.#match;
    if (protocols && protocol !== undefined && !protocols.includes(protocol)) return false;
    if (listeners && listener !== undefined && !listeners.includes(listener)) return false;
    if (this.#users && !this.#users.has(user)) return false;
    if (this.#domains && !this.#domains.has(domain)) return false;
    if (!isThere(country, this.#countries) || !isThere(asn, this.#asns)) return false;
    return address === undefined || (this.#networks?.contains(address) ?? true);
  }
}

function isThere(place: string | undefined, [only, not]: readonly [Names, Names]): boolean {
  return place === undefined || ((only?.has(place) ?? true) && !not?.has(place));
}

function setOf<Written>(
  list: readonly Written[] | undefined,
  name: (written: Written) => string | undefined,
): Names {
  return list && new Set(list.map(name));
}
