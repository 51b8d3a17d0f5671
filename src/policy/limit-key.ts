import { isIPv6 } from "node:net";

/** What is known of a session at an asking point. */
export interface Facts {
  readonly ip: string;
  readonly listener: string;
  readonly protocol: string;
  readonly user?: string;
  /** Whether the address is what a trusted proxy says, and not what our own socket does. */
  readonly claimed?: boolean;
}

export type KeyPart = "ip" | "user" | "domain" | "listener";

/** Control bytes never stand in a name, so a key's parts cannot run into each other. */
const BETWEEN = "\u0000";

/** The key of these facts, or undefined when a part of it is not known yet. */
export function limitKey(per: readonly KeyPart[], facts: Facts, ipv6Prefix: number): string | undefined {
  const parts: string[] = [];
  for (const part of per) {
    const value = keyPart(part, facts, ipv6Prefix);
    if (value === undefined) return undefined;
    parts.push(`${part}=${value}`);
  }
  return parts.join(BETWEEN);
}

/** A key as the log shows it. */
export function showKey(key: string): string {
  return key.replaceAll(BETWEEN, " ");
}

function keyPart(part: KeyPart, facts: Facts, ipv6Prefix: number): string | undefined {
  const user = facts.user?.normalize("NFC").toLowerCase();
  switch (part) {
    case "ip":
      return networkOf(facts.ip, ipv6Prefix);
    case "listener":
      return facts.listener;
    case "user":
      return user;
    case "domain":
      return user?.includes("@") ? user.slice(user.lastIndexOf("@") + 1) : undefined;
  }
}

/** An IPv4 address as it is, an IPv6 address as its network of `prefix` bits: whoever has one has all of it. */
export function networkOf(address: string, prefix: number): string {
  if (!isIPv6(address)) return address;
  const groups = expand(address.split("%")[0] ?? "");
  const [high = 0, low = 0] = groups.slice(6);
  // RFC 4291 2.5.5.2: a mapped address is the IPv4 client that it names.
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff) {
    return [high >> 8, high & 255, low >> 8, low & 255].join(".");
  }
  const kept = groups.map((group, index) => {
    const bits = Math.min(Math.max(prefix - index * 16, 0), 16);
    return group & ((0xffff << (16 - bits)) & 0xffff);
  });
  return `${kept.map((group) => group.toString(16)).join(":")}/${prefix}`;
}

/** The eight groups of an IPv6 address, RFC 4291 2.2. */
function expand(address: string): number[] {
  const dotted = address.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_whole, a, b, c, d) =>
    [(Number(a) << 8) | Number(b), (Number(c) << 8) | Number(d)].map((group) => group.toString(16)).join(":"),
  );
  const [head = "", tail] = dotted.split("::");
  const left = head ? head.split(":") : [];
  const right = tail ? tail.split(":") : [];
  const zeros = tail === undefined ? 0 : 8 - left.length - right.length;
  return [...left, ...Array<string>(zeros).fill("0"), ...right].map((group) => Number.parseInt(group, 16));
}
