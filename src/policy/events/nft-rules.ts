import { isIP } from "node:net";
import { Networks } from "../../wire/networks.ts";
import { networkOf } from "../limit-key.ts";
import type { Ban } from "../store/store.ts";

/** The sets' table, and what they are called; deploy/nftables has the rules that look into them. */
const TABLE = "inet postern";
const SETS = { banned4: "ipv4_addr", banned6: "ipv6_addr" } as const;
/** Elements of both sets together; those whose bans last longest. */
const MOST = 65_536;
/** Elements of one piece. */
const CHUNK = 1_000;
const ONLY_IP = /^ip=([^\0 ]+)$/u;

interface Element {
  /** An IPv4 address, or an IPv6 network as ADDRESS/PREFIX. */
  readonly net: string;
  readonly leftMs: number;
}

/**
 * What `nft -f` loads: the banned addresses in the place of those before, each until its ban ends. In pieces, for nobody
 * else works while one is made.
 */
export function* nftRules(bans: readonly Ban[], exempt: readonly string[]): Iterable<string> {
  const elements = elementsOf(bans);
  const spared = new Spared(exempt);
  yield `# Postern writes this file; nft -f FILE loads it whole.\nadd table ${TABLE}\n`;
  for (const [name, type] of Object.entries(SETS)) {
    yield `add set ${TABLE} ${name} { type ${type}; flags interval, timeout; }\nflush set ${TABLE} ${name}\n`;
    const mine = elements.filter(({ net }) => net.includes("/") === (name === "banned6"));
    for (let at = 0; at < mine.length; at += CHUNK) {
      const some = mine.slice(at, at + CHUNK).filter(({ net }) => isNet(net) && !spared.has(net));
      const list = some.map(({ net, leftMs }) => `  ${net} timeout ${inNft(leftMs)}`);
      if (list.length > 0) yield `add element ${TABLE} ${name} {\n${list.join(",\n")}\n}\n`;
    }
  }
}

/** Changes with the file, but for the time that has passed: whoever is banned, and until when. */
export function nftState(bans: readonly Ban[], now: number): number {
  let state = 0;
  for (const { key, leftMs } of bans) {
    if (!ONLY_IP.test(key)) continue;
    let hash = Math.round((now + leftMs) / 10_000) | 0;
    for (let at = 0; at < key.length; at += 1) hash = (Math.imul(hash, 31) + key.charCodeAt(at)) | 0;
    state = (state + Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d)) | 0;
  }
  return state;
}

function elementsOf(bans: readonly Ban[]): readonly Element[] {
  const all = bans.flatMap(({ key, leftMs }) => {
    const net = ONLY_IP.exec(key)?.[1];
    return net !== undefined && leftMs > 0 ? [{ net, leftMs }] : [];
  });
  if (all.length <= MOST) return withoutInner(all);
  return withoutInner(all.toSorted((one, other) => other.leftMs - one.leftMs).slice(0, MOST));
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
function withoutInner(elements: readonly Element[]): readonly Element[] {
  const prefixes = [...new Set(elements.flatMap(({ net }) => net.split("/")[1] ?? []))].map(Number);
  if (prefixes.length < 2) return elements;
  const nets = new Set(elements.map(({ net }) => net));
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
