import type { ClientFacts } from "../../session/protocol.ts";
import { bareAddress, destinationName, knownPort, PROXY_TTL, transportOf } from "../xclient.ts";
import { quote, type Token } from "./grammar.ts";

/** One field of ID and its value; undefined is NIL. */
export type Field = readonly [name: string, value: string | undefined];

/** RFC 2971 3.3. */
const MAX_FIELDS = 30;
const MAX_NAME = 30;
const MAX_VALUE = 1024;
/** Of all that a client said: Dovecot reads lines of 8 KiB before login. */
const MAX_SAID = 4096;

/** Printable ASCII: nothing else can stand in a quoted string (RFC 9051 9), nor mean one thing here and another there. */
const TEXT = /^[ -~]*$/;
/** Between proxies and servers, whoever brought them up: nobody says such a thing but us. */
const RESERVED = /^\s*x-/i;

/**
 * What a client says of itself in ID, as far as a backend may hear it: no name that could be taken for one of ours,
 * and nothing that could not be said again as it was. The caller has seen that these are pairs in parentheses.
 */
export function fieldsOf(args: readonly Token[]): readonly Field[] {
  const tokens = args.slice(1, -1);
  const fields: Field[] = [];
  let size = 0;
  for (let at = 0; at + 1 < tokens.length; at += 2) {
    const name = textOf(tokens[at]);
    const value = textOf(tokens[at + 1]);
    if (name === undefined || !maySay(name, value)) continue;
    size += name.length + (value?.length ?? 0);
    if (size > MAX_SAID) break;
    fields.push([name, value]);
  }
  return fields;
}

/** The same as Dovecot shows it: the words of the list, without what would not be said again. */
export function showFields(fields: readonly Field[]): string {
  return fields
    .map(([name, value]) => `${quote(name)} ${value === undefined ? "NIL" : quote(value)}`)
    .join(" ");
}

/** ID with what we know of the client, and then with what it says itself. */
export function formatId(client: ClientFacts, said: readonly Field[]): string {
  const known = knownFields(client);
  const names = new Set(known.map(([name]) => name));
  // Here once more, where it counts: no client has its word among ours.
  const theirs = said.filter(([name, value]) => maySay(name, value) && !names.has(name.toLowerCase()));
  const fields = [...known, ...theirs].slice(0, MAX_FIELDS);
  return `ID (${showFields(fields)})`;
}

/** The names that Dovecot knows; it hears them from trusted networks, and once. */
function knownFields(client: ClientFacts): readonly Field[] {
  const fields: readonly Field[] = [
    ["x-originating-ip", bareAddress(client.address)],
    ["x-originating-port", knownPort(client.port)],
    ["x-connected-ip", bareAddress(client.local.address)],
    ["x-connected-port", knownPort(client.local.port)],
    ["x-session-id", client.session],
    ["x-proxy-ttl", PROXY_TTL],
    ["x-client-transport", transportOf(client)],
    ["x-connected-name", destinationName(client)],
  ];
  return fields.filter(([, value]) => value !== undefined);
}

function maySay(name: string, value: string | undefined): boolean {
  return (
    name !== "" &&
    name.length <= MAX_NAME &&
    TEXT.test(name) &&
    !RESERVED.test(name) &&
    (value === undefined || (value.length <= MAX_VALUE && TEXT.test(value)))
  );
}

/** Latin-1: what is not ASCII is refused, whatever it means. */
function textOf(token: Token | undefined): string | undefined {
  return token?.type === "string" ? token.bytes.toString("latin1") : undefined;
}
