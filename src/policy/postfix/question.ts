import { parseIPv4, parseIPv6 } from "../../wire/addresses.ts";
import type { PolicyAttributes } from "../../wire/policy-attributes.ts";
import type { Facts } from "../limit-key.ts";

/** What a Postfix asks about one client's mail; SMTPD_POLICY_README has the attributes. */
export interface MailQuestion {
  readonly facts: Facts;
  readonly state: string;
  /** The same for all questions about one message. */
  readonly instance: string | undefined;
  readonly recipient: string;
  /** How many it has accepted; 0 before all of them are known. */
  readonly recipientCount: number;
  /** The message's bytes, once they have come. */
  readonly size: number;
}

/** Digits that a number holds exactly. */
const NUMBER = /^\d{1,15}$/;

/** A request as a question, or undefined where it does not say of whom. */
export function readQuestion(asked: PolicyAttributes, listener: string): MailQuestion | undefined {
  const ip = addressIn(asked.get("client_address") ?? "");
  if (ip === undefined) return undefined;
  const user = asked.get("sasl_username") || undefined;
  return {
    // Who signs in submits, whatever the port is called.
    facts: { ip, listener, protocol: user === undefined ? "smtp" : "submission", ...(user && { user }) },
    state: asked.get("protocol_state") ?? "",
    instance: asked.get("instance") || undefined,
    recipient: asked.get("recipient") ?? "",
    recipientCount: numberIn(asked.get("recipient_count")),
    size: numberIn(asked.get("size")),
  };
}

/** In the spelling in which it is counted; an address of the link says by which interface, which is not counted. */
function addressIn(text: string): string | undefined {
  const [bare = ""] = text.split("%", 1);
  return parseIPv4(bare) ?? parseIPv6(bare);
}

function numberIn(text = ""): number {
  return NUMBER.test(text) ? Number(text) : 0;
}
