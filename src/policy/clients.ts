import { Networks } from "../wire/networks.ts";
import { type Facts, networkOf } from "./limit-key.ts";

/** What holds for an address as long as the configuration does. */
interface Client {
  /** Never limited, never banned. */
  readonly exempt: boolean;
  /** Whoever counts as one client with it. */
  readonly ip: string;
}

/** Addresses remembered at once; a session asks about its own many times. */
const REMEMBERED = 10_000;

/** Looks each address up once for the many questions of its sessions. */
export class Clients {
  readonly #exempt: Networks;
  readonly #ipv6Prefix: number;
  readonly #seen = { own: new Map<string, Client>(), claimed: new Map<string, Client>() };

  constructor(exempt: readonly string[], ipv6Prefix: number) {
    this.#exempt = new Networks(exempt);
    this.#ipv6Prefix = ipv6Prefix;
  }

  find({ ip, claimed = false }: Pick<Facts, "ip" | "claimed">): Client {
    const seen = claimed ? this.#seen.claimed : this.#seen.own;
    const known = seen.get(ip);
    if (known) return known;
    if (seen.size >= REMEMBERED) seen.clear();
    const client = { exempt: this.#exempt.vouchFor(ip, claimed), ip: networkOf(ip, this.#ipv6Prefix) };
    seen.set(ip, client);
    return client;
  }
}
