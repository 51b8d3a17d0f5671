import type { Socket } from "node:net";
import type { ProxyHeader } from "../wire/proxy-header.ts";

interface Address {
  readonly address: string;
  readonly port: number;
}

export interface AcceptedPeer extends Address {
  readonly local: Address;
  readonly via?: Address;
  readonly proxy?: "local" | "xclient";
}

/** Who the socket says is there; undefined when nobody is any more. */
export function socketPeer(socket: Socket): AcceptedPeer | undefined {
  const { remoteAddress, remotePort, localAddress = "", localPort = 0 } = socket;
  if (remoteAddress === undefined || remotePort === undefined) return undefined;
  const local = { address: plainIPv4(localAddress), port: localPort };
  return { address: plainIPv4(remoteAddress), port: remotePort, local };
}

/** What a header makes of the proxy at the socket. */
export type Introduced = "proxied" | "local" | "unknown";

/** Whom a trusted proxy's header speaks for. */
export function introduce(
  proxy: AcceptedPeer,
  { local, client }: ProxyHeader,
): { readonly as: Introduced; readonly peer: AcceptedPeer } {
  const { address, port } = proxy;
  const via = { address, port };
  if (local || isSame(client?.source, proxy)) return { as: "local", peer: { ...proxy, proxy: "local" } };
  // Somebody's connection, but nobody knows whose: it is no more than the proxy's, and not the proxy itself.
  if (!client) return { as: "unknown", peer: { ...proxy, via } };
  return { as: "proxied", peer: { ...client.source, local: client.destination, via } };
}

/** Version 1 has no LOCAL: there a health check names the two ends of its own connection (section 2.1). */
function isSame(source: Address | undefined, proxy: Address): boolean {
  return source?.address === proxy.address && source.port === proxy.port;
}

/** RFC 4291 2.5.5.2: an IPv4 client of an IPv6 socket is an IPv4 client. */
function plainIPv4(address: string): string {
  return address.startsWith("::ffff:") && address.includes(".") ? address.slice(7) : address;
}
