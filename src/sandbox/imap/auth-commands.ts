import { type PlainCredential, readPlainResponse } from "../plain-response.ts";
import { BEFORE_LOGIN, type CommandRows } from "./command-row.ts";
import { bad, no, ok, type Reply } from "./reply.ts";
import type { ImapSession } from "./session.ts";

/** Commands of the not authenticated state. */
export const AUTH_COMMANDS: CommandRows<"STARTTLS" | "AUTHENTICATE" | "LOGIN"> = {
  STARTTLS: {
    when: BEFORE_LOGIN,
    async run(session, _args, tag) {
      const { secureContext } = session.options;
      if (!secureContext || !session.mayStartTls) return bad("TLS is not available");
      await session.startTls(tag, secureContext);
      return undefined;
    },
  },
  LOGIN: {
    when: BEFORE_LOGIN,
    run: (session, { user, password }) => signIn(session, { authcid: utf8(user), password: utf8(password) }),
  },
  AUTHENTICATE: {
    when: BEFORE_LOGIN,
    async run(session, { mechanism, initial }) {
      if (mechanism !== "PLAIN") return no("Unknown mechanism", "CANNOT");
      const response = initial ?? (await askForResponse(session));
      if (response === undefined) {
        session.leave();
        return undefined;
      }
      // RFC 3501 6.2.2: a lone "*" is the client thinking better of it.
      if (response === "*") return bad("Authentication cancelled");
      const credential = readPlainResponse(response);
      return credential ? signIn(session, credential) : bad("Not a PLAIN response");
    },
  },
};

async function askForResponse(session: ImapSession): Promise<string | undefined> {
  await session.write("+ \r\n");
  return session.readLine();
}

function signIn(session: ImapSession, { authcid, password, authzid }: PlainCredential): Reply {
  const account = session.options.store.login(authcid, password, authzid);
  if (!account) return no("Wrong user or password", "AUTHENTICATIONFAILED");
  session.signIn(account);
  return ok("Logged in", `CAPABILITY ${session.capabilities}`);
}

function utf8(latin1: string): string {
  return Buffer.from(latin1, "latin1").toString();
}
