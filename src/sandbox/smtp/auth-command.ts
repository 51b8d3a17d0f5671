import { type PlainCredential, readPlainResponse } from "../plain-response.ts";
import { type Reply, reply } from "./reply.ts";
import type { Row } from "./row.ts";
import type { SmtpSession } from "./session.ts";

/** Undefined when the client is gone, a reply when what it said is no credential. */
type Exchange = (
  session: SmtpSession,
  initial: string | undefined,
) => Promise<PlainCredential | Reply | undefined>;

const CANCELLED = reply(501, "5.7.0 Authentication cancelled");
const MALFORMED = reply(501, "5.5.2 Not a response");

const EXCHANGES: Readonly<Record<string, Exchange>> = {
  async PLAIN(session, initial) {
    const response = initial ?? (await session.ask(""));
    if (response === undefined || response === "*") return response && CANCELLED;
    return readPlainResponse(response) ?? MALFORMED;
  },
  /** Never became an RFC; clients look for these two words. */
  async LOGIN(session, initial) {
    const words: string[] = [];
    for (const prompt of ["Username:", "Password:"]) {
      const asked = words.length > 0 || initial === undefined;
      const response = asked ? await session.ask(encode(prompt)) : initial;
      if (response === undefined || response === "*") return response && CANCELLED;
      const word = decode(response);
      if (!word) return MALFORMED;
      words.push(word);
    }
    const [authcid = "", password = ""] = words;
    return { authcid, password };
  },
};

/** RFC 4954 4. */
export const AUTH: Row = {
  needs: "hello",
  async run(session, rest) {
    if (session.signedIn) return reply(503, "5.5.1 Signed in already");
    const [mechanism = "", initial, ...more] = rest.split(" ");
    if (!mechanism || more.length > 0) return reply(501, "5.5.4 AUTH and a mechanism");
    const name = mechanism.toUpperCase();
    const exchange = Object.hasOwn(EXCHANGES, name) ? EXCHANGES[name] : undefined;
    if (!exchange) return reply(504, "5.5.4 Unknown mechanism");
    // RFC 4954 4: "=" is an initial response of no bytes.
    const outcome = await exchange(session, initial === "=" ? "" : initial);
    return outcome && "authcid" in outcome ? signIn(session, outcome) : outcome;
  },
};

function signIn(session: SmtpSession, { authcid, password, authzid }: PlainCredential): Reply {
  session.signedIn = session.options.store.login(authcid, password, authzid);
  return session.signedIn ? reply(235, "2.7.0 Signed in") : reply(535, "5.7.8 Wrong user or password");
}

function encode(text: string): string {
  return Buffer.from(text).toString("base64");
}

function decode(base64: string): string | undefined {
  return /^[A-Za-z0-9+/]*={0,2}$/.test(base64) ? Buffer.from(base64, "base64").toString() : undefined;
}
