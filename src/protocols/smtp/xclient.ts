import type { ClientFacts } from "../../session/protocol.ts";
import { xtext } from "../../wire/xtext.ts";
import { bareAddress, destinationName, knownPort, PROXY_TTL, transportOf } from "../xclient.ts";

/** RFC 5321 4.5.3.1.4, without its CRLF. */
const MAX_LINE = 510;
const VERB = "XCLIENT";
/** What Postfix calls a name that nobody has looked up; without it the client would go by our own. */
const UNKNOWN = "[UNAVAILABLE]";
/**
 * Behind an address or a name of somebody else's, Postfix takes nothing more from us, and with each line it forgets
 * who had signed in: these stand in the last line, all of them.
 */
const LAST: readonly string[] = ["LOGIN", "REVERSE_NAME", "NAME", "ADDR"];

/**
 * XCLIENT's command lines, without their CRLF, with what the backend offers to hear, in upper case, and nothing else.
 * Undefined where a name is too long for them: a session that is told by half would be somebody else's.
 */
export function xclientLines(client: ClientFacts, offered: readonly string[]): readonly string[] | undefined {
  const values = valuesOf(client);
  const names = new Set(offered.filter((name) => values[name] !== undefined));
  const attribute = (name: string): string => ` ${name}=${xtext(values[name] ?? "")}`;
  const last = LAST.filter((name) => names.has(name)).map(attribute);
  const lines = packed([...names].filter((name) => !LAST.includes(name)).map(attribute), last.join(""));
  return lines.every((line) => line.length <= MAX_LINE) ? lines : undefined;
}

/** As few lines as hold them, `last` as a whole at the end. */
function packed(attributes: readonly string[], last: string): readonly string[] {
  const lines = [""];
  for (const attribute of last === "" ? attributes : [...attributes, last]) {
    const longer = lines.at(-1) + attribute;
    if (VERB.length + longer.length <= MAX_LINE) lines[lines.length - 1] = longer;
    else lines.push(attribute);
  }
  return lines.filter((line) => line !== "").map((line) => VERB + line);
}

/** Each attribute that we can say something true about. */
function valuesOf(client: ClientFacts): Readonly<Record<string, string | undefined>> {
  return {
    HELO: client.hello?.name,
    PROTO: client.hello && (client.hello.extended ? "ESMTP" : "SMTP"),
    PORT: knownPort(client.port),
    DESTADDR: addressValue(client.local.address),
    DESTPORT: knownPort(client.local.port),
    SESSION: client.session,
    TTL: PROXY_TTL,
    "CLIENT-TRANSPORT": transportOf(client),
    DESTNAME: destinationName(client),
    LOGIN: client.login,
    REVERSE_NAME: UNKNOWN,
    NAME: UNKNOWN,
    ADDR: addressValue(client.address),
  };
}

function addressValue(address: string): string {
  const bare = bareAddress(address);
  return bare.includes(":") ? `IPV6:${bare}` : bare;
}
