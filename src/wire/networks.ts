import { BlockList, isIP, isIPv4 } from "node:net";

interface Network {
  readonly address: string;
  readonly prefix: number;
  readonly family: "ipv4" | "ipv6";
}

const MAPPED_BITS = 96;

/** Whether the text is an address, or a network such as `10.0.0.0/8`. */
export function isNetwork(text: string): boolean {
  return parseNetwork(text) !== undefined;
}

/** Networks of both families to ask for an address. Two lists: to `net.BlockList`, ::/0 holds all of IPv4 too. */
export class Networks {
  readonly #lists = { ipv4: new BlockList(), ipv6: new BlockList() };

  /** Throws a TypeError for a text that `isNetwork` does not take. */
  constructor(networks: readonly string[]) {
    for (const text of networks) {
      const network = parseNetwork(text);
      if (!network) throw new TypeError("not a network");
      const { address, prefix, family } = network;
      this.#lists[family].addSubnet(address, prefix, family);
    }
  }

  /** Whether an address stands in one of them; an IPv4-mapped IPv6 address is the IPv4 one that it is. */
  contains(address: string): boolean {
    const [bare = ""] = address.split("%");
    const plain = unmappedAddress(bare);
    const version = isIP(plain);
    const family = version === 4 ? "ipv4" : "ipv6";
    return version !== 0 && this.#lists[family].check(plain, family);
  }

  /**
   * Whether a client's address stands in one of them, where that gives it rights. A proxy may say of its client what
   * it likes, but not that it is this machine: nobody from outside is.
   */
  vouchFor(address: string, claimed = false): boolean {
    return this.contains(address) && !(claimed && LOOPBACK.contains(address));
  }
}

const LOOPBACK = new Networks(["127.0.0.0/8", "::1"]);

function parseNetwork(text: string): Network | undefined {
  const [address = "", written, ...rest] = text.split("/");
  if (rest.length > 0 || isIP(address) === 0 || address.includes("%")) return undefined;
  const bits = isIPv4(address) ? 32 : 128;
  if (written !== undefined && !/^(0|[1-9]\d{0,2})$/.test(written)) return undefined;
  const prefix = written === undefined ? bits : Number(written);
  if (prefix > bits) return undefined;
  return unmapped({ address, prefix, family: bits === 32 ? "ipv4" : "ipv6" });
}

/** A mapped network of 96 bits and more is an IPv4 network in disguise. */
function unmapped(network: Network): Network {
  const inner = unmappedAddress(network.address);
  if (inner === network.address || network.prefix < MAPPED_BITS) return network;
  return { address: inner, prefix: network.prefix - MAPPED_BITS, family: "ipv4" };
}

/** RFC 4291 section 2.5.5.2, in both spellings, such as ::ffff:192.0.2.1 and ::ffff:c000:201. */
function unmappedAddress(address: string): string {
  if (isIP(address) !== 6) return address;
  const canonical = new URL(`http://[${address}]`).hostname;
  const [, high, low] = /^\[::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})\]$/.exec(canonical) ?? [];
  if (high === undefined || low === undefined) return address;
  return [high, low]
    .map((half) => Number.parseInt(half, 16))
    .flatMap((half) => [half >> 8, half & 255])
    .join(".");
}
