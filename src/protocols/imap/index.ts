import type { Protocol } from "../../session/protocol.ts";
import { commandLoop } from "../command-loop.ts";
import { capabilitiesAfterLogin } from "./capabilities.ts";
import { capabilities, deviceOf, dialect, type ImapLogin } from "./commands.ts";
import { reply } from "./replies.ts";
import { leaveUpstream, loginUpstream, openUpstream } from "./upstream.ts";

/** IMAP, RFC 9051 and RFC 3501: before login ours, after it the backend's own. */
export const imap: Protocol<ImapLogin> = {
  name: "imap",
  alpn: ["imap"],
  idleTimeout: "imapIdle",
  greet: (session) =>
    session.channel.write(
      `* OK [CAPABILITY ${capabilities(session)}] ${session.frontend.hostname} ready\r\n`,
    ),
  readLogin: (session) => commandLoop(session, dialect),
  refuse: (session, refusal, login, final) =>
    session.channel.write(reply(refusal, login?.tag, final, session.id)),
  deviceOf,
  openUpstream,
  loginUpstream,
  leaveUpstream,
  accept(session, login, offers) {
    const code = offers?.length ? `[CAPABILITY ${capabilitiesAfterLogin(offers).join(" ")}] ` : "";
    return session.channel.write(`${login.tag} OK ${code}Logged in\r\n`);
  },
  farewell: (refusal) => reply(refusal, undefined, true, ""),
};
