import type { MailElsewhere, Policy } from "../policy.ts";
import type { CountedMail } from "./counted.ts";
import type { MailQuestion } from "./question.ts";

/** How Postfix's SMTP server calls the moment at which it asks. */
const RECIPIENT = "RCPT";
const CONTENT = "DATA";
const END = "END-OF-MESSAGE";

/**
 * Asks the policy what Postfix asks us: of bans whenever it asks, of a recipient when it is named, of the message
 * when its content comes. Rejects with Refused.
 */
export async function advise(
  policy: Pick<Policy, "elsewhere">,
  counted: CountedMail,
  question: MailQuestion,
  signal: AbortSignal,
): Promise<void> {
  const { state, instance, recipient, facts } = question;
  const ask = async (mail: MailElsewhere): Promise<void> => policy.elsewhere(facts, mail, signal);
  if (state === RECIPIENT && recipient !== "") {
    await ask(counted.hasRecipient(instance, recipient) ? {} : { recipients: 1 });
    counted.addRecipient(instance, recipient);
  } else if (state === CONTENT || state === END) {
    await ask(messageIn(question, counted));
    counted.addMessage(instance, state === END);
  } else await ask({});
}

/**
 * What has not been counted of it. Where its recipients have been asked for one by one they have been counted so, and
 * Postfix's own number would count one that was named twice again. Its size is the true one only at its end.
 */
function messageIn(
  { state, instance, recipientCount, size }: MailQuestion,
  counted: CountedMail,
): MailElsewhere {
  return {
    ...(!counted.hasMessage(instance) && { messages: 1 }),
    ...(recipientCount > 0 && !counted.hasRecipients(instance) && { recipients: recipientCount }),
    ...(state === END && !counted.hasBytes(instance) && { bytesIn: size }),
  };
}
