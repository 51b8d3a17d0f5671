import { StoreError } from "../store-error.ts";
import { isInternational, type Path, parseBdat, parseForwardPath, parseReversePath } from "./grammar.ts";
import { type Reply, reply } from "./reply.ts";
import { missing, type Row } from "./row.ts";
import type { SmtpSession } from "./session.ts";
import { MAX_CONTENT, Transaction } from "./transaction.ts";

const TOO_LARGE = reply(552, "5.3.4 Message is too large");
const NO_RECIPIENTS = reply(554, "5.5.1 No valid recipients");

/** What parameters of MAIL may say, by the extensions that bring them: RFC 1870, 6152, 6531, 4954. */
const MAIL_PARAMETERS: Readonly<Record<string, RegExp>> = {
  SIZE: /^\d{1,20}$/,
  BODY: /^(?:7BIT|8BITMIME)$/i,
  SMTPUTF8: /^$/,
  AUTH: /^(?:<>|[!-~]+)$/,
};

export const MAIL: Row = {
  needs: "entry",
  run(session, rest) {
    if (session.transaction) return reply(503, "5.5.1 MAIL once in a transaction");
    const path = parseReversePath(rest);
    if (!path) return reply(501, "5.1.7 MAIL FROM:<address>");
    const refused = refuseParameters(session, path);
    if (refused) return refused;
    const international = path.parameters.has("SMTPUTF8");
    if (isInternational(path.address) && !international) return reply(553, "5.6.7 Not without SMTPUTF8");
    session.transaction = new Transaction(path.address, international);
    return reply(250, "2.1.0 And to whom?");
  },
};

export const RCPT: Row = inTransaction((session, transaction, rest) => {
  const path = parseForwardPath(rest);
  if (!path) return reply(501, "5.1.3 RCPT TO:<address>");
  if (path.parameters.size > 0) return reply(555, "5.5.4 Unknown parameter");
  if (transaction.hasChunks) return reply(503, "5.5.1 RCPT behind BDAT");
  if (isInternational(path.address) && !transaction.isInternational)
    return reply(553, "5.6.7 Not without SMTPUTF8");
  const account = session.accountOf(path.address);
  if (!account) return reply(550, "5.1.1 Nobody here has this address");
  transaction.recipients.add(account);
  return reply(250, "2.1.5 Known");
});

export const DATA: Row = {
  ...inTransaction(async (session, transaction) => {
    if (transaction.hasChunks) return reply(503, "5.5.1 DATA behind BDAT");
    if (transaction.recipients.size === 0) return NO_RECIPIENTS;
    // RFC 2034 4: an enhanced code belongs to replies that end something, and this one does not.
    await session.say(reply(354, "Go ahead; a dot by itself ends it"));
    const isWhole = await session.input.dotted(transaction.take);
    return isWhole ? finish(session, transaction) : undefined;
  }),
  bare: true,
};

/** RFC 3030 2: the octets follow at once, so they are read whatever the answer is. */
export const BDAT: Row = {
  async run(session, rest) {
    const chunk = parseBdat(rest);
    // Without a count nobody knows where the next command begins.
    if (!chunk) {
      await session.sayGoodbye("4.5.4 BDAT and a number");
      return undefined;
    }
    const refused = missing(session, "mail") ?? refuseChunks(session);
    const transaction = refused ? undefined : session.transaction;
    const isWhole = await session.input.counted(chunk.size, transaction?.take ?? (() => {}));
    if (!isWhole || !transaction) return isWhole ? refused : undefined;
    transaction.hasChunks = true;
    if (chunk.isLast || transaction.isTooLarge) return finish(session, transaction);
    return reply(250, `2.0.0 ${chunk.size} octets`);
  },
};

function inTransaction(
  run: (session: SmtpSession, transaction: Transaction, rest: string) => ReturnType<Row["run"]>,
): Row {
  return {
    needs: "mail",
    run(session, rest) {
      if (!session.transaction) throw new Error("the command ran outside of a transaction");
      return run(session, session.transaction, rest);
    },
  };
}

/** RFC 5321 4.1.1.11: a parameter that is not understood is refused, never passed over. */
function refuseParameters({ options }: SmtpSession, { parameters }: Path): Reply | undefined {
  for (const [name, value] of parameters) {
    const isOffered = name !== "AUTH" || options.role === "submission";
    const form = Object.hasOwn(MAIL_PARAMETERS, name) && isOffered ? MAIL_PARAMETERS[name] : undefined;
    if (!form) return reply(555, "5.5.4 Unknown parameter");
    if (!form.test(value)) return reply(501, `5.5.4 ${name} cannot be that`);
  }
  return Number(parameters.get("SIZE") ?? 0) > MAX_CONTENT ? TOO_LARGE : undefined;
}

function refuseChunks({ transaction }: SmtpSession): Reply | undefined {
  return transaction?.recipients.size === 0 ? NO_RECIPIENTS : undefined;
}

/** RFC 5321 4.1.1.4: whatever comes of it, the transaction is over. */
function finish(session: SmtpSession, transaction: Transaction): Reply {
  session.transaction = undefined;
  if (transaction.isTooLarge) return TOO_LARGE;
  try {
    session.deliver(transaction);
    return reply(250, "2.0.0 Delivered");
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    return error.kind === "OVERQUOTA" ? reply(452, "4.2.2 A mailbox is full") : TOO_LARGE;
  }
}
