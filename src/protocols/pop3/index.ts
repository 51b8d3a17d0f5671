import type { Login, Protocol } from "../../session/protocol.ts";
import { commandLoop } from "../command-loop.ts";
import { newDialect, refuse } from "./commands.ts";
import { leaveUpstream, loginUpstream, openUpstream } from "./upstream.ts";

/** POP3, RFC 1939 and RFC 2449: before login ours, after it the backend's own. */
export const pop3: Protocol<Login> = {
  name: "pop3",
  alpn: ["pop3"],
  idleTimeout: "pop3Idle",
  greet(session) {
    const { hostname, verifiesApop } = session.frontend;
    const stamp = verifiesApop() ? ` ${session.makeStamp()}` : "";
    return session.channel.write(`+OK ${hostname} ready${stamp}\r\n`);
  },
  readLogin: (session) => commandLoop(session, newDialect()),
  refuse: (session, refusal) => refuse(session, refusal),
  openUpstream,
  loginUpstream,
  leaveUpstream,
  accept: (session) => session.channel.write("+OK Logged in\r\n"),
  // RFC 1939 3: the connection closes without a word, and without QUIT nothing is deleted.
  farewell: () => undefined,
};
