import type { ClientFacts } from "../session/protocol.ts";

/** Proxies that a session may still pass, as Dovecot counts them; we are one of the seven that it allows. */
export const PROXY_TTL = "6";
/** RFC 5321 4.1.2 and RFC 1123 2.1, and no more than that: what another system may take for a host's name. */
const HOST_NAME = /^[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*$/;
const MAX_HOST_NAME = 255;
/** Neither a space nor what ManageSieve (RFC 5804 4, ATOM-CHAR) or POP3 could take for something else. */
const WORD = /^[A-Za-z0-9._:@[\]+/=-]+$/;

/** Where the client's TLS asked for a name that is one. */
export function destinationName({ tls }: ClientFacts): string | undefined {
  const name = tls?.serverName;
  return name !== undefined && name.length <= MAX_HOST_NAME && HOST_NAME.test(name) ? name : undefined;
}

/** What XCLIENT calls the client's transport. */
export function transportOf({ tls }: ClientFacts): "TLS" | "insecure" {
  return tls ? "TLS" : "insecure";
}

/** A port, where it is known: Dovecot takes no word of a client whose port is 0. */
export function knownPort(port: number): string | undefined {
  return port > 0 ? String(port) : undefined;
}

/** This machine's own zone behind an address means nothing elsewhere. */
export function bareAddress(address: string): string {
  return address.split("%")[0] ?? address;
}

/**
 * XCLIENT as Dovecot's POP3 and ManageSieve take it: words without any encoding, and no more than `max` bytes. What
 * could not stand there is left out.
 */
export function xclientWords(client: ClientFacts, names: readonly string[], max: number): string {
  const values: Readonly<Record<string, string | undefined>> = {
    ADDR: bareAddress(client.address),
    PORT: knownPort(client.port),
    DESTADDR: bareAddress(client.local.address),
    DESTPORT: knownPort(client.local.port),
    SESSION: client.session,
    TTL: PROXY_TTL,
    "CLIENT-TRANSPORT": transportOf(client),
    DESTNAME: destinationName(client),
  };
  let line = "XCLIENT";
  for (const name of names) {
    const value = values[name];
    if (value === undefined || !WORD.test(value)) continue;
    const longer = `${line} ${name}=${value}`;
    if (longer.length <= max) line = longer;
  }
  return line;
}
