import { Networks } from "../wire/networks.ts";
import type { Place, Places } from "./geo/places.ts";
import { type Facts, networkOf } from "./limit-key.ts";

/** What holds for an address as long as the configuration does, and the files that say where addresses are. */
interface Client {
  /** Never limited, never banned. */
  readonly exempt: boolean;
  /** Whoever counts as one client with it. */
  readonly ip: string;
  readonly place: Place;
}

interface Seen extends Client {
  readonly address: string;
  readonly claimed: boolean;
  /** Of the places. */
  readonly edition: number;
}

/** A power of two: a session asks a few times in a row, and a flood of strangers must leave nothing behind. */
const SLOTS = 512;
const NOWHERE: Place = {};

/** Looks each address up once for the questions that come in a row. */
export class Clients {
  readonly #exempt: Networks;
  readonly #ipv6Prefix: number;
  readonly #places: Places | undefined;
  /** Each address has one slot, and shares it. */
  readonly #seen: (Seen | undefined)[] = Array(SLOTS).fill(undefined);

  constructor(exempt: readonly string[], ipv6Prefix: number, places?: Places) {
    this.#exempt = new Networks(exempt);
    this.#ipv6Prefix = ipv6Prefix;
    this.#places = places;
  }

  find({ ip: address, claimed = false }: Pick<Facts, "ip" | "claimed">): Client {
    const slot = slotOf(address);
    const edition = this.#places?.edition ?? 0;
    const seen = this.#seen[slot];
    if (seen?.address === address && seen.claimed === claimed && seen.edition === edition) return seen;
    const exempt = this.#exempt.vouchFor(address, claimed);
    const place = this.#places?.find(address) ?? NOWHERE;
    const found = { address, claimed, edition, exempt, ip: networkOf(address, this.#ipv6Prefix), place };
    this.#seen[slot] = found;
    return found;
  }
}

function slotOf(address: string): number {
  let sum = 0;
  for (let at = 0; at < address.length; at += 1) sum = (sum * 31 + address.charCodeAt(at)) | 0;
  return sum & (SLOTS - 1);
}
