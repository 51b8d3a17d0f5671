import type { Login, Protocol } from "../../session/protocol.ts";
import { commandLoop } from "../command-loop.ts";
import { capabilities, dialect } from "./commands.ts";
import { reply } from "./replies.ts";
import { leaveUpstream, loginUpstream, openUpstream } from "./upstream.ts";

/** ManageSieve, RFC 5804: before login ours, after it the backend's own. */
export const sieve: Protocol<Login> = {
  name: "sieve",
  alpn: ["managesieve"],
  // RFC 5804 1.2 asks for the same thirty minutes.
  idleTimeout: "imapIdle",
  greet: (session) => session.channel.write(capabilities(session, `${session.frontend.hostname} ready`)),
  readLogin: (session) => commandLoop(session, dialect),
  refuse: (session, refusal, _login, final) => session.channel.write(reply(refusal, final, session.id)),
  openUpstream,
  loginUpstream,
  leaveUpstream,
  // RFC 5804 2.1: PLAIN negotiates no security layer, so no capabilities follow; who wants the new ones asks.
  accept: (session) => session.channel.write('OK "Logged in"\r\n'),
  farewell: (refusal) => reply(refusal, true, ""),
};
