import type { Refusal } from "../../refusal.ts";
import { readCredential, readDigest } from "../../sasl/names.ts";
import type { Login } from "../../session/protocol.ts";
import type { Session } from "../../session/session.ts";
import { authenticateByLines, beginTls, canStartTls, isCredential, needsPrivacy } from "../before-login.ts";
import type { Dialect, Outcome, Row } from "../command-loop.ts";
import { capabilitiesBeforeLogin } from "./capabilities.ts";
import { type Command, parseApop, parseCommand, parseWords } from "./grammar.ts";
import { reply } from "./replies.ts";

/** RFC 2449 4: 255 octets, the line end included. */
const MAX_LINE = 253;

/** Commands of the TRANSACTION state. */
const LATER: ReadonlySet<string> = new Set("STAT LIST RETR DELE NOOP RSET TOP UIDL LAST".split(" "));

type Run = Row<Command, Login>["run"];

/** The commands of one try to sign in: what USER said is forgotten with it. */
export function newDialect(): Dialect<Command, Login> {
  let named: Buffer | undefined;
  const rows: Record<string, Row<Command, Login>> = {
    CAPA: bare(async (session) => {
      await session.channel.write(multiLine("Capability list follows", capabilities(session)));
      return "next";
    }),
    QUIT: bare(async (session) => {
      await session.channel.write("+OK Until next time\r\n");
      return "leave";
    }),
    STLS: {
      when: "clear",
      ...bare((session) => {
        // RFC 2595 4: what was said before TLS is forgotten.
        named = undefined;
        return beginTls(session, "+OK Begin TLS now\r\n");
      }),
    },
    // Whoever it is, the answer is one: RFC 1939 13 leaves it to PASS to say no.
    USER: secret(async (session, { argument }) => {
      if (!argument?.length) return { kind: "syntax", detail: "USER without a name" };
      named = argument;
      await session.channel.write("+OK Send PASS\r\n");
      return "next";
    }),
    PASS: secret(async (_session, { argument }) => {
      const authcid = named;
      if (!authcid) return { kind: "order", detail: "PASS before USER" };
      if (!argument) return { kind: "syntax", detail: "PASS without a password" };
      named = undefined;
      const read = readCredential("LOGIN", { authcid, password: argument });
      return "refuse" in read ? read.refuse : read;
    }),
    APOP: secret(apop),
    AUTH: { run: authenticate },
    XCLIENT: forProxies,
    XOIP: forProxies,
  };
  return {
    read: readCommand,
    name: (command) => command.name,
    rows,
    later: LATER,
    refuse: (session, refusal) => refuse(session, refusal),
  };
}

/** Says no, where POP3 has words for it. */
export async function refuse(session: Session, refusal: Refusal): Promise<void> {
  const said = reply(refusal, session.id);
  if (said) await session.channel.write(said);
}

export async function readCommand(session: Session): Promise<Command | Refusal> {
  const command = parseCommand(await session.channel.readLine(MAX_LINE));
  return "malformed" in command ? { kind: "syntax", detail: command.malformed } : command;
}

/** What a proxy says of its client to a backend: nobody speaks so to us. */
const forProxies: Row<Command, Login> = {
  run: async (_session, { name }) => ({ kind: "order", detail: `${name} from a client` }),
};

/** A command without arguments. */
function bare(run: Run): Row<Command, Login> {
  return {
    run: async (session, command) =>
      command.argument === undefined
        ? run(session, command)
        : { kind: "syntax", detail: "arguments where none belong" },
  };
}

/** A command that tells of a password. */
function secret(run: Run): Row<Command, Login> {
  return {
    run: async (session, command) =>
      needsPrivacy(session)
        ? { kind: "privacyRequired", detail: `${command.name} before TLS` }
        : run(session, command),
  };
}

/** What a client is told that it can do in the session's present state. */
function capabilities(session: Session): readonly string[] {
  const { frontend } = session;
  return capabilitiesBeforeLogin(frontend.backendCapabilities(), {
    canStartTls: canStartTls(session),
    mechanisms: mechanisms(session),
  });
}

function mechanisms(session: Session): readonly string[] {
  return needsPrivacy(session) ? [] : session.mechanisms;
}

function multiLine(text: string, lines: readonly string[]): string {
  return `+OK ${text}\r\n${lines.map((line) => `${line}\r\n`).join("")}.\r\n`;
}

/** RFC 1939 7, over the stamp that this session's greeting carried. */
async function apop(session: Session, { argument }: Command): Promise<Outcome<Login> | Refusal> {
  const { stamp } = session;
  if (stamp === undefined) return { kind: "order", detail: "APOP without a stamp in the greeting" };
  const said = argument && parseApop(argument);
  if (!said) return { kind: "syntax", detail: "APOP without a name and a digest" };
  const read = readDigest("APOP", { authcid: said.name, digest: { stamp, md5: said.digest } });
  return "refuse" in read ? read.refuse : read;
}

async function authenticate(session: Session, { argument }: Command): Promise<Outcome<Login> | Refusal> {
  if (argument === undefined) {
    // Older than CAPA, and still how Outlook asks.
    await session.channel.write(multiLine("Mechanisms follow", mechanisms(session)));
    return "next";
  }
  const [mechanism, initial, ...more] = parseWords(argument) ?? [];
  if (mechanism === undefined || more.length > 0) {
    return { kind: "syntax", detail: "AUTH without a mechanism" };
  }
  const outcome = await authenticateByLines(session, "+ ", mechanism, initial);
  return isCredential(outcome) ? { credential: outcome } : outcome;
}
