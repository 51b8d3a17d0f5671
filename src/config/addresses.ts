import { BlockList, isIP } from "node:net";

/** Where something listens; no host is every address of the machine. */
export interface Binding {
  readonly host?: string;
  readonly port: number;
}

/** True for an address that only this machine can reach. */
export function isLoopback(host: string): boolean {
  if (host.toLowerCase() === "localhost") return true;
  const loopback = new BlockList();
  loopback.addSubnet("127.0.0.0", 8, "ipv4");
  loopback.addAddress("::1", "ipv6");
  return isIP(host) !== 0 && loopback.check(host, isIP(host) === 4 ? "ipv4" : "ipv6");
}

/** The same of whom a URL leads to, where an IPv6 address stands in brackets. */
export function leadsToLoopback({ hostname }: URL): boolean {
  return isLoopback(hostname.replace(/^\[(.*)\]$/, "$1"));
}

/** Shorter than any network of one owner: 10.0.0.0/8 and fc00::/7 are the largest that are. */
const SHORTEST = { 4: 8, 6: 7 } as const;

/** True for a network as large as the Internet, or a good part of it. */
export function isEverywhere(network: string): boolean {
  const [address = "", written] = network.split("/");
  const family = isIP(address) === 4 ? 4 : 6;
  if (written === undefined) return false;
  // RFC 4291 2.5.5.2: in a mapped network the IPv4 one begins behind 96 bits.
  const mapped = family === 6 && canonical(address).startsWith("[::ffff:") && Number(written) >= 96;
  return mapped ? Number(written) - 96 < SHORTEST[4] : Number(written) < SHORTEST[family];
}

/** True when two bindings cannot both be had; port 0 is never in the way. */
export function overlaps(a: Binding, b: Binding): boolean {
  if (a.port !== b.port || a.port === 0) return false;
  return isEveryAddress(a.host) || isEveryAddress(b.host) || sameHost(a.host, b.host);
}

/** True when connecting to `host` and `port` from this machine ends at the binding. */
export function leadsTo(host: string, port: number, binding: Binding): boolean {
  if (port !== binding.port || port === 0) return false;
  return isEveryAddress(binding.host)
    ? isLoopback(host) || isEveryAddress(host)
    : sameHost(host, binding.host);
}

function isEveryAddress(host: string | undefined): boolean {
  return host === undefined || ["0.0.0.0", "[::]"].includes(canonical(host));
}

function sameHost(a = "", b = ""): boolean {
  return canonical(a) === canonical(b);
}

/** One spelling for every way to write an IPv6 address. */
function canonical(host: string): string {
  if (isIP(host) !== 6 || host.includes("%")) return host.toLowerCase();
  return new URL(`http://[${host}]`).hostname;
}
