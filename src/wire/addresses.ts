const OCTET = "(?:0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])";
/** Four decimal numbers without leading zeros, which some readers would take for octal. */
const IPV4 = new RegExp(`^${OCTET}(?:\\.${OCTET}){3}$`);
/** What may stand in an IPv6 address; the rest of its grammar is the URL parser's to check. */
const IPV6_SIGNS = /^[0-9A-Fa-f:.]{2,45}$/;
const MAPPED = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/;
const PORT = /^(?:0|[1-9][0-9]{0,4})$/;

/** An IPv4 address, as it came, or undefined for anything else. */
export function parseIPv4(text: string): string | undefined {
  return IPV4.test(text) ? text : undefined;
}

/**
 * An IPv6 address without a zone, in the one spelling of RFC 5952, or undefined for anything else. A mapped one
 * (RFC 4291 2.5.5.2) is the IPv4 address that it is.
 */
export function parseIPv6(text: string): string | undefined {
  if (!IPV6_SIGNS.test(text) || !text.includes(":")) return undefined;
  const canonical = URL.parse(`http://[${text}]/`)?.hostname.slice(1, -1);
  const [, high, low] = MAPPED.exec(canonical ?? "") ?? [];
  if (high === undefined || low === undefined) return canonical;
  return [high, low]
    .map((half) => Number.parseInt(half, 16))
    .flatMap((half) => [half >> 8, half & 255])
    .join(".");
}

/** A TCP port in decimal, without leading zeros. */
export function parsePort(text: string): number | undefined {
  const port = PORT.test(text) ? Number(text) : undefined;
  return port !== undefined && port <= 65_535 ? port : undefined;
}
