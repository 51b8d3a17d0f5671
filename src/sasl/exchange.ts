import type { Refusal } from "../refusal.ts";
import { decodeBase64 } from "../wire/base64.ts";
import type { Credential } from "./credential.ts";
import { external } from "./external.ts";
import { login } from "./login.ts";
import type { Around, Mechanism } from "./mechanism.ts";
import { plain } from "./plain.ts";

/** Every mechanism there is; which of them are offered is the configuration's choice. */
const MECHANISMS: readonly Mechanism[] = [plain, login, external];

/** RFC 4954 section 4: what a response line must be able to hold, in bytes of base64; all protocols get the same. */
const MAX_RESPONSE = 12_288;
/** How much of a longer one is read to be refused in words; beyond it the session ends. */
export const MAX_RESPONSE_LINE = 16 * 1024;

/**
 * One SASL exchange as the server, in the base64 lines that IMAP, POP3, SMTP and ManageSieve share. `initial`
 * is the text of an initial response, "=" for an empty one (RFC 4959); `ask` sends a challenge and reads the
 * client's line. Returns the credential or the refusal to answer with; the client may try again after it.
 */
export async function runExchange(
  offered: readonly string[],
  name: string,
  initial: string | undefined,
  ask: (challenge: string) => Promise<string>,
  around?: Around,
): Promise<Credential | Refusal> {
  const mechanism = offered.includes(name) && MECHANISMS.find((known) => known.name === name);
  if (!mechanism) return { kind: "unknownMechanism", detail: "a SASL mechanism that is not offered" };
  const exchange = mechanism.start(around);
  let response = initial === undefined ? undefined : decodeResponse(initial === "=" ? "" : initial);
  for (;;) {
    if (response && "kind" in response) return response;
    const step = exchange.next(response);
    if ("credential" in step) return step.credential;
    if ("refuse" in step) return step.refuse;
    response = decodeResponse(await ask(step.challenge.toString("base64")));
  }
}

function decodeResponse(line: string): Buffer | Refusal {
  if (line === "*") return { kind: "cancelled", detail: "the client cancelled its SASL exchange" };
  if (line.length > MAX_RESPONSE) return { kind: "tooLong", detail: "a SASL response beyond its limit" };
  return decodeBase64(line) ?? { kind: "syntax", detail: "a SASL response that is not base64" };
}
