import { Networks } from "../wire/networks.ts";
import { type Facts, networkOf } from "./limit-key.ts";

/** What holds for an address as long as the configuration does. */
interface Client {
  /** Never limited, never banned. */
  readonly exempt: boolean;
  /** Whoever counts as one client with it. */
  readonly ip: string;
}

interface Seen extends Client {
  readonly address: string;
  readonly claimed: boolean;
}

/** A power of two: a session asks a few times in a row, and a flood of strangers must leave nothing behind. */
const PLACES = 512;

/** Looks each address up once for the questions that come in a row. */
export class Clients {
  readonly #exempt: Networks;
  readonly #ipv6Prefix: number;
  /** Each address has one place, and shares it. */
  readonly #seen: (Seen | undefined)[] = Array(PLACES).fill(undefined);

  constructor(exempt: readonly string[], ipv6Prefix: number) {
    this.#exempt = new Networks(exempt);
    this.#ipv6Prefix = ipv6Prefix;
  }

  find({ ip: address, claimed = false }: Pick<Facts, "ip" | "claimed">): Client {
    const place = placeOf(address);
    const seen = this.#seen[place];
    if (seen?.address === address && seen.claimed === claimed) return seen;
    const exempt = this.#exempt.vouchFor(address, claimed);
    const found = { address, claimed, exempt, ip: networkOf(address, this.#ipv6Prefix) };
    this.#seen[place] = found;
    return found;
  }
}

function placeOf(address: string): number {
  let sum = 0;
  for (let at = 0; at < address.length; at += 1) sum = (sum * 31 + address.charCodeAt(at)) | 0;
  return sum & (PLACES - 1);
}
