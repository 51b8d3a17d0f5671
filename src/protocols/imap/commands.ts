import { type Refusal, Refused } from "../../refusal.ts";
import { readCredential } from "../../sasl/names.ts";
import type { Login } from "../../session/protocol.ts";
import type { Session } from "../../session/session.ts";
import { authenticateByLines, beginTls, canStartTls, isCredential, needsPrivacy } from "../before-login.ts";
import type { Dialect, Outcome, Row } from "../command-loop.ts";
import { capabilitiesBeforeLogin } from "./capabilities.ts";
import { type Command, literalAtEnd, parseCommand, readHead, type Token } from "./grammar.ts";
import { type Field, fieldsOf, showFields } from "./identification.ts";
import { reply } from "./replies.ts";

export interface ImapLogin extends Login {
  readonly tag: string;
  /** What the client has said of itself by ID. */
  readonly fields?: readonly Field[];
}

const said = new WeakMap<Session, readonly Field[]>();

function saidBy(session: Session): { readonly fields?: readonly Field[] } {
  const fields = said.get(session);
  return fields ? { fields } : {};
}

/** What the client has said of itself by ID, in words. */
export function deviceOf(session: Session): string | undefined {
  const fields = said.get(session);
  return fields && showFields(fields);
}

/** RFC 9051 and RFC 7162 4: a server should take command lines of 8192 octets. */
const MAX_LINE = 8192;
/** A name, a password, an ID value: one literal, and all of a command together. */
const MAX_LITERAL = 4096;
const MAX_LITERALS = 8;
/** A literal that nobody waits to send is read and forgotten up to here; beyond it the session ends (RFC 7888 4). */
const MAX_DISCARD = 64 * 1024;

/** What a client is told that it can do in the session's present state. */
export function capabilities(session: Session): string {
  const { frontend } = session;
  return capabilitiesBeforeLogin(frontend.backendCapabilities(), {
    canStartTls: canStartTls(session),
    mechanisms: needsPrivacy(session) ? [] : session.mechanisms,
  }).join(" ");
}

const rows: Record<string, Row<Command, ImapLogin>> = {
  CAPABILITY: bare(async (session, { tag }) => {
    await session.channel.write(
      `* CAPABILITY ${capabilities(session)}\r\n${tag} OK Capability completed\r\n`,
    );
    return "next";
  }),
  NOOP: bare(async (session, { tag }) => {
    await session.channel.write(`${tag} OK Nothing to tell\r\n`);
    return "next";
  }),
  LOGOUT: bare(async (session, { tag }) => {
    await session.channel.write(`* BYE Until next time\r\n${tag} OK Logout completed\r\n`);
    return "leave";
  }),
  STARTTLS: {
    when: "clear",
    ...bare((session, { tag }) => {
      // RFC 9051 6.2.1: what was said before TLS is forgotten.
      said.delete(session);
      return beginTls(session, `${tag} OK Begin TLS now\r\n`);
    }),
  },
  ID: { run: id },
  LOGIN: { run: login },
  AUTHENTICATE: { run: authenticate },
};

export const dialect: Dialect<Command, ImapLogin> = {
  read: readCommand,
  name: (command) => command.name,
  rows,
  later: new Set(
    (
      "SELECT EXAMINE CREATE DELETE RENAME SUBSCRIBE UNSUBSCRIBE LIST LSUB STATUS APPEND CHECK CLOSE UNSELECT " +
      "EXPUNGE SEARCH FETCH STORE COPY MOVE UID ENABLE NAMESPACE IDLE COMPRESS SORT THREAD GETQUOTA GETQUOTAROOT " +
      "SETQUOTA GETACL SETACL DELETEACL LISTRIGHTS MYRIGHTS GETMETADATA SETMETADATA NOTIFY XLIST UNAUTHENTICATE"
    ).split(" "),
  ),
  refuse: (session, refusal, command) =>
    session.channel.write(reply(refusal, tagOf(refusal, command), false, session.id)),
};

/** A refusal met while reading a command knows the tag that it answers. */
interface TaggedRefusal extends Refusal {
  readonly tag?: string;
}

function tagOf(refusal: TaggedRefusal, command: Command | undefined): string | undefined {
  return command?.tag ?? refusal.tag;
}

function refusal(kind: Refusal["kind"], detail: string, tag: string | undefined): TaggedRefusal {
  return tag === undefined ? { kind, detail } : { kind, detail, tag };
}

/** A command without arguments. */
function bare(run: Row<Command, ImapLogin>["run"]): Row<Command, ImapLogin> {
  return {
    run: async (session, command) =>
      command.args.length === 0
        ? run(session, command)
        : { kind: "syntax", detail: "arguments where none belong" },
  };
}

/** Reads lines and literals until a command is whole. No "+" is given for what would be refused anyway. */
async function readCommand(session: Session): Promise<Command | Refusal> {
  const { channel } = session;
  const pieces: Buffer[] = [await channel.readLine(MAX_LINE)];
  const { tag, name } = readHead(pieces[0] as Buffer);
  let refused: TaggedRefusal | undefined;
  let size = 0;
  for (let literals = 1; ; literals += 1) {
    const spec = literalAtEnd(pieces.at(-1) as Buffer);
    if (!spec) break;
    size += spec.size;
    refused ??= refuseLiteral(session, tag, name, size, literals);
    if (spec.synchronising) {
      if (refused) return refused;
      await channel.write("+ Go ahead\r\n");
    }
    if (refused) {
      // RFC 7888 4: these bytes are on their way; they must not be taken for commands.
      if (spec.size > MAX_DISCARD)
        throw new Refused("tooLong", "a literal beyond what is read and forgotten");
      await channel.discard(spec.size);
      pieces.push(await channel.readLine(MAX_LINE));
    } else {
      pieces.push(await channel.readExact(spec.size), await channel.readLine(MAX_LINE));
    }
  }
  if (refused) return refused;
  const command = parseCommand(pieces);
  return "malformed" in command ? refusal("syntax", command.malformed, command.tag) : command;
}

function refuseLiteral(
  session: Session,
  tag: string | undefined,
  name: string,
  size: number,
  literals: number,
): TaggedRefusal | undefined {
  if (tag === undefined || (name !== "LOGIN" && name !== "ID"))
    return refusal("syntax", "a literal out of place", tag);
  // So that a password that would be refused is not even asked for.
  if (name === "LOGIN" && needsPrivacy(session)) return refusal("privacyRequired", "LOGIN before TLS", tag);
  if (size > MAX_LITERAL || literals > MAX_LITERALS)
    return refusal("tooLong", "literals too long or too many", tag);
  return undefined;
}

/** RFC 2971. Its backend hears of it what it may, in our own words and beside what we know. */
async function id(session: Session, { tag, args }: Command): Promise<Outcome<ImapLogin> | Refusal> {
  if (!isIdList(args)) return { kind: "syntax", detail: "ID without its list" };
  said.set(session, fieldsOf(args));
  await session.channel.write(`* ID ("name" "Postern")\r\n${tag} OK ID completed\r\n`);
  return "next";
}

/** NIL, or a parenthesised list of pairs: RFC 2971 3.3 allows thirty. */
function isIdList(args: readonly Token[]): boolean {
  if (args.length === 1) return isNil(args[0]);
  const inner = args.slice(1, -1);
  const strings = inner.every((token) => token.type === "string" || isNil(token));
  return (
    args[0]?.type === "open" &&
    args.at(-1)?.type === "close" &&
    strings &&
    inner.length % 2 === 0 &&
    inner.length <= 60
  );
}

function isNil(token: Token | undefined): boolean {
  return token?.type === "atom" && token.bytes.toString("latin1").toUpperCase() === "NIL";
}

async function login(session: Session, { tag, args }: Command): Promise<Outcome<ImapLogin> | Refusal> {
  if (needsPrivacy(session)) return { kind: "privacyRequired", detail: "LOGIN before TLS" };
  const [name, password, ...more] = args;
  if (!name || !password || more.length > 0 || !("bytes" in name) || !("bytes" in password)) {
    return { kind: "syntax", detail: "LOGIN without a name and a password" };
  }
  const read = readCredential("LOGIN", { authcid: name.bytes, password: password.bytes });
  return "refuse" in read ? read.refuse : { tag, credential: read.credential, ...saidBy(session) };
}

async function authenticate(session: Session, { tag, args }: Command): Promise<Outcome<ImapLogin> | Refusal> {
  const [mechanism, initial, ...more] = args;
  if (mechanism?.type !== "atom" || (initial && initial.type !== "atom") || more.length > 0) {
    return { kind: "syntax", detail: "AUTHENTICATE without a mechanism" };
  }
  const outcome = await authenticateByLines(
    session,
    "+ ",
    mechanism.bytes.toString("latin1"),
    initial?.bytes.toString("latin1"),
  );
  return isCredential(outcome) ? { tag, credential: outcome, ...saidBy(session) } : outcome;
}
