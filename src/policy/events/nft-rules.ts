import { isIP, isIPv4 } from "node:net";
import { Networks } from "../../wire/networks.ts";
import { networkOf } from "../limit-key.ts";
import type { Ban } from "../store/store.ts";

/** The sets' table, and what they are called; deploy/nftables has the rules that look into them. */
const TABLE = "inet postern";
const SETS = { banned4: "ipv4_addr", banned6: "ipv6_addr" } as const;
/** Elements of both sets together; those whose bans last longest. */
const MOST = 65_536;
const ONLY_IP = /^ip=([^\0 ]+)$/u;

interface Element {
  /** An IPv4 address, or an IPv6 network as ADDRESS/PREFIX. */
  readonly net: string;
  readonly leftMs: number;
}

/** What `nft -f` loads: the banned addresses in the place of those before, each until its ban ends. */
export function nftRules(bans: readonly Ban[], exempt: readonly string[]): string {
  const elements = elementsOf(bans, exempt);
  const sets = Object.entries(SETS).map(([name, type]) => {
    const mine = elements.filter(({ net }) => isIPv4(net) === (name === "banned4"));
    const list = mine.map(({ net, leftMs }) => `  ${net} timeout ${inNft(leftMs)}`);
    const added = list.length === 0 ? "" : `add element ${TABLE} ${name} {\n${list.join(",\n")}\n}\n`;
    return `add set ${TABLE} ${name} { type ${type}; flags interval, timeout; }\nflush set ${TABLE} ${name}\n${added}`;
  });
  return `# Postern writes this file; nft -f FILE loads it whole.\nadd table ${TABLE}\n${sets.join("")}`;
}

/** Changes with the file, but for the time that has passed. */
export function nftState(bans: readonly Ban[], now: number): string {
  const ends = bans.flatMap(({ key, leftMs }) =>
    ONLY_IP.test(key) ? [`${key} ${Math.round((now + leftMs) / 10_000)}`] : [],
  );
  return ends.toSorted().join("\n");
}

function elementsOf(bans: readonly Ban[], exempt: readonly string[]): Element[] {
  const spared = new Spared(exempt);
  const all = bans.flatMap(({ key, leftMs }) => {
    const net = ONLY_IP.exec(key)?.[1] ?? "";
    return isNet(net) && leftMs > 0 && !spared.has(net) ? [{ net, leftMs }] : [];
  });
  const longest = withoutInner(all).toSorted((one, other) => other.leftMs - one.leftMs);
  return longest.slice(0, MOST);
}

/** Of seconds alone nft takes eight digits. */
function inNft(ms: number): string {
  const seconds = Math.ceil(ms / 1000);
  const days = Math.floor(seconds / 86_400);
  return days === 0 ? `${seconds}s` : `${days}d${Math.floor((seconds % 86_400) / 3_600)}h${seconds % 3_600}s`;
}

function isNet(text: string): boolean {
  const [address = "", prefix] = text.split("/");
  return isIP(address) === (prefix === undefined ? 4 : 6);
}

/** nft takes no network beside one that holds it, as bans from before a change of `ipv6Prefix` may be. */
function withoutInner(elements: readonly Element[]): Element[] {
  const nets = new Set(elements.map(({ net }) => net));
  const prefixes = [...new Set([...nets].flatMap((net) => net.split("/")[1] ?? []))].map(Number);
  return elements.filter(({ net }) => {
    const [address = "", prefix] = net.split("/");
    return !prefixes.some(
      (shorter) => prefix !== undefined && shorter < Number(prefix) && nets.has(networkOf(address, shorter)),
    );
  });
}

/** A ban says nothing to those who are exempt; the kernel must not know better. */
class Spared {
  readonly #networks: Networks;
  readonly #addresses: readonly string[];

  constructor(exempt: readonly string[]) {
    this.#networks = new Networks(exempt);
    this.#addresses = exempt.map((text) => text.split("/")[0] ?? "");
  }

  has(net: string): boolean {
    const [address = "", prefix] = net.split("/");
    if (this.#networks.contains(address)) return true;
    return prefix !== undefined && this.#addresses.some((one) => networkOf(one, Number(prefix)) === net);
  }
}
