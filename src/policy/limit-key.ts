import { isIP, isIPv6 } from "node:net";
import { asnName, countryCode } from "./geo/names.ts";
import type { Place } from "./geo/places.ts";

/** What is known of a session at an asking point. */
export interface Facts {
  readonly ip: string;
  readonly listener: string;
  readonly protocol: string;
  readonly user?: string;
  /** Known from routing on. */
  readonly backend?: string;
  /** Whether the address is what a trusted proxy says, and not what our own socket does. */
  readonly claimed?: boolean;
}

/** Facts in the form in which they are counted and compared; what is not known, or not asked about, is absent. */
export interface Subject {
  /** The address as it was written, to be looked for in networks. */
  readonly address?: string | undefined;
  /** Whoever counts as one client. */
  readonly ip?: string | undefined;
  readonly listener?: string | undefined;
  readonly protocol?: string | undefined;
  readonly user?: string | undefined;
  readonly domain?: string | undefined;
  readonly backend?: string | undefined;
  /** Where the address is, in the form in which places are compared; absent where nobody looks. */
  readonly country?: string | undefined;
  readonly asn?: string | undefined;
}

/** All that a key can be made of. */
export const PARTS = ["ip", "user", "domain", "listener", "protocol", "backend", "country", "asn"] as const;
export type KeyPart = (typeof PARTS)[number];

/** Control bytes never stand in a name, so a key's parts cannot run into each other. */
const BETWEEN = "\u0000";

/** The facts about one client; its `ip` is what `networkOf` makes of its address. */
export function subjectOf(facts: Partial<Facts>, { ip, place }: { ip?: string; place?: Place }): Subject {
  const { listener, protocol, backend } = facts;
  const user = facts.user === undefined ? undefined : canonical(facts.user);
  const domain = user && domainOf(user);
  return { address: facts.ip, ip, listener, protocol, user, domain, backend, ...place };
}

/** The form in which names are compared, as `auth/name.ts` finds users by it: no two spellings have two counters. */
export function canonical(name: string): string {
  return name.normalize("NFC").toLowerCase().normalize("NFC");
}

function domainOf(user: string): string | undefined {
  return user.includes("@") ? user.slice(user.lastIndexOf("@") + 1) : undefined;
}

/** The key of a subject, or undefined when a part of it is not known. */
export function limitKey(per: readonly KeyPart[], subject: Subject): string | undefined {
  let key = "";
  for (const part of per) {
    const value = subject[part];
    if (value === undefined) return undefined;
    key += key === "" ? `${part}=${value}` : `${BETWEEN}${part}=${value}`;
  }
  return key;
}

/** A key as the log shows it. */
export function showKey(key: string): string {
  return key.replaceAll(BETWEEN, " ");
}

/** The key that an operator means by `ip=203.0.113.5` or `user=alice ip=203.0.113.5`; undefined when it is none. */
export function readKey(text: string, ipv6Prefix: number): string | undefined {
  const parts = text.split(new RegExp(`[ ${BETWEEN}](?=(?:${PARTS.join("|")})=)`));
  const read = parts.map((part) => readPart(part, ipv6Prefix));
  if (read.includes(undefined)) return undefined;
  const place = (part: string | undefined) => PARTS.findIndex((name) => part?.startsWith(`${name}=`));
  return read.toSorted((one, other) => place(one) - place(other)).join(BETWEEN);
}

/** The parts in the one order in which keys have them, however a limit lists them. */
export function inOrder(per: readonly KeyPart[]): KeyPart[] {
  return PARTS.filter((part) => per.includes(part));
}

/** Which parts a key has. */
export function partsOf(key: string): KeyPart[] {
  const parts = key.split(BETWEEN);
  return PARTS.filter((name) => parts.some((part) => part.startsWith(`${name}=`)));
}

/** A key's parts with their values. */
export function membersOf(key: string): Readonly<Partial<Record<KeyPart, string>>> {
  const parts = key.split(BETWEEN).map((part) => {
    const at = part.indexOf("=");
    return [part.slice(0, at), part.slice(at + 1)];
  });
  return Object.fromEntries(parts);
}

function readPart(text: string, ipv6Prefix: number): string | undefined {
  const [, name, value = ""] = /^([a-z]+)=(.+)$/su.exec(text) ?? [];
  if (!PARTS.some((part) => part === name)) return undefined;
  if (name === "country") return withName(name, countryCode(value));
  if (name === "asn") return withName(name, asnName(value));
  if (name !== "ip") return `${name}=${name === "user" || name === "domain" ? canonical(value) : value}`;
  const [address = "", prefix, ...rest] = value.split("/");
  const whole = prefix === undefined || (isIPv6(address) && prefix === String(ipv6Prefix));
  return isIP(address) && whole && rest.length === 0 ? `ip=${networkOf(address, ipv6Prefix)}` : undefined;
}

function withName(name: KeyPart, value: string | undefined): string | undefined {
  return value && `${name}=${value}`;
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
