/**
 * XCLIENT, as Postfix's XCLIENT_README has it, from a proxy that may use it: who its client is. Everything that it
 * says is about the connection; whose mail it is, a password says, so LOGIN is not believed.
 */
import type { Peer } from "../../session/session.ts";
import { parseIPv4, parseIPv6, parsePort } from "../../wire/addresses.ts";
import { decodeXtext } from "../../wire/xtext-decode.ts";
import { parseHelloName } from "./grammar.ts";

/** What EHLO says of it. */
export const XCLIENT_OFFER = "XCLIENT NAME ADDR PORT PROTO HELO DESTADDR DESTPORT";

/** What has been told, perhaps by several commands; an address that the proxy does not know is null. */
export interface Told {
  readonly address?: string | null;
  readonly port?: number;
  readonly localAddress?: string;
  readonly localPort?: number;
}

const UNKNOWN = /^\[(?:UNAVAILABLE|TEMPUNAVAIL)\]$/i;

/** Each attribute's reader: what it tells, or undefined for a value that it cannot have. */
const READERS: Readonly<Record<string, (value: string) => Told | undefined>> = {
  ADDR: (value) => tell("address", parseAddress(value)),
  PORT: (value) => tell("port", parsePort(value)),
  DESTADDR: (value) => tell("localAddress", parseAddress(value)),
  DESTPORT: (value) => tell("localPort", parsePort(value)),
  // These are right or wrong, and nobody here asks for them.
  NAME: (value) => (parseHelloName(value) === undefined ? undefined : {}),
  HELO: (value) => (parseHelloName(value) === undefined ? undefined : {}),
  PROTO: (value) => (/^E?SMTP$/i.test(value) ? {} : undefined),
};

/** What stands behind XCLIENT: what it tells, "login" when it would sign somebody in, or "syntax". */
export function parseXclient(rest: string): Told | "login" | "syntax" {
  const attributes = new Map<string, string>();
  for (const word of rest.split(" ")) {
    const [, name = "", encoded = ""] = /^([A-Za-z]+)=(.+)$/.exec(word) ?? [];
    const value = decodeXtext(encoded);
    if (name === "" || value === undefined || attributes.has(name.toUpperCase())) return "syntax";
    attributes.set(name.toUpperCase(), value);
  }
  const login = attributes.get("LOGIN");
  if (login !== undefined && !UNKNOWN.test(login)) return "login";
  attributes.delete("LOGIN");
  let told: Told = {};
  for (const [name, value] of attributes) {
    const more = read(name, value);
    if (!more) return "syntax";
    told = { ...told, ...more };
  }
  return told;
}

function read(name: string, value: string): Told | undefined {
  const reader = Object.hasOwn(READERS, name) ? READERS[name] : undefined;
  if (!reader || !UNKNOWN.test(value)) return reader?.(value);
  return name === "ADDR" ? { address: null } : {};
}

function tell(what: keyof Told, value: string | number | undefined): Told | undefined {
  return value === undefined ? undefined : { [what]: value };
}

function parseAddress(value: string): string | undefined {
  return /^ipv6:/i.test(value) ? parseIPv6(value.slice(5)) : parseIPv4(value);
}

/** The client of a proxy that has told its address, or that nobody knows it: then it has the proxy's. */
export function namedClient(proxy: Peer, told: Told): Peer {
  const { address, port, local } = proxy;
  return {
    ...(told.address ? { address: told.address, port: told.port ?? 0 } : { address, port }),
    local: { address: told.localAddress ?? local.address, port: told.localPort ?? local.port },
    via: { address, port },
  };
}
