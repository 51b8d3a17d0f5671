import { type Refusal, Refused } from "../../refusal.ts";
import { MAX_RESPONSE_LINE, runExchange } from "../../sasl/exchange.ts";
import type { Login } from "../../session/protocol.ts";
import type { Session } from "../../session/session.ts";
import { decodeUtf8 } from "../../wire/text.ts";
import { beginTls, canStartTls, isCredential, needsPrivacy } from "../before-login.ts";
import type { Dialect, Outcome, Row } from "../command-loop.ts";
import { linesBeforeLogin } from "./capabilities.ts";
import {
  type Command,
  formatString,
  literalAtEnd,
  type Malformed,
  parseCommand,
  parseString,
  readName,
} from "./grammar.ts";
import { reply } from "./replies.ts";

/** Two quoted strings of 1024 octets, each of them escaped, and more. */
const MAX_LINE = 8192;
/** In one command: RFC 5804 2.1 allows a mechanism's name and a response. */
const MAX_LITERALS = 2;
/** RFC 5804 2.13: what NOOP says again. */
const MAX_TAG = 1024;
/** Clients send their literals without asking: one that is refused is read and forgotten up to here. */
const MAX_DISCARD = 64 * 1024;
/** RFC 5804 2.1: an initial response is refused where the mechanism begins with a challenge. */
const SERVER_FIRST: ReadonlySet<string> = new Set(["LOGIN"]);
/** RFC 5804 4, command-auth. */
const LATER: ReadonlySet<string> = new Set(
  "GETSCRIPT SETACTIVE LISTSCRIPTS DELETESCRIPT PUTSCRIPT CHECKSCRIPT HAVESPACE RENAMESCRIPT UNAUTHENTICATE".split(
    " ",
  ),
);

/** What a client is told that it can do in the session's present state, and the OK that ends it. */
export function capabilities(session: Session, text: string): string {
  const { frontend } = session;
  const lines = linesBeforeLogin(frontend.backendCapabilities(), {
    canStartTls: canStartTls(session),
    mechanisms: needsPrivacy(session) ? [] : session.mechanisms,
  });
  return `${lines}OK ${formatString(text, "server")}\r\n`;
}

const rows: Record<string, Row<Command, Login>> = {
  CAPABILITY: bare(async (session) => {
    await session.channel.write(capabilities(session, "Capability completed"));
    return "next";
  }),
  LOGOUT: bare(async (session) => {
    await session.channel.write('OK "Until next time"\r\n');
    return "leave";
  }),
  STARTTLS: { when: "clear", ...bare(startTls) },
  NOOP: { run: noop },
  AUTHENTICATE: { run: authenticate },
};

export const dialect: Dialect<Command, Login> = {
  read: readCommand,
  name: (command) => command.name,
  rows,
  later: LATER,
  refuse: (session, refusal) => session.channel.write(reply(refusal, false, session.id)),
};

/** A command without arguments. */
function bare(run: Row<Command, Login>["run"]): Row<Command, Login> {
  return {
    run: async (session, command) =>
      command.args.length === 0
        ? run(session, command)
        : { kind: "syntax", detail: "arguments where none belong" },
  };
}

async function readCommand(session: Session): Promise<Command | Refusal> {
  const pieces = await readPieces(session, (line) => mayHold(session, readName(line)));
  if ("kind" in pieces) return pieces;
  const command = parseCommand(pieces);
  return "malformed" in command ? refused(command) : command;
}

/** How many bytes of literals a command may bring before login, or why it may bring none. */
function mayHold(session: Session, name: string): number | Refusal {
  if (name === "NOOP") return MAX_TAG;
  if (name === "AUTHENTICATE") {
    // So that a password that would be refused is not even looked at.
    return needsPrivacy(session)
      ? { kind: "privacyRequired", detail: "AUTHENTICATE before TLS" }
      : MAX_RESPONSE_LINE;
  }
  if (LATER.has(name)) return { kind: "notSignedIn", detail: "a command before login" };
  return { kind: "syntax", detail: "a literal out of place" };
}

/**
 * Reads a line, and while it ends in a literal that literal and the line behind it. `room` says how many bytes
 * of literals are welcome there; others are on their way and must not be taken for commands, so they are
 * read and forgotten within bounds.
 */
async function readPieces(
  session: Session,
  room: (line: Buffer) => number | Refusal,
): Promise<Buffer[] | Refusal> {
  const { channel } = session;
  const first = await channel.readLine(MAX_LINE);
  const pieces: Buffer[] = [first];
  let line = first;
  let no: Refusal | undefined;
  let total = 0;
  for (let literals = 1; ; literals += 1) {
    const size = literalAtEnd(line);
    if (size === undefined) return no ?? pieces;
    total += size;
    no ??= refuseLiterals(room(first), total, literals);
    if (no) {
      if (total > MAX_DISCARD) throw new Refused("tooLong", "literals beyond what is read and forgotten");
      await channel.discard(size);
    } else pieces.push(await channel.readExact(size));
    line = await channel.readLine(MAX_LINE);
    pieces.push(line);
  }
}

function refuseLiterals(room: number | Refusal, total: number, literals: number): Refusal | undefined {
  if (typeof room === "object") return room;
  if (total <= room && literals <= MAX_LITERALS) return undefined;
  return { kind: "tooLong", detail: "literals too long or too many" };
}

function refused({ malformed, tooLong }: Malformed): Refusal {
  return { kind: tooLong ? "tooLong" : "syntax", detail: malformed };
}

async function startTls(session: Session): Promise<"next" | Refusal> {
  const outcome = await beginTls(session, 'OK "Begin TLS now"\r\n');
  // RFC 5804 2.2: the capabilities are said again inside TLS, without being asked for.
  if (outcome === "next") await session.channel.write(capabilities(session, "TLS begun"));
  return outcome;
}

async function noop(session: Session, { args }: Command): Promise<Outcome<Login> | Refusal> {
  const [tag, ...more] = args;
  if (more.length > 0 || (tag && tag.type !== "string"))
    return { kind: "syntax", detail: "NOOP takes one string" };
  const text = tag && decodeUtf8(tag.bytes);
  if (tag && text === undefined) return { kind: "syntax", detail: "a tag that is not UTF-8" };
  const code = text === undefined ? "" : `(TAG ${formatString(text, "server")}) `;
  await session.channel.write(`OK ${code}"Nothing to tell"\r\n`);
  return "next";
}

async function authenticate(session: Session, { args }: Command): Promise<Outcome<Login> | Refusal> {
  const [mechanism, initial, ...more] = args;
  if (mechanism?.type !== "string" || (initial && initial.type !== "string") || more.length > 0)
    return { kind: "syntax", detail: "AUTHENTICATE takes a mechanism and perhaps a response" };
  const name = mechanism.bytes.toString("latin1").toUpperCase();
  if (needsPrivacy(session)) return { kind: "privacyRequired", detail: "AUTHENTICATE before TLS" };
  if (initial && SERVER_FIRST.has(name))
    return { kind: "syntax", detail: "an initial response where the server speaks first" };
  const first = initial?.bytes.toString("latin1");
  let broken: Refusal | undefined;
  const outcome = await runExchange(
    session.mechanisms,
    name,
    first,
    async (challenge) => {
      await session.channel.write(`${formatString(challenge, "server")}\r\n`);
      const response = await readResponse(session);
      if (typeof response === "string") return response;
      broken = response;
      return "*";
    },
    session,
  );
  if (broken) return broken;
  return isCredential(outcome) ? { credential: outcome } : outcome;
}

/** RFC 5804 2.1: a client's response is one string; `"*"` takes the exchange back, and so does a bare `*`. */
async function readResponse(session: Session): Promise<string | Refusal> {
  const pieces = await readPieces(session, () => MAX_RESPONSE_LINE);
  if ("kind" in pieces) return pieces;
  if (pieces.length === 1 && pieces[0]?.toString("latin1") === "*") return "*";
  const response = parseString(pieces);
  return "malformed" in response ? refused(response) : response.toString("latin1");
}
