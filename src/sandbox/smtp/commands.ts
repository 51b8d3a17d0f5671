import { AUTH } from "./auth-command.ts";
import { type Command, isHelloName } from "./grammar.ts";
import { BDAT, DATA, MAIL, RCPT } from "./mail-commands.ts";
import { type Reply, reply } from "./reply.ts";
import { missing, type Row } from "./row.ts";
import type { Role, SmtpSession } from "./session.ts";

const COMMON: Readonly<Record<string, Row>> = {
  EHLO: { run: (session, name) => hello(session, name, true) },
  HELO: { run: (session, name) => hello(session, name, false) },
  STARTTLS: {
    bare: true,
    async run(session) {
      if (!session.mayStartTls) return reply(503, "5.5.1 TLS is not available");
      await session.startTls();
      return undefined;
    },
  },
  MAIL,
  RCPT,
  DATA,
  BDAT,
  RSET: {
    bare: true,
    run(session) {
      session.transaction = undefined;
      return reply(250, "2.0.0 Forgotten");
    },
  },
  NOOP: { run: () => reply(250, "2.0.0 Nothing done") },
  HELP: { run: () => reply(214, "2.0.0 See RFC 5321") },
  VRFY: { run: () => reply(252, "2.1.5 Send it and see") },
  EXPN: { run: () => reply(502, "5.5.1 Not implemented") },
  QUIT: {
    bare: true,
    run(session) {
      session.leave();
      return reply(221, "2.0.0 Until next time");
    },
  },
};

const ROWS: Readonly<Record<Role, Readonly<Record<string, Row>>>> = {
  MX: COMMON,
  submission: { ...COMMON, AUTH },
};

export async function execute(session: SmtpSession, { verb, rest }: Command): Promise<Reply | undefined> {
  const rows = ROWS[session.options.role];
  const row = Object.hasOwn(rows, verb) ? rows[verb] : undefined;
  if (!row) return reply(500, "5.5.1 Unknown command");
  if (row.bare && rest) return reply(501, `5.5.4 ${verb} takes no argument`);
  return missing(session, row.needs) ?? row.run(session, rest);
}

/** RFC 5321 4.1.4: it is RSET too. */
function hello(session: SmtpSession, name: string, isExtended: boolean): Reply {
  if (!isHelloName(name)) return reply(501, "5.5.4 Who are you?");
  session.hello = { name, isExtended };
  session.transaction = undefined;
  return reply(250, session.options.name, ...(isExtended ? session.extensions : []));
}
