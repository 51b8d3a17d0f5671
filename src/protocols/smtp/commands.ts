import { type Refusal, Refused } from "../../refusal.ts";
import { MAX_RESPONSE_LINE } from "../../sasl/exchange.ts";
import type { Delivery, Hello, Login, NamedClient } from "../../session/protocol.ts";
import type { Peer, Session } from "../../session/session.ts";
import { decodeUtf8 } from "../../wire/text.ts";
import { authenticateByLines, beginTls, isCredential } from "../before-login.ts";
import type { Dialect, Outcome, Row } from "../command-loop.ts";
import { Extensions, ehloLines, greeting, maxSize } from "./extensions.ts";
import {
  type Command,
  decodeXtext,
  type Envelope,
  formatReply,
  parseBdat,
  parseCommand,
  parseCount,
  parseHelloName,
  parseMail,
  parseRcpt,
  type Reply,
} from "./grammar.ts";
import { addressText, mailFacts } from "./mail-facts.ts";
import { namedClient, parseXclient, type Told, XCLIENT_OFFER } from "./named-client.ts";
import { envelopeReply, reply } from "./replies.ts";

/** A transaction's beginning, as another server told it: its first recipient says where it goes. */
export interface SmtpDelivery extends Delivery {
  readonly mail: Envelope;
  readonly rcpt: Envelope;
  /** What its backend said to the recipient, or to MAIL where it refused that. */
  reply: Reply | undefined;
  mailTaken: boolean;
}

/** RFC 5321 4.5.3.1.4, and for AUTH RFC 4954; in bytes without CRLF. */
const MAX_COMMAND = 510;
/** MAIL and RCPT may be longer by what their extensions bring: RFC 1870, 3461, 6531. */
const MAX_ENVELOPE = 998;
export const MAX_LINE = MAX_RESPONSE_LINE + 16;
/** BDAT octets that are read and forgotten with a refusal. */
const MAX_DISCARD = 64 * 1024;

/** What a session has said so far that STARTTLS makes forgotten. */
export interface Said {
  hello: Hello | undefined;
  mail: Envelope | undefined;
  /** The delivery that was accepted last. */
  current: SmtpDelivery | undefined;
  /** A recipient that was read by the relay, and needs another backend. */
  next: SmtpDelivery | undefined;
}

const sessions = new WeakMap<Session, Said>();

export function saidBy(session: Session): Said {
  const said = sessions.get(session) ?? {
    hello: undefined,
    mail: undefined,
    current: undefined,
    next: undefined,
  };
  sessions.set(session, said);
  return said;
}

/** What a proxy has told of its client so far. */
const toldBy = new WeakMap<Session, { readonly proxy: Peer; readonly told: Told }>();

/** A row that lets nobody in. */
type CommonRow = Row<Command, NamedClient>;

/** What both kinds of session know before anything is carried. */
function commonRows(auth: boolean): Record<string, CommonRow> {
  return {
    EHLO: {
      run: (session, { rest }) =>
        hello(session, rest, true, () => [
          ...ehloLines(session, offersOf(session), { auth, startTls: true }),
          ...(session.peer.proxy === "xclient" ? [XCLIENT_OFFER] : []),
        ]),
    },
    HELO: { run: (session, { rest }) => hello(session, rest, false, () => [session.frontend.hostname]) },
    NOOP: { run: (session) => answer(session, "250 2.0.0 Nothing done") },
    HELP: { run: (session) => answer(session, "214 2.0.0 RFC 5321 says it all") },
    VRFY: { run: (session) => answer(session, "252 2.1.5 Send it, and it will be seen") },
    EXPN: { run: (session) => write(session, envelopeReply("notImplemented")) },
    XCLIENT: { run: xclient },
    RSET: bare(async (session) => {
      saidBy(session).mail = undefined;
      return answer(session, "250 2.0.0 Forgotten");
    }),
    QUIT: bare(async (session) => {
      await session.channel.write("221 2.0.0 Until next time\r\n");
      return "leave";
    }),
    STARTTLS: {
      when: "clear",
      ...bare(async (session) => {
        const outcome = await beginTls(session, "220 2.0.0 Begin TLS now\r\n");
        // RFC 3207 4.2: what was said before TLS is forgotten.
        sessions.delete(session);
        if (session.channel.encrypted) forgetClient(session);
        return outcome;
      }),
    },
    BDAT: { run: refuseBdat },
  };
}

/** Submission, RFC 6409: nothing is carried for somebody who has not signed in. */
export const submissionDialect: Dialect<Command, Login | NamedClient> = {
  read: readCommand,
  name: ({ verb }) => verb,
  rows: { ...commonRows(true), AUTH: { run: auth } },
  later: new Set(["MAIL", "RCPT", "DATA"]),
  refuse: (session, refusal, command) =>
    session.channel.write(reply(refusal, command?.verb === "AUTH" ? "login" : "command", session.id)),
};

/** Mail from other servers: nobody signs in, and the first recipient decides where it goes. */
export const deliveryDialect: Dialect<Command, SmtpDelivery | NamedClient> = {
  read: readCommand,
  name: ({ verb }) => verb,
  rows: {
    ...commonRows(false),
    MAIL: { run: mail },
    RCPT: { run: rcpt },
    AUTH: { run: (session) => write(session, envelopeReply("notImplemented")) },
    DATA: { run: async () => ({ kind: "order", detail: "DATA without a recipient" }) },
  },
  later: new Set(),
  refuse: (session, refusal) => session.channel.write(reply(refusal, "command", session.id)),
};

async function readCommand(session: Session): Promise<Command | Refusal> {
  for (;;) {
    const command = takeCommand(session);
    if (command) return command;
    await session.channel.more();
  }
}

/** The next command, once it is there; a line that is longer than its verb may have is refused. */
export function takeCommand(session: Session): Command | Refusal | undefined {
  const line = session.channel.takeLine(MAX_LINE);
  if (!line) return undefined;
  const command = parseCommand(line);
  if (!command) return { kind: line.length > MAX_COMMAND ? "tooLong" : "syntax", detail: "not a command" };
  const limit = command.verb === "AUTH" ? MAX_LINE : isEnvelope(command.verb) ? MAX_ENVELOPE : MAX_COMMAND;
  return line.length > limit ? { kind: "tooLong", detail: "a command line too long" } : command;
}

function isEnvelope(verb: string): boolean {
  return verb === "MAIL" || verb === "RCPT";
}

/** What the backends of this protocol offer, one by one. */
export function offersOf(session: Session): Extensions[] {
  return session.frontend.eachBackendsCapabilities().map((lines) => new Extensions(lines));
}

async function hello(
  session: Session,
  rest: string,
  extended: boolean,
  lines: () => string[],
): Promise<"next" | Refusal> {
  // RFC 2920 3.1: EHLO ends a group; who does not wait for what it offers is no mail program.
  if (session.channel.pending > 0 && session.frontend.content.earlyTalkers === "refuse")
    throw new Refused("notOurProtocol", "it did not wait for EHLO's reply");
  const name = parseHelloName(rest);
  if (name === undefined) return { kind: "syntax", detail: "HELO without a name" };
  const said = saidBy(session);
  said.hello = { name, extended };
  // RFC 5321 4.1.4: EHLO is RSET too.
  said.mail = undefined;
  await session.channel.write(formatReply({ code: 250, lines: lines() }));
  return "next";
}

async function auth(session: Session, { rest }: Command): Promise<Outcome<Login> | Refusal> {
  if (saidBy(session).hello === undefined) return { kind: "order", detail: "AUTH before EHLO" };
  const [mechanism = "", initial, ...more] = rest.split(" ");
  if (mechanism === "" || initial === "" || more.length > 0)
    return { kind: "syntax", detail: "AUTH without a mechanism" };
  const outcome = await authenticateByLines(session, "334 ", mechanism, initial);
  return isCredential(outcome) ? { credential: outcome } : outcome;
}

async function mail(session: Session, { rest }: Command): Promise<Outcome<SmtpDelivery> | Refusal> {
  const said = saidBy(session);
  if (said.hello === undefined || said.mail) return { kind: "order", detail: "MAIL out of order" };
  const envelope = parseMail(rest);
  if (!envelope) return { kind: "syntax", detail: "MAIL without a path" };
  const refused = refuseMail(session, envelope, offersOf(session));
  if (refused) return typeof refused === "string" ? write(session, refused) : refused;
  said.mail = envelope;
  return answer(session, "250 2.1.0 And to whom?");
}

/** From a proxy that is trusted with it, and has not used it yet: then it is its client that speaks. */
async function xclient(session: Session, { rest }: Command): Promise<Outcome<NamedClient> | Refusal> {
  if (session.peer.proxy !== "xclient") return write(session, envelopeReply("notTrusted"));
  if (saidBy(session).mail) return { kind: "order", detail: "XCLIENT within a transaction" };
  const more = parseXclient(rest);
  if (more === "login") return write(session, envelopeReply("notTrusted"));
  if (more === "syntax") return { kind: "syntax", detail: "XCLIENT with an attribute that is none" };
  const told = { ...toldBy.get(session)?.told, ...more };
  toldBy.set(session, { proxy: session.peer, told });
  // XCLIENT_README: the session is as new as behind its greeting.
  sessions.delete(session);
  if (told.address !== undefined) return { named: namedClient(session.peer, told) };
  return write(session, greeting(session));
}

/** It was said in clear text, and perhaps not by the proxy. */
function forgetClient(session: Session): void {
  session.peer = toldBy.get(session)?.proxy ?? session.peer;
  toldBy.delete(session);
}

/** What can be said against MAIL before its backend is asked: a whole reply, or a refusal. */
export function refuseMail(
  session: Session,
  envelope: Envelope,
  backends: readonly Extensions[],
): string | Refusal | undefined {
  const size = envelope.parameters.find(({ name }) => name === "SIZE");
  const bytes = parseCount(size?.value);
  if (size && bytes === undefined) return { kind: "syntax", detail: "SIZE without a number" };
  if (bytes !== undefined && bytes > maxSize(session, backends)) return envelopeReply("messageTooBig");
  const submitter = envelope.parameters.find(({ name }) => name === "AUTH");
  if (submitter && session.user === undefined) return envelopeReply("parameterNotOffered");
  if (submitter && !isSubmitter(session, submitter.value)) return envelopeReply("senderNotYours");
  return backends.every((backend) => backend.takes(envelope))
    ? undefined
    : envelopeReply("parameterNotOffered");
}

/** RFC 4954 5: backends believe us who submitted a message, so a user may name nobody but himself. */
function isSubmitter({ user = "" }: Session, value = ""): boolean {
  const said = decodeUtf8(Buffer.from(decodeXtext(value), "latin1"));
  return value === "<>" || said?.toLowerCase() === user.toLowerCase();
}

async function rcpt(session: Session, { rest }: Command): Promise<Outcome<SmtpDelivery> | Refusal> {
  const said = saidBy(session);
  if (!said.mail) return { kind: "order", detail: "RCPT before MAIL" };
  const envelope = parseRcpt(rest);
  if (!envelope) return { kind: "syntax", detail: "RCPT without a path" };
  const recipient = addressText(envelope);
  if (recipient === undefined) return { kind: "syntax", detail: "an address that is not UTF-8" };
  const { mail } = said;
  const message = () => mailFacts(session, mail, 0, recipient);
  return { recipient, message, mail, rcpt: envelope, reply: undefined, mailTaken: false };
}

/** RFC 3030 2: one reply, and the octets that come with it are nobody's commands. */
async function refuseBdat(session: Session, { rest }: Command): Promise<Refusal> {
  const chunk = parseBdat(rest);
  // Without a count nobody knows where the next command begins.
  if (!chunk) throw new Refused("syntax", "BDAT whose end is not known");
  if (chunk.size > MAX_DISCARD) throw new Refused("tooLong", "BDAT before a recipient was taken");
  await session.channel.discard(chunk.size);
  // RFC 3030 2: behind a BDAT that failed the transaction is over.
  saidBy(session).mail = undefined;
  return { kind: "order", detail: "BDAT without a recipient" };
}

async function answer(session: Session, line: string): Promise<"next"> {
  return write(session, `${line}\r\n`);
}

async function write(session: Session, reply: string): Promise<"next"> {
  await session.channel.write(reply);
  return "next";
}

/** A command without arguments. */
function bare(run: CommonRow["run"]): CommonRow {
  return {
    run: async (session, command) =>
      command.rest === "" ? run(session, command) : { kind: "syntax", detail: "arguments where none belong" },
  };
}
