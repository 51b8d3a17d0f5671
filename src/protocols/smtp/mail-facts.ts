import type { MailFacts } from "../../session/protocol.ts";
import type { Session } from "../../session/session.ts";
import { decodeUtf8 } from "../../wire/text.ts";
import { type Envelope, parseCount } from "./grammar.ts";

const instances = new WeakMap<Envelope, string>();
const counts = new WeakMap<Session, number>();

/** As nearly all addresses are: nothing to decode. */
const ASCII = /^[\x20-\x7e]*$/;

/** An address as a router compares it. */
export function addressText({ address }: Envelope): string | undefined {
  return ASCII.test(address) ? address : decodeUtf8(Buffer.from(address, "latin1"));
}

/** What is known of a message in its transaction. */
export function mailFacts(
  session: Session,
  mail: Envelope,
  recipients: number,
  recipient: string | undefined,
): MailFacts {
  const size = mail.parameters.find(({ name }) => name === "SIZE");
  return {
    instance: instanceOf(session, mail),
    sender: addressText(mail) ?? mail.address,
    ...(recipient !== undefined && { recipient }),
    recipients,
    size: parseCount(size?.value) ?? 0,
  };
}

/** One name for a message as long as its MAIL counts, whichever backend it turns to. */
function instanceOf(session: Session, mail: Envelope): string {
  const known = instances.get(mail);
  if (known !== undefined) return known;
  const count = (counts.get(session) ?? 0) + 1;
  counts.set(session, count);
  const instance = `${session.id}.${count}`;
  instances.set(mail, instance);
  return instance;
}
